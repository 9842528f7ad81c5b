"""`pbrec-hf overfit`: can the whole path learn? Trains on eight photographs until every answer is right."""

import argparse
from pathlib import Path

from ..options import add_photographs, photographs_of, require_models
from ..output import show_log
from . import Commands, new_verb

HELP = "check that the whole path learns: train on eight photographs until all answers are right"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "overfit", run, HELP, again="to resume from the last checkpoint")
    add_photographs(parser)
    parser.add_argument("--init", help="checkpoint with detectors (default: the bundled one)")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/overfit"), help="default: %(default)s")
    parser.add_argument("--expressions", type=int, default=1, help="per photograph (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=30, help="default: %(default)s")


def run(options: argparse.Namespace) -> int:
    """Train on the CPU, for minutes; status 1 if it does not reach 100 %."""
    annotations, images = photographs_of(options)
    require_models(options.init)
    show_log("INFO", "%(message)s")
    from ...hub.bundled import bundled_checkpoint
    from ...training.overfit import PHOTOGRAPHS, overfit

    scores = overfit(
        options.init or bundled_checkpoint(),
        annotations,
        images,
        options.output_dir,
        options.expressions,
        options.epochs,
    )
    print(f"accuracy on the {PHOTOGRAPHS} photographs: {scores['best']:.3f} (last: {scores['accuracy@0.5']:.3f})")
    return 0 if scores["best"] == 1 else 1
