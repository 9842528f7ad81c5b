"""Table 1: recall of detectors, the ceiling of what a second stage can answer.

    python scripts/paper/table1.py --detector "Faster R-CNN" torchvision:fasterrcnn_resnet50_fpn 100 \\
        --detector "Mask R-CNN" torchvision:maskrcnn_resnet50_fpn 100 --detector FCOS-P5 FCOS all \\
        --detector SOLO SOLO all --detector "Mask R-CNN †" torchvision:maskrcnn_resnet50_fpn all 0.65 \\
        --refer_dir REFER --image_dir IMAGES --out TABLES

Each row has a name, the detector's folder or Hub id, the number of its best proposals that count (or all), and, if
wanted, the lowest quality of a proposal that counts: the † of the paper, "the real case used in the state-of-the-art
two-stage REC methods", with 0.65. A referent counts for every expression that means it, and is found if the IoU of a
proposal is above 0.5; of boxes, or of masks where a detector proposes no boxes (SOLO). Rows of one detector share a
pass over the pictures. Writes TABLES/table1.md and table1.json; what is measured already lies in TABLES/recall.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...data.refer.refcoco import config_key
from ...hub.writing import replaced_file
from ...image_processing_pbrec import PbrecImageProcessor
from ..build import detector_of
from ..proposal_cache import detector_hash
from ..recall import Cut, Recall, recall_at
from .options import PAPER_SETS, Bench, add_data, evaluation_splits
from .report import Figure, PaperTable, paper_number
from .sources import data_sha256, digest_of

IOU = 0.5
SEEN = (
    "Detectors trained on COCO train2017 have seen these pictures with boxes, which raises recall. The paper does not "
    "say which pictures its detectors were trained on."
)


class Row(NamedTuple):
    """A row of the table: its name, the detector's folder or Hub id, and which proposals count."""

    name: str
    source: str
    cut: Cut


def row_of(given: Sequence[str]) -> Row:
    """
    What one `--detector` says.

    Raises:
        ValueError: a word is missing or too many, or a number is not legal.
    """
    if not 3 <= len(given) <= 4:
        raise ValueError(f"--detector {' '.join(given)}: give NAME SOURCE NUMBER, and a lowest quality if wanted.")
    name, source, top, *least = given
    if top != "all" and not (top.isdigit() and int(top)):
        raise ValueError(f"--detector {name}: {top} proposals: give a number such as 100, or all.")
    try:
        lowest = float(least[0]) if least else 0.0
    except ValueError:
        lowest = -1.0
    if not 0 <= lowest <= 1:
        raise ValueError(f"--detector {name}: quality {least[0]}: give a number from 0 to 1, such as 0.65.")
    return Row(name, source, Cut(None if top == "all" else int(top), lowest))


def measured(arguments: Sequence[str] | None = None) -> PaperTable:
    """
    The table of a command line, written and printed.

    Raises:
        ValueError: a row is doubled or not legal, or a data set is unknown.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--detector", nargs="+", action="append", required=True, metavar="NAME SOURCE NUMBER [QUALITY]", help="a row"
    )
    parser.add_argument("--datasets", nargs="+", default=PAPER_SETS, help="default: those of the paper")
    parser.add_argument("--canvas", type=int, default=640, help="side of the canvas in pixels (default: %(default)s)")
    add_data(parser)
    options = parser.parse_args(arguments)
    rows = [row_of(given) for given in options.detector]
    if len({row.name for row in rows}) < len(rows):
        raise ValueError("--detector: two rows have one name; give each a name of its own.")
    bench = Bench(options, "table1")
    image_processor = PbrecImageProcessor(size={"longest_edge": options.canvas})
    columns = [(key, split) for key in map(config_key, options.datasets) for split in evaluation_splits(key)]
    table = PaperTable("table1", "Table 1: recall of detectors", [], notes=[SEEN])
    table.settings = bench.settings | {"IoU above": IOU, "canvas": options.canvas}
    found: dict[tuple[str, str], Recall] = {}
    for source in dict.fromkeys(row.source for row in rows):
        detector = detector_of(source)
        digest = detector_hash(detector, image_processor)
        mine = [row for row in rows if row.source == source]
        table.subjects |= {row.name: {"source": source, "sha256": digest} for row in mine}
        for key, split in columns:
            recalls = _recalls(bench, detector, digest, image_processor, key, split, [row.cut for row in mine])
            found |= {(row.name, f"{key} {split}"): recall for row, recall in zip(mine, recalls, strict=True)}
    for row in rows:
        for key, split in columns:
            recall = found[row.name, f"{key} {split}"]
            figure = Figure(
                row.name,
                f"{key} {split}",
                f"recall@{IOU:g}",
                recall.share,
                recall.interval,
                recall.count,
                paper_number("table1", row.name, f"{key} {split}"),
                f"{_proposals(row.cut)}{' (masks)' if recall.kind == 'masks' else ''}",
            )
            table.figures.append(figure)
    table.data = bench.about([f"{key} {split}" for key, split in columns])
    bench.finish(table)
    return table


def _proposals(cut: Cut) -> str:
    number = "all proposals" if cut.top is None else f"best {cut.top} proposals"
    return number + (f" of quality ≥ {cut.least:g}" if cut.least else "")


def _recalls(
    bench: Bench,
    detector: Any,
    digest: str,
    image_processor: PbrecImageProcessor,
    key: str,
    split: str,
    cuts: Sequence[Cut],
) -> list[Recall]:
    """Recall at each cut, from a file if it was measured before."""
    rows = bench.rows(key, split)
    folder = bench.options.out / "recall"
    path = folder / f"{digest_of(digest, data_sha256(rows), [list(cut) for cut in cuts], IOU)[:32]}.json"
    bench.accelerator.wait_for_everyone()  # before anyone writes what another looks for
    if path.is_file():
        return [Recall(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    recalls = recall_at(
        detector,
        image_processor,
        rows,
        cuts,
        IOU,
        bench.options.batch_size or (1 if bench.accelerator.device.type == "cpu" else 8),
        bench.accelerator,
        progress=bench.accelerator.is_main_process and not bench.options.quiet,
    )
    if bench.accelerator.is_main_process:
        with replaced_file(path) as partial:
            partial.write_text(json.dumps([vars(recall) for recall in recalls]), encoding="utf-8")
    return recalls


def main() -> None:
    """The command."""
    measured()
