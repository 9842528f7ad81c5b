"""`pbrec-hf scenes`: composed scenes with true expressions as data of one's own, for `train` and `evaluate`.

pbrec-hf scenes --out scenes                            # from the photographs of the package
pbrec-hf scenes --out scenes --annotations instances.json --images photographs --train 2000
"""

import argparse
from pathlib import Path

from ..options import add_photographs, photographs_of
from ..output import progress
from . import Commands, new_verb

HELP = "write composed scenes with true expressions, as data to train on"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "scenes", run, HELP)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    add_photographs(parser)
    parser.add_argument("--train", type=int, default=400, help="scenes to train on (default: %(default)s)")
    parser.add_argument("--held_out", type=int, default=60, help="other scenes (default: %(default)s)")
    parser.add_argument("--expressions", type=int, default=6, help="per scene at most (default: %(default)s)")
    parser.add_argument("--plurals", type=int, default=0, help="also for several objects, per scene at most (none)")
    parser.add_argument("--absent", type=int, default=0, help="also for what is not there, per scene at most (none)")
    parser.add_argument("--kinds", nargs="+", help="only expressions of these kinds, such as: noun side")
    parser.add_argument("--smallest", type=int, default=0, help="smallest width and height of a referent, in pixels")


def run(options: argparse.Namespace) -> int:
    """Write OUT/train.jsonl and OUT/held_out.jsonl with different scenes."""
    annotations, images = photographs_of(options)
    for name in ("plurals", "absent"):
        if getattr(options, name) < 0:
            raise ValueError(f"--{name} {getattr(options, name)}: give a number of at least 0.")
    from ...data.scenes.composed import ComposedScenes
    from ...data.scenes.photographs import read_photographs
    from ...training.scenes import write_scenes

    scenes = ComposedScenes(read_photographs(annotations, images))
    first = 1_000_000  # far from any number of training scenes
    for name, seeds in (("train", range(options.train)), ("held_out", range(first, first + options.held_out))):
        with progress(f"{name}: composing scenes", len(seeds)) as advance:
            wanted = (options.expressions, options.kinds, options.smallest)
            more = (options.plurals, options.absent)
            path, count = write_scenes(scenes, seeds, options.out, name, *wanted, name == "train", advance, *more)
        print(f"{path}: {count} expressions")
    return 0
