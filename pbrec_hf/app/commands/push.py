"""`pbrec-hf push`: publish a checkpoint with its card, its code and a Space, if wanted.

pbrec-hf push runs/mine/best me/mine --card card.yaml          # log in first: hf auth login
pbrec-hf push runs/mine/best me/mine --card card.yaml --with_code --private
pbrec-hf push runs/mine/best me/mine --space me/mine-demo      # and a Gradio Space that shows it
pbrec-hf push runs/mine/best me/mine --with_code --folder out  # write the folder, upload nothing
"""

import argparse
import tempfile
from pathlib import Path

from ..options import require_models
from ..output import silence_libraries
from . import Commands, new_verb

HELP = "publish a checkpoint on the Hub, with its card and, if wanted, its code and a Space"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "push", run, HELP)
    parser.add_argument("checkpoint", help="folder (or Hub id) with model, processor and detectors")
    parser.add_argument("repo", help="id on the Hub, such as me/mine")
    parser.add_argument(
        "--card",
        type=Path,
        help="YAML with the data of the card, like model_cards/cards.yaml; default: the README.md beside the "
        "checkpoint, or the one that the repository has",
    )
    parser.add_argument("--with_code", action="store_true", help="carry the code for trust_remote_code=True")
    parser.add_argument("--space", metavar="REPO", help="also publish a Space that demonstrates it")
    parser.add_argument("--private", action="store_true", help="create the repositories as private ones")
    parser.add_argument("--revision", help="branch to commit to (default: main)")
    parser.add_argument("--folder", type=Path, help="write here and upload nothing")


def run(options: argparse.Namespace) -> int:
    """Load the checkpoint strictly, write it again, and upload everything in one commit."""
    if options.card is not None and not options.card.is_file():
        raise FileNotFoundError(f"There is no file {options.card}: correct the path of the card.")
    if options.folder is None:
        from ...hub.reaching import require_hub

        require_hub(f"to publish {options.repo}")
    require_models(options.checkpoint)
    silence_libraries()
    from ...hub.publishing import card_text, require_checkpoint, results_text, upload, write_checkpoint
    from ...hub.space import write_space

    require_checkpoint(options.checkpoint)
    card = card_text(options.checkpoint, options.card, options.repo)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "model"
        results = results_text(options.card, options.repo)
        write_checkpoint(options.checkpoint, folder, options.with_code, card, results)
        space = folder.with_name(f"{folder.name}-space")
        if options.space:
            write_space(options.repo, space)
        if options.folder:
            print(f"written to {folder}" + (f" and {space}" if options.space else ""))
            return 0
        print(upload(folder, options.repo, private=options.private, revision=options.revision))
        if options.space:
            print(upload(space, options.space, kind="space", private=options.private))
    return 0
