"""Residual blocks of a ResNet for inference on a CPU, with sum and ReLU fused into the convolutions.

Every separate addition or activation reads and writes a whole feature map; at 640 pixels that costs as much as some
convolutions. oneDNN does both while it writes the output of a convolution. torch exposes this only through private
operators for its compiler, so they are tested once against the plain arithmetic. Where they are missing, changed or
not applicable (other devices or dtypes, gradients), the plain arithmetic runs. Expects blocks whose norms have been
folded into the convolutions (`inference/folding.py`).
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from transformers.models.resnet.modeling_resnet import ResNetBasicLayer, ResNetBottleNeckLayer


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


def conv_relu(features: Tensor, convolution: nn.Conv2d) -> Tensor:
    """relu(convolution(features)): (I, C, H, W) -> (I, C', H', W')."""
    if not _can_fuse(features):
        return convolution(features).relu_()
    return _pointwise()(features, *_arguments(convolution), "relu", [], "")


def conv_add_relu(features: Tensor, other: Tensor, convolution: nn.Conv2d) -> Tensor:
    """relu(convolution(features) + other), with `other` of the output's shape (I, C', H', W')."""
    if not _can_fuse(features):
        return (convolution(features) + other).relu_()
    return _pointwise().binary(features, other, *_arguments(convolution), "add", 1.0, "relu", [], "")


def _arguments(convolution: nn.Conv2d) -> tuple[Any, ...]:
    geometry = (list(convolution.padding), list(convolution.stride), list(convolution.dilation))
    return convolution.weight, convolution.bias, *geometry, convolution.groups


def _can_fuse(features: Tensor) -> bool:
    plain = features.device.type != "cpu" or features.dtype != torch.float32 or torch.is_grad_enabled()
    # Compilers fuse by themselves, and exporters support only public operators.
    return not (plain or torch.compiler.is_compiling()) and _works()


def _pointwise() -> Any:
    return torch.ops.mkldnn._convolution_pointwise


@cache
def _works() -> bool:
    """Whether both operators exist and return the expected values."""
    generator = torch.Generator().manual_seed(0)
    features, other = (torch.randn(1, 8, 6, 6, generator=generator, dtype=torch.float32) for _ in range(2))
    with torch.random.fork_rng(devices=[]):
        convolution = nn.Conv2d(8, 8, 3, padding=1, dtype=torch.float32)
    with torch.no_grad():
        expected = convolution(features)
        try:
            relu = _pointwise()(features, *_arguments(convolution), "relu", [], "")
            added = _pointwise().binary(features, other, *_arguments(convolution), "add", 1.0, "relu", [], "")
        except (AttributeError, RuntimeError, TypeError):
            return False
    close = torch.allclose(relu, expected.relu(), atol=1e-5)
    return close and torch.allclose(added, (expected + other).relu(), atol=1e-5)


__all__ = ["FusedResidualBlock", "conv_add_relu", "conv_relu", "fused_block"]
