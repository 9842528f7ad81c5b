"""What tells one file, or one network, from another: SHA-256."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn


def file_sha256(path: Path) -> str:
    """
    SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def add_weights(digest: Any, network: nn.Module) -> None:
    """Add names and values of all tensors of a network, in the order of their names, to a digest of hashlib."""
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())


__all__ = ["add_weights", "file_sha256"]
