"""Rows of a split on the Hub, one after the other over the network: nothing is downloaded but what is read.

Knows nothing of what the rows mean.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import datasets
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import httpx

from ...hub.opening import one_line
from ...hub.reaching import data_set_at
from .names import HubSet

_OUT_OF_REACH = (httpx.TransportError, ConnectionError, HfHubHTTPError)


def open_split(hub_set: HubSet, split: str) -> datasets.IterableDataset:
    """
    The rows of a split, pictures as {"bytes", "path"}.

    Raises:
        ConnectionError: the Hub does not answer.
        FileNotFoundError: there is no such data set or revision, or it is not open to this machine.
        ValueError: it has no such split or several configurations, or cannot be read.
    """
    repo_id, commit = data_set_at(hub_set.repo_id, hub_set.revision)
    with reading(hub_set.repo_id):
        rows = datasets.load_dataset(repo_id, split=split, revision=commit, streaming=True)
        if rows.features is None:
            rows = rows._resolve_features()
    if "image" in (rows.features or {}):
        rows = rows.cast_column("image", datasets.Image(decode=False))
    return rows


def splits_of(hub_set: HubSet) -> list[str]:
    """
    The names of the splits, of a known set without asking the Hub.

    Raises:
        ConnectionError, FileNotFoundError, ValueError: as of `open_split`.
    """
    if hub_set.splits:
        return list(hub_set.splits)
    repo_id, commit = data_set_at(hub_set.repo_id, hub_set.revision)
    with reading(hub_set.repo_id):
        return [str(split) for split in datasets.get_dataset_split_names(repo_id, revision=commit)]


@contextmanager
def reading(name: str) -> Iterator[None]:
    """
    What the libraries raise while they read a data set becomes one clear error.

    Raises:
        ConnectionError: the connection is gone.
        FileNotFoundError: the data set is.
        ValueError: anything else.
    """
    try:
        yield
    except DatasetNotFoundError as error:
        raise FileNotFoundError(f"{name} cannot be loaded: {one_line(error)}") from error
    except _OUT_OF_REACH as error:
        raise ConnectionError(
            f"The connection to the Hub broke off while {name} was read ({one_line(error)}): check the network and "
            "run the same again."
        ) from error
    except (MemoryError, ImportError):
        raise
    except Exception as error:  # of damaged files and unknown splits the libraries raise nearly anything
        raise ValueError(f"{name} cannot be read: {one_line(error)}") from error


__all__ = ["open_split", "reading", "splits_of"]
