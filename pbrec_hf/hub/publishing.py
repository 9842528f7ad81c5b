"""A checkpoint for others: a folder with its card and, if wanted, its code, and the upload of such a folder.

What is written here is loaded strictly first: a damaged checkpoint is not published.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import httpx

from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor
from .cards import CardInfo, hub_results, read_cards, render_card
from .opening import opening
from .remote_code import PIPELINE, write_code
from .writing import replaced_folder

TASK = "referring-expression"
ORIGIN = "training_data.json"  # what a checkpoint was trained and chosen on, see `training/origin.py`
RESULTS = ".eval_results/pbrec_hf.yaml"


def write_checkpoint(
    source: str,
    destination: str | Path,
    with_code: bool = False,
    card: str | None = None,
    results: str | None = None,
) -> None:
    """
    Write a whole checkpoint (model, processor, detectors) to `destination`.

    Args:
        source: folder or Hub id.
        destination: a folder that does not exist yet, or is empty.
        with_code: also write the modules that `trust_remote_code=True` runs where this package is not installed.
        card: text of README.md.
        results: text of `RESULTS`, see `hub_results`.

    Raises:
        FileExistsError: `destination` holds something.
        OSError, ValueError: `source` is not a complete checkpoint, or `destination` cannot be written.
    """
    destination = Path(destination)
    if destination.exists() and any(destination.iterdir()):
        raise FileExistsError(f"{destination} is not empty: name a new folder.")
    with opening(source) as options:
        model = PbrecForReferringExpression.from_pretrained(source, **options)
        processor = PbrecProcessor.from_pretrained(source, **options)
    if not processor.detectors:
        raise ValueError(f"The processor of {source} has no detector: without proposals there are no answers.")
    if with_code:
        model.config.custom_pipelines = {TASK: {"impl": PIPELINE, "pt": ["AutoModel"]}}
    with replaced_folder(destination) as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        if with_code:
            write_code(folder, model, processor)
        for name, text in (("README.md", card), (RESULTS, results)):
            if text is not None:
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(text, encoding="utf-8")
        if (origin := Path(source) / ORIGIN).is_file():
            shutil.copyfile(origin, folder / ORIGIN)


def upload(
    folder: str | Path,
    repo: str,
    *,
    kind: str = "model",
    private: bool = False,
    revision: str | None = None,
    message: str = "Publish with pbrec_hf",
) -> str:
    """
    Upload everything in `folder` in one commit, and create the repository if needed.

    Args:
        repo: id on the Hub, such as "me/mine".
        kind: "model" or "space".
        private: create the repository as a private one.
        revision: branch to commit to, created if needed; default: main.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        ConnectionError: the Hub cannot be reached.
        OSError: the Hub refuses.
    """
    api = HfApi()
    with _told_in_one_line(repo):
        sdk = "gradio" if kind == "space" else None
        repo = api.create_repo(repo, repo_type=kind, private=private, exist_ok=True, space_sdk=sdk).repo_id
        if revision:
            api.create_branch(repo, branch=revision, repo_type=kind, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo, repo_type=kind, folder_path=folder, revision=revision, commit_message=message
        )
    return str(commit.commit_url)


def card_text(checkpoint: str, card: str | Path | None, repo: str) -> str | None:
    """
    The text of the card that goes with a checkpoint.

    Args:
        checkpoint: folder or Hub id; a README.md in the folder is its card.
        card: YAML with the data of the card under the name of the repository, instead.
        repo: id on the Hub to publish under.

    Returns:
        The text, or None if only the repository has a card, which stays.

    Raises:
        ConnectionError: the Hub cannot be reached to look for a card.
        ValueError: there is no card at all, or none of this name.
    """
    if card is not None:
        return render_card(_card_of(card, repo), repo)
    readme = Path(checkpoint) / "README.md"
    if readme.is_file():
        return readme.read_text(encoding="utf-8")
    with _told_in_one_line(repo):
        found = HfApi().file_exists(repo, "README.md")
    if not found:
        raise ValueError(f"Neither {checkpoint} nor {repo} has a README.md: give the card's data with --card.")
    return None


def results_text(card: str | Path | None, repo: str) -> str | None:
    """
    The text of `RESULTS` that goes with a card; None without a card's data, or without results for leaderboards.

    Raises:
        ValueError: there is no card of this name.
    """
    return None if card is None else hub_results(_card_of(card, repo))


def _card_of(card: str | Path, repo: str) -> CardInfo:
    cards = read_cards(card)
    name = repo.split("/")[-1]
    if name not in cards:
        raise ValueError(f"{card} has no card {name!r}, only {', '.join(cards)}: add it under this name.")
    return cards[name]


def require_checkpoint(folder: str | Path) -> None:
    """
    Check that `folder`, if it is one, holds a checkpoint.

    Raises:
        ValueError: it holds none; folders inside that do are named.
    """
    folder = Path(folder)
    if folder.is_dir() and not (folder / "config.json").is_file():
        inside = [str(path.parent) for path in sorted(folder.glob("*/config.json"))]
        remedy = f"give one of {', '.join(inside)}" if inside else "give the folder of a saved model"
        raise ValueError(f"{folder} holds no config.json: {remedy}.")


@contextmanager
def _told_in_one_line(repo: str) -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise ConnectionError(
            f"The Hub cannot be reached to publish {repo} ({error}): check the network and try again."
        ) from error
    except HfHubHTTPError as error:
        reason = " ".join(str(error).split())
        raise OSError(
            f"The Hub refuses {repo} ({reason}): log in with `hf auth login`, and check the name and your rights."
        ) from error


__all__ = [
    "ORIGIN",
    "RESULTS",
    "TASK",
    "card_text",
    "require_checkpoint",
    "results_text",
    "upload",
    "write_checkpoint",
]
