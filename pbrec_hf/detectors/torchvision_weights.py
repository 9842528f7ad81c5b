"""Weights that torchvision publishes, and what to do where they cannot be had."""

from enum import Enum
from typing import Any

import torch
from torch import Tensor


def published_weights(published: Any, weights: Any, progress: bool = False) -> tuple[Any, dict[str, Tensor]]:
    """
    Weights of a network of torchvision, which torchvision downloads on first use.

    Args:
        published: torchvision's enumeration of them.
        weights: a member of it, or its name.
        progress: whether torchvision shows a progress bar.

    Returns:
        The member, and its state dict.

    Raises:
        ValueError: torchvision has no such weights.
        OSError: the weights are neither in torch's cache nor downloadable.
    """
    members = [member.name for member in published]
    name = weights.name if isinstance(weights, Enum) else weights
    if name not in published.__members__:
        raise ValueError(f"weights={weights!r} is unknown to torchvision: choose one of {members}.")
    member = published[name]
    try:
        return member, member.get_state_dict(progress=progress, check_hash=True)
    except OSError as error:
        raise OSError(
            f"{member.url} cannot be downloaded ({error}): connect to the network, or download the file elsewhere "
            f"and put it into {torch.hub.get_dir()}/checkpoints/, or load a detector with `from_pretrained`."
        ) from error


__all__ = ["published_weights"]
