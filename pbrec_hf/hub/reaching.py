"""Whether the Hub answers, asked once and briefly, before a client library repeats its requests for half a minute.

Knows nothing of checkpoints and data: an id, its version, and what this machine has of it.
"""

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_session, try_to_load_from_cache
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx, validate_repo_id

LIBRARIES = ("torchvision",)  # "torchvision:fcos_p5" stands for weights that a library fetches itself
SECONDS = 5.0  # to connect and answer; the Hub takes a tenth of one


def require_hub(purpose: str) -> None:
    """
    Check that the Hub answers.

    Args:
        purpose: what it is needed for, as in "to publish me/mine".

    Raises:
        ConnectionError: it does not, or `HF_HUB_OFFLINE` is set.
    """
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except (httpx.TransportError, ConnectionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConnectionError(
            f"The Hub cannot be reached {purpose} ({reason}): check the network and try again."
        ) from error


def hub_options(source: str) -> dict[str, Any]:
    """
    Further arguments of `from_pretrained` for this folder or Hub id, so that it does not wait for a Hub out of reach.

    Returns:
        `local_files_only` where the Hub does not answer and the id was fetched before; nothing otherwise.

    Raises:
        ConnectionError: the Hub does not answer, and this machine has nothing of the id.
    """
    if not _on_the_hub(source) or constants.HF_HUB_OFFLINE:
        return {}
    try:
        require_hub(f"to fetch {source}, which is no folder either")
    except ConnectionError:
        if not isinstance(try_to_load_from_cache(source, "config.json"), str):
            raise
        return {"local_files_only": True}
    return {}


def require_source(source: str) -> None:
    """
    Check, before anything slow, that a checkpoint's folder is there, or that the Hub can be asked for its id.

    Raises:
        FileNotFoundError: `source` can only be a folder, and there is none.
        ConnectionError: see `hub_options`.
    """
    if source.partition(":")[0] in LIBRARIES:
        return
    source, _ = split_revision(source)
    if not Path(source).exists() and not _on_the_hub(source):
        raise FileNotFoundError(f"There is no folder {source}: correct the path, or give a Hub id such as org/name.")
    hub_options(source)


def data_set_at(repo_id: str, revision: str | None = None) -> tuple[str, str]:
    """
    Which data set, and which commit of it, the Hub has under these names; it follows a data set that was renamed.

    Args:
        repo_id: owner/name.
        revision: branch, tag or commit; None = the newest.

    Returns:
        Its id and the commit.

    Raises:
        ConnectionError: the Hub does not answer.
        FileNotFoundError: there is no such data set or revision, or it is not open to this machine.
    """
    require_hub(f"to fetch {repo_id}")
    try:
        found = HfApi().dataset_info(repo_id, revision=revision, timeout=SECONDS)
    except RevisionNotFoundError as error:
        raise FileNotFoundError(
            f"{repo_id} has no revision {revision!r}: give a branch, a tag, or all 40 digits of a commit."
        ) from error
    except RepositoryNotFoundError as error:  # also a gated one
        raise FileNotFoundError(
            f"{repo_id} is no data set on the Hub, or it is not open to you: correct the name, or accept its terms "
            "and log in (hf auth login)."
        ) from error
    except (HfHubHTTPError, httpx.TransportError) as error:
        reason = str(error).splitlines()[0]
        raise ConnectionError(f"The Hub does not tell about {repo_id} ({reason}): try again later.") from error
    return found.id, str(found.sha)


def split_revision(source: str) -> tuple[str, str | None]:
    """ "org/name@revision" → the id and the revision; a folder as it is, whatever it is called."""
    name, at, revision = source.rpartition("@")
    return (name, revision) if at and not Path(source).exists() else (source, None)


def _on_the_hub(source: str) -> bool:
    """Whether `source` can only be an id on the Hub."""
    if Path(source).exists():
        return False
    try:
        validate_repo_id(source)
    except HFValidationError:
        return False
    return True


__all__ = ["data_set_at", "hub_options", "require_hub", "require_source", "split_revision"]
