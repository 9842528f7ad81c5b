"""Publish a checkpoint: load it strictly, write it anew with its card (and code), upload everything in one commit.

```bash
python scripts/push_to_hub.py runs/mine/best me/mine --card card.yaml          # log in first: hf auth login
python scripts/push_to_hub.py runs/mine/best me/mine --card card.yaml --with_code --private
python scripts/push_to_hub.py runs/mine/best me/mine --space me/mine-demo      # and a Gradio Space that shows it
python scripts/push_to_hub.py runs/mine/best me/mine --with_code --folder out  # write the folder, upload nothing
```
Without --card, a README.md in the checkpoint's folder is the card, or the one that the repository already has; with
neither, nothing is published.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from huggingface_hub import HfApi

from pbrec_hf.hub.cards import read_cards, render_card
from pbrec_hf.hub.publishing import write_checkpoint, write_space


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="folder (or Hub id) with model, processor and detectors")
    parser.add_argument("repo", help="id on the Hub, such as me/mine")
    parser.add_argument("--card", type=Path, help="YAML with the card's data, see model_cards/cards.yaml")
    parser.add_argument("--with_code", action="store_true", help="carry the code for trust_remote_code=True")
    parser.add_argument("--space", metavar="REPO", help="also publish a Space that demonstrates it")
    parser.add_argument("--private", action="store_true")
    parser.add_argument("--revision", help="branch to commit to (default: main)")
    parser.add_argument("--folder", type=Path, help="write here and upload nothing")
    options = parser.parse_args(arguments)

    require_checkpoint(Path(options.checkpoint))
    card = card_text(options.checkpoint, options.card, options.repo)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "model"
        write_checkpoint(options.checkpoint, folder, options.with_code, card)
        if options.space:
            space = folder.with_name(f"{folder.name}-space")
            write_space(options.repo, space)
        if options.folder:
            print(f"written to {folder}" + (f" and {space}" if options.space else ""))
            return
        print(upload(folder, options.repo, "model", options.private, options.revision))
        if options.space:
            print(upload(space, options.space, "space", options.private, None))


def require_checkpoint(folder: Path) -> None:
    """
    Raises:
        ValueError: `folder` is there, but holds no checkpoint, perhaps folders of some.
    """
    if folder.is_dir() and not (folder / "config.json").is_file():
        inside = [str(path.parent) for path in sorted(folder.glob("*/config.json"))]
        remedy = f"give one of {', '.join(inside)}" if inside else "give the folder of a saved model"
        raise ValueError(f"{folder} holds no config.json: {remedy}.")


def card_text(checkpoint: str, card: Path | None, repo: str) -> str | None:
    """The card that goes with `checkpoint`; None if `repo` has one, ValueError if there is none at all."""
    if card is not None:
        cards = read_cards(card)
        name = repo.split("/")[-1]
        if name not in cards:
            raise ValueError(f"{card} has no card {name!r}, only {', '.join(cards)}.")
        return render_card(cards[name], repo)
    readme = Path(checkpoint) / "README.md"
    if readme.is_file():
        return readme.read_text(encoding="utf-8")
    if not HfApi().file_exists(repo, "README.md"):
        raise ValueError(f"Neither {checkpoint} nor {repo} has a README.md: give the card's data with --card.")
    return None


def upload(folder: Path, repo: str, kind: str, private: bool, revision: str | None) -> str:
    """Everything in `folder` in one commit; its address."""
    api = HfApi()
    extra = {"space_sdk": "gradio"} if kind == "space" else {}
    repo = api.create_repo(repo, repo_type=kind, private=private, exist_ok=True, **extra).repo_id
    if revision:
        api.create_branch(repo, branch=revision, repo_type=kind, exist_ok=True)
    commit = api.upload_folder(
        repo_id=repo, repo_type=kind, folder_path=folder, revision=revision, commit_message="Publish with pbrec_hf"
    )
    return commit.commit_url


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
