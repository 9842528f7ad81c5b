"""A trained checkpoint as users get it: model, processor, detectors and card in one folder, on disk or on the Hub.

Folders are replaced whole, so that a reader never meets half of one. Knows nothing of training.
"""

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from ..hub.writing import replaced_folder
from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor


def save_checkpoint(
    folder: str | Path,
    model: PbrecForReferringExpression,
    processor: PbrecProcessor,
    state_dict: dict[str, Any] | None = None,
    card: str | None = None,
) -> None:
    """
    Write a folder for `from_pretrained`, in the place of an older one.

    Args:
        state_dict: the whole weights where the model holds only a part of them.
        card: text of its README.md.

    Raises:
        OSError: it cannot be written, in one line.
    """
    with replaced_folder(Path(folder)) as partial:
        model.save_pretrained(partial, state_dict=state_dict)
        processor.save_pretrained(partial)
        if card is not None:
            (partial / "README.md").write_text(card, encoding="utf-8")


def push_checkpoint(folder: str | Path, repo_id: str, private: bool = False, message: str = "Trained weights") -> str:
    """Upload a folder of `save_checkpoint` in one commit; gives its address. Creates the repository if needed."""
    api = HfApi()
    api.create_repo(repo_id, private=private, exist_ok=True)
    return api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message).commit_url
