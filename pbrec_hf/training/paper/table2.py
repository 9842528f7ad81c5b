"""Table 2: accuracy at IoU 0.5 of the answers' boxes, on all splits of all data sets.

    python scripts/paper/table2.py --row PBREC-MT refcoco=runs/a/best refcoco+=runs/b/best refcocog=runs/c/best \\
        --refer_dir REFER --image_dir IMAGES --out TABLES

Answers with the paper's selection, whatever the checkpoints' own is: of the 12 boxes with the largest center-ness ×
the detector's, the one that the others overlap most. Writes TABLES/table2.md and table2.json; the answers lie in
TABLES/predictions, and what is there is not answered again.
"""

import argparse
from collections.abc import Sequence

from .answers import BOXES
from .cases import ACCURACY, box_accuracy
from .options import Bench
from .report import PaperTable
from .results import add_rows, fill, rows_of


def measured(arguments: Sequence[str] | None = None) -> PaperTable:
    """The table of a command line, written and printed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_rows(parser)
    options = parser.parse_args(arguments)
    bench = Bench(options, "table2")
    table = fill(
        bench,
        "Table 2: accuracy of boxes at IoU 0.5",
        rows_of(options.row),
        BOXES,
        lambda predictions, rows: {ACCURACY: box_accuracy(predictions, rows)},
        ACCURACY,
    )
    bench.finish(table)
    return table


def main() -> None:
    """The command."""
    measured()
