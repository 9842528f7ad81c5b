"""`pbrec-hf cards`: render model cards after their data or the template changed."""

import argparse
from pathlib import Path

from . import Commands, new_verb

HELP = "render the model cards of a folder from its cards.yaml"


def add(commands: Commands) -> None:
    """Add the verb and its argument."""
    parser = new_verb(commands, "cards", run, HELP)
    parser.add_argument(
        "folder", type=Path, nargs="?", metavar="FOLDER", help="default: model_cards of this installation"
    )


def run(options: argparse.Namespace) -> int:
    """Write FOLDER/NAME.md for every card of FOLDER/cards.yaml."""
    from ...hub.cards import render_cards
    from ...hub.configs import shipped_folder

    for path in render_cards(options.folder or shipped_folder("model_cards")):
        print(path)
    return 0
