"""`pbrec-hf failures`: what a checkpoint gets wrong, its answer in red and the referent in green, on one sheet.

pbrec-hf failures CHECKPOINT --data rows.jsonl --bbox_format xywh --out failures.jpg
"""

import argparse
from pathlib import Path

from ..options import add_rows, own_split, require_models, require_picture_name, require_rows, rows_of, save_picture
from ..output import silence_libraries
from . import Commands, new_verb

HELP = "draw what a checkpoint gets wrong"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "failures", run, HELP)
    parser.add_argument("checkpoint", help="folder or Hub id")
    add_rows(parser)
    parser.add_argument("--split", default="val", help="of the data set (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, … (default: %(default)s)")
    parser.add_argument("--most", type=int, default=8, help="failures to draw (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="picture to write, if there are failures")


def run(options: argparse.Namespace) -> int:
    """Print how many expressions are answered wrongly, and draw the first ones."""
    require_picture_name(options.out)
    require_rows(options)
    require_models(options.checkpoint)
    silence_libraries()
    from ...inference.grounder import Grounder
    from ..drawing import contact_sheet
    from ..failures import find_failures

    rows = rows_of(options, own_split(options) or options.split)
    failures, count = find_failures(Grounder(options.checkpoint, options.device), rows)
    print(f"{len(failures)} of {count} are wrong")
    if failures:
        sheet = contact_sheet([(failure.expression, failure.drawn()) for failure in failures[: options.most]])
        save_picture(sheet, options.out, quality=80)
    return 0
