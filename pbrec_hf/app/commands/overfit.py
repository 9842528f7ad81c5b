"""`pbrec-hf overfit`: can the whole path learn? Trains on eight photographs until every answer is right."""

import argparse
from pathlib import Path

from ..options import require_models, require_paths
from ..output import show_log
from . import Commands, new_verb

HELP = "check that the whole path learns: train on eight photographs until all answers are right"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "overfit", run, HELP, again="to resume from the last checkpoint")
    parser.add_argument("--annotations", type=Path, required=True, help="COCO-format instances with masks")
    parser.add_argument("--images", type=Path, required=True, help="folder of their photographs")
    parser.add_argument("--init", help="checkpoint with detectors (default: the bundled one)")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/overfit"), help="default: %(default)s")
    parser.add_argument("--expressions", type=int, default=1, help="per photograph (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=30, help="default: %(default)s")


def run(options: argparse.Namespace) -> int:
    """Train on the CPU, for minutes; status 1 if it does not reach 100 %."""
    require_paths(annotations=options.annotations, images=options.images)
    require_models(options.init)
    show_log("INFO", "%(message)s")
    from ...hub.bundled import bundled_checkpoint
    from ...training.overfit import PHOTOGRAPHS, overfit

    scores = overfit(
        options.init or bundled_checkpoint(),
        options.annotations,
        options.images,
        options.output_dir,
        options.expressions,
        options.epochs,
    )
    print(f"accuracy on the {PHOTOGRAPHS} photographs: {scores['best']:.3f} (last: {scores['accuracy@0.5']:.3f})")
    return 0 if scores["best"] == 1 else 1
