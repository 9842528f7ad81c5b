"""Residual blocks of a ResNet for inference on a CPU, with sum and ReLU fused into the convolutions.

Expects blocks whose norms have been folded into the convolutions (`inference/folding.py`).
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from transformers.models.resnet.modeling_resnet import ResNetBasicLayer, ResNetBottleNeckLayer

from .fused_convolutions import conv_add_relu, conv_relu


class FusedResidualBlock(nn.Module):
    """relu(convolutions(x) + shortcut(x)), with a ReLU after every convolution but the last."""

    convolutions: Sequence[nn.Conv2d]

    def __init__(self, convolutions: Sequence[nn.Conv2d], shortcut: nn.Conv2d | None):
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)  # type: ignore[assignment]  # a list of these convolutions
        self.shortcut = shortcut

    def forward(self, features: Tensor) -> Tensor:
        """(I, C, H, W) -> (I, C', H', W')."""
        residual = features if self.shortcut is None else self.shortcut(features)
        for convolution in self.convolutions[:-1]:
            features = conv_relu(features, convolution)
        return conv_add_relu(features, residual, self.convolutions[-1])


def fused_block(block: nn.Module) -> FusedResidualBlock | None:
    """
    A fused version of a residual block.

    Args:
        block: a residual block of a transformers or torchvision ResNet, with folded norms.

    Returns:
        The fused block, which shares the convolutions of `block`; None for any other module.
    """
    convolutions: list[Any]
    norms: list[Any]
    activations: list[Any]
    if isinstance(block, (ResNetBasicLayer, ResNetBottleNeckLayer)):
        convolutions = [layer.convolution for layer in block.layer]
        norms = [layer.normalization for layer in block.layer]
        activations = [block.activation, *(layer.activation for layer in block.layer[:-1])]
        shortcut = getattr(block.shortcut, "convolution", None)
    elif isinstance(block, (BasicBlock, Bottleneck)):
        count = 3 if isinstance(block, Bottleneck) else 2
        convolutions = [getattr(block, f"conv{number}") for number in range(1, count + 1)]
        norms = [getattr(block, f"bn{number}") for number in range(1, count + 1)]
        activations = [block.relu]
        shortcut = None if block.downsample is None else block.downsample[0]
    else:
        return None
    if not all(isinstance(norm, nn.Identity) for norm in norms):
        return None
    if not all(isinstance(activation, nn.ReLU) for activation in activations):
        return None
    return FusedResidualBlock(convolutions, shortcut)


__all__ = ["FusedResidualBlock", "fused_block"]
