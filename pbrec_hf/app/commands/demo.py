"""`pbrec-hf demo`: the bundled checkpoint on photographs that ship with the package."""

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..options import add_model, require_models, require_picture_name, save_picture
from ..output import silence_libraries, spinner
from . import Commands, new_verb
from .ground import as_lines

if TYPE_CHECKING:
    from ...inference.grounder import Grounded

HELP = "answer on photographs that ship with the package, with the bundled checkpoint"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "demo", run, HELP)
    parser.add_argument("--out", type=Path, default=Path("pbrec-demo.png"), help="picture to write (%(default)s)")
    add_model(parser)


def run(options: argparse.Namespace) -> int:
    """Print every answer and draw one sheet."""
    require_picture_name(options.out)
    require_models(options.model)
    silence_libraries()
    with spinner("loading the checkpoint"):
        from ...inference.grounder import Grounder
        from ..demo import run_demo

        grounder = Grounder(options.model, options.device)

    most = grounder.processor.settings.max_referents

    def show(row: dict[str, Any], result: "Grounded") -> None:
        print(f"{row['image'].name} (by {row['source']}; {row['license']})")
        for expression, answer in zip(row["expressions"], result.answers, strict=True):
            print(textwrap.indent(as_lines(expression, answer, most), "  "))

    save_picture(run_demo(grounder, show), options.out)
    print(f"picture written to {options.out}")
    print("The model can be wrong, also where its score is high: look at the answers before you rely on them.")
    return 0
