"""Table 5: how many proposals vote, and what ranks them, on RefCOCO+ val; one pass over the data.

    python scripts/paper/table5.py CHECKPOINT --refer_dir REFER --image_dir IMAGES --out TABLES

For k = 1, 4, 8, 12 and 16: boxes ranked by center-ness, and by center-ness × the detector's (accuracy at IoU 0.5), and
masks by mass-ness (mean IoU, the paper's "overall"). The network and the detectors see each picture once. Writes
TABLES/table5.md and table5.json; the answers lie in TABLES/predictions, and what is there is not answered again.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from ...data.refer.refcoco import config_key
from ..evaluation import Way
from .answers import PAPER_SELECTION
from .cases import of_kind
from .options import Bench, add_checkpoints, add_data, add_split, paper_of_split
from .report import Figure, PaperTable
from .results import DETECTORS

TOPS = (1, 4, 8, 12, 16)
# By the paper's name of a ranking: which proposals, and how they are ranked.
RANKINGS = {
    "center": ("boxes", "score"),
    "center × quality": ("boxes", "score_times_quality"),
    "mass": ("masks", "score"),
}


def way_of(ranking: str, top_k: int) -> Way:
    """How expressions are answered in a cell of the table."""
    kind, ranked = RANKINGS[ranking]
    selection: dict[str, Any] = PAPER_SELECTION | {"top_k": top_k, "ranking": ranked}
    return Way(threshold=0.0, masks=kind == "masks", kinds=(kind,), selection=selection)


def measured(arguments: Sequence[str] | None = None) -> PaperTable:
    """
    The table of a command line, written and printed.

    Raises:
        ValueError: a number of voters is not positive, the checkpoint has no detector, or was trained on pictures that
            are measured on.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="folder or Hub id")
    add_split(parser)
    parser.add_argument("--top_k", type=int, nargs="+", default=TOPS, help="numbers of proposals that vote")
    add_data(parser)
    add_checkpoints(parser)
    options = parser.parse_args(arguments)
    bench = Bench(options, "table5")
    key = config_key(options.dataset)
    column = f"{key} {options.split}"
    checkpoint = bench.answering(options.checkpoint)
    origin = bench.origin(checkpoint)
    bench.require_unseen(options.checkpoint, origin, {key: [options.split]})
    heads = {"boxes": "grounding", "masks": "segmentation"}
    asked = [
        (ranking, top_k)
        for ranking, (kind, _) in RANKINGS.items()
        if heads[kind] in checkpoint.model.config.tasks
        for top_k in options.top_k
    ]
    rows = bench.rows(key, options.split)
    title = f"Table 5: number of voters and ranking, on {column}"
    table = PaperTable("table5", title, [], {options.checkpoint: checkpoint.about()}, notes=[DETECTORS])
    table.settings = bench.settings | {"selection": PAPER_SELECTION | {"top_k": "k", "ranking": "as told"}}
    found, digests = checkpoint.answer(rows, [way_of(*cell) for cell in asked])
    for (ranking, top_k), predictions, digest in zip(asked, found, digests, strict=False):  # other processes have none
        row = f"k = {top_k}"
        metric, value = of_kind(RANKINGS[ranking][0], predictions, rows)
        paper = paper_of_split("table5", row, ranking, key, options.split)
        note = bench.note(origin, key, options.split)
        table.figures.append(Figure(row, ranking, metric, *value, paper, note))
        table.predictions[f"{row}, {ranking}"] = digest
    table.data = bench.about([column]) if table.figures else {}
    bench.finish(table)
    return table


def main() -> None:
    """The command."""
    measured()
