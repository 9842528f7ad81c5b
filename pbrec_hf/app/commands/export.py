"""`pbrec-hf export`: ONNX graphs of a checkpoint."""

import argparse
from pathlib import Path

from ..options import require_models
from ..output import silence_libraries
from . import Commands, new_verb

HELP = "export the image encoder and the expression scorer to ONNX"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "export", run, HELP)
    parser.add_argument("destination", type=Path, metavar="FOLDER", help="folder to write")
    parser.add_argument("--model", required=True, help="folder or Hub id; the bundled checkpoint has no ONNX form")


def run(options: argparse.Namespace) -> int:
    """Write the graphs and print their paths."""
    require_models(options.model)
    silence_libraries()
    from ...inference.grounder import Grounder
    from ...inference.onnx import export_onnx

    grounder = Grounder(options.model)
    for path in export_onnx(grounder.model, grounder.processor, options.destination):
        print(path)
    return 0
