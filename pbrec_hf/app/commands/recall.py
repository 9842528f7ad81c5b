"""`pbrec-hf recall`: how many referents of a data set are among the proposals of some detectors.

own data    pbrec-hf recall DETECTOR… --data held_out.jsonl
Table 1     pbrec-hf recall FCOS MASKRCNN --dataset refcoco --splits val testA testB --refer_dir R --image_dir I
N GPUs      accelerate launch --multi_gpu --num_processes N -m pbrec_hf recall DETECTOR… --data …
"""

import argparse
import json
from pathlib import Path

from ..options import add_rows, own_split, require_models, require_rows, rows_of
from ..output import show_log
from . import Commands, new_verb

HELP = "measure how many referents are among the proposals of detectors"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "recall", run, HELP)
    parser.add_argument("detectors", nargs="+", metavar="DETECTOR", help="folder or Hub id of a detector")
    add_rows(parser)
    parser.add_argument("--splits", nargs="+", default=["val"], help="of the data set (default: val)")
    parser.add_argument(
        "--top", nargs="+", default=["10", "100", "all"], help="numbers of proposals (default: 10 100 all)"
    )
    parser.add_argument("--min_quality", type=float, default=0.0, help="proposals of a lower quality do not count")
    parser.add_argument("--iou", type=float, default=0.5, help="what an IoU has to exceed (default: %(default)s)")
    parser.add_argument("--canvas", type=int, default=640, help="side of the canvas in pixels (default: %(default)s)")
    parser.add_argument("--batch_size", type=int, default=8, help="pictures per process and pass")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--cpu", action="store_true", help="even if there is a GPU")


def run(options: argparse.Namespace) -> int:
    """Print a table by split, detector and number of proposals."""
    tops = [_top(value) for value in options.top]
    for name in ("min_quality", "iou"):
        if not 0 <= getattr(options, name) <= 1:
            raise ValueError(f"--{name} {getattr(options, name)}: give a number from 0 to 1.")
    require_rows(options)
    require_models(*options.detectors)
    show_log()
    from accelerate import Accelerator

    from ...hub.writing import replaced_file
    from ...image_processing_pbrec import PbrecImageProcessor
    from ...training.build import detector_of
    from ...training.recall import detector_recall, table

    accelerator = Accelerator(cpu=options.cpu)
    image_processor = PbrecImageProcessor(size={"longest_edge": options.canvas})
    figures = []
    own = own_split(options)
    for split in options.splits if own is None else [own]:
        rows = rows_of(options, split)
        recalls = {}
        for source in options.detectors:
            recalls[source] = detector_recall(
                detector_of(source),
                image_processor,
                rows,
                tops,
                options.min_quality,
                options.iou,
                options.batch_size,
                accelerator,
                progress=accelerator.is_main_process,
            )
            figures += [
                {"split": split, "detector": source, **vars(entry), "recall": entry.share, "interval": entry.interval}
                for entry in recalls[source]
            ]
        if accelerator.is_main_process:
            print(f"{split}\n\n{table(recalls)}\n")
    if options.out is not None and accelerator.is_main_process:
        with replaced_file(options.out) as partial:
            partial.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def _top(value: str) -> int | None:
    if value == "all":
        return None
    if not value.isdigit() or int(value) < 1:
        raise ValueError(f"--top {value}: give numbers of proposals such as 10, or all.")
    return int(value)
