"""A saved folder as one commit of a repository, with the arguments that `push_to_hub` of transformers takes."""

import os
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi


def upload_saved(folder: str | os.PathLike[str], options: dict[str, Any], message: str) -> None:
    """
    Upload a folder, to a repository that is created if it is not there.

    Args:
        folder: to upload.
        options: `repo_id` (by default the folder's name), `token`, `private`, `commit_message`, and others of
            `HfApi.upload_folder`.
        message: of the commit, by default.
    """
    options = {"commit_message": message, **options}
    repo_id = options.pop("repo_id", Path(folder).name)
    api = HfApi(token=options.pop("token", None))
    repo_id = api.create_repo(repo_id, private=options.pop("private", None), exist_ok=True).repo_id
    api.upload_folder(repo_id=repo_id, folder_path=Path(folder), **options)


__all__ = ["upload_saved"]
