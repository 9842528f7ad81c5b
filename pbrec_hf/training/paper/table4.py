"""Table 4: hard and soft targets, of one task and of both, on RefCOCO+ val.

    python scripts/paper/table4.py RUN/best RUN/best … --refer_dir REFER --image_dir IMAGES --out TABLES

Give up to eight trained checkpoints, in any order: the tasks and targets in a checkpoint's config say which row it is.
Accuracy at IoU 0.5 of boxes, and mean IoU of masks, which the paper calls "overall". Writes TABLES/table4.md and
table4.json; the answers lie in TABLES/predictions, and what is there is not answered again.
"""

import argparse
from collections.abc import Sequence

from ...configuration_pbrec import PbrecConfig
from ...data.refer.refcoco import config_key
from .answers import BOXES, MASKS
from .cases import of_kind
from .options import Bench, add_checkpoints, add_data, add_split, paper_of_split
from .report import Figure, PaperTable, published
from .results import DETECTORS

ASKED = {"grounding": BOXES, "segmentation": MASKS}


def row_of(config: PbrecConfig) -> str:
    """
    The row of the table that a checkpoint belongs to, such as "grounding=soft segmentation=hard".

    Soft targets are those of equations 2 and 4; hard ones are 1 at every positive point.
    """
    kinds = {task: "hard" if style == "hard" else "soft" for task, style in config.target_styles.items()}
    return " ".join(f"{task}={kinds[task]}" for task in ASKED if task in kinds)


def measured(arguments: Sequence[str] | None = None) -> PaperTable:
    """
    The table of a command line, written and printed.

    Raises:
        ValueError: two checkpoints are of one row, or one was trained on pictures that are measured on.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT", help="folder or Hub id")
    add_split(parser)
    add_data(parser)
    add_checkpoints(parser)
    options = parser.parse_args(arguments)
    bench = Bench(options, "table4")
    key = config_key(options.dataset)
    column = f"{key} {options.split}"
    title = f"Table 4: hard and soft targets, on {column}"
    table = PaperTable("table4", title, [], settings=bench.settings, notes=[DETECTORS])
    rows = bench.rows(key, options.split)
    for source in options.checkpoints:
        checkpoint = bench.answering(source)
        row = row_of(checkpoint.model.config)
        if row in table.subjects:
            raise ValueError(f"{source} and {table.subjects[row]['source']} are both trained with {row}: give one.")
        origin = bench.origin(checkpoint)
        bench.require_unseen(source, origin, {key: [options.split]})
        table.subjects[row] = checkpoint.about()
        tasks = [task for task in ASKED if task in checkpoint.model.config.tasks]
        found, digests = checkpoint.answer(rows, [ASKED[task] for task in tasks])
        for task, predictions, digest in zip(tasks, found, digests, strict=False):  # other processes have none
            metric, value = of_kind("boxes" if task == "grounding" else "masks", predictions, rows)
            paper = paper_of_split("table4", row, task, key, options.split)
            note = bench.note(origin, key, options.split)
            table.figures.append(Figure(row, task, metric, *value, paper, note))
            table.predictions[f"{row}, {task}"] = digest
    order = list(published()["table4"])
    table.figures.sort(key=lambda figure: order.index(figure.row))
    table.data = bench.about([column]) if table.figures else {}
    bench.finish(table)
    return table


def main() -> None:
    """The command."""
    measured()
