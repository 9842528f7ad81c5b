"""Table 3: mean IoU of the answers' masks, and overall IoU, on all splits of all data sets.

    python scripts/paper/table3.py --row PBREC-MT refcoco=runs/a/best refcoco+=runs/b/best refcocog=runs/c/best \\
        --refer_dir REFER --image_dir IMAGES --out TABLES

The paper calls its metric "overall IoU" and computes the average over cases, which is the mean IoU; its numbers stand
beside that. Answers with the paper's selection: of the 12 masks with the largest mass-ness, the one that the others
overlap most. Writes TABLES/table3.md and table3.json; the answers lie in TABLES/predictions, and what is there is not
answered again.
"""

import argparse
from collections.abc import Sequence

from .answers import MASKS
from .cases import MEAN_IOU, mask_ious
from .options import Bench
from .report import PaperTable
from .results import add_rows, fill, rows_of

NAMED = "The paper calls its numbers overall IoU, but computes the mean over cases, so they stand beside the mean IoU."


def measured(arguments: Sequence[str] | None = None) -> PaperTable:
    """The table of a command line, written and printed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_rows(parser)
    options = parser.parse_args(arguments)
    bench = Bench(options, "table3")
    rows = rows_of(options.row)
    table = fill(bench, "Table 3: mean and overall IoU of masks", rows, MASKS, mask_ious, MEAN_IOU, [NAMED])
    bench.finish(table)
    return table


def main() -> None:
    """The command."""
    measured()
