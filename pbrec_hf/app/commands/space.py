"""`pbrec-hf space`: the folder of a Gradio Space that demonstrates a model."""

import argparse
from pathlib import Path

from ..output import silence_libraries
from . import Commands, new_verb

HELP = "write the folder of a Gradio Space that demonstrates a model"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "space", run, HELP)
    parser.add_argument("model", metavar="MODEL", help="Hub id of the model")
    parser.add_argument("destination", type=Path, metavar="FOLDER", help="folder to write")


def run(options: argparse.Namespace) -> int:
    """Write the folder."""
    silence_libraries()
    from ...hub.space import write_space

    write_space(options.model, options.destination)
    print(f"written to {options.destination}")
    return 0
