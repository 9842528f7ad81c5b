"""The memory layout of a network in training."""

import torch
from torch import nn


def use_channels_last(model: nn.Module, sharded: bool = False) -> bool:
    """
    Lay the weights of `model` out as convolutions prefer, channels last, unless that is unsafe or impossible.

    It is unsafe on a CPU for strided 1 × 1 convolutions of fewer than 16 channels: with an odd number of images and
    several threads, the AVX-512 gradient of oneDNN (torch 2.14) writes beyond its buffer, and the process dies later,
    anywhere. Only miniature networks have such convolutions.

    Args:
        model: any network.
        sharded: whether FSDP will shard the weights: it refuses this layout.

    Returns:
        Whether the layout was changed.
    """
    if sharded or any(_writes_out_of_bounds(module) for module in model.modules()):
        return False
    model.to(memory_format=torch.channels_last)
    return True


def _writes_out_of_bounds(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.weight.device.type == "cpu"
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels // module.groups < 16
    )
