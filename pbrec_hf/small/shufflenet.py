"""Convolutions and blocks of ShuffleNetV2 (arXiv 1807.11164), with BatchNorm folded into the convolutions.

Without BatchNorm, weights of a fixed small deviation would make the signal vanish over the depth of a trunk, so every
convolution starts with weights that preserve its variance. Knows nothing of necks and detectors.
"""

from functools import partial

import torch
from torch import Tensor, nn
from transformers import initialization as init

from ..layers.fused_convolutions import conv_leaky_relu
from ..layers.initialization import starting


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
    negative_slope: float = 1.0,
) -> nn.Conv2d:
    """
    Convolution with bias, which keeps the size of a map but for its stride.

    Args:
        in_channels, out_channels, kernel_size, stride, groups: of the convolution; `kernel_size` is odd.
        negative_slope: of the leaky ReLU behind it, for the initialisation; 1 = there is none.
    """
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups)
    return starting(conv, weight=partial(init.kaiming_normal_, a=negative_slope, nonlinearity="leaky_relu"))


class ConvAct(nn.Module):
    """Convolution with bias, then a leaky ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        negative_slope: float,
        stride: int = 1,
        groups: int = 1,
    ):
        super().__init__()
        self.conv = convolution(in_channels, out_channels, kernel_size, stride, groups, negative_slope)
        self.negative_slope = negative_slope

    def forward(self, features: Tensor) -> Tensor:
        """(I, C_in, h, w) -> (I, C_out, h/stride, w/stride), rounded up."""
        return conv_leaky_relu(features, self.conv, self.negative_slope)


class SeparableConv(nn.Module):
    """Depthwise and 1×1 convolution, each with a leaky ReLU behind it."""

    def __init__(self, channels: int, kernel_size: int, negative_slope: float, stride: int = 1):
        super().__init__()
        self.depthwise = ConvAct(channels, channels, kernel_size, negative_slope, stride, groups=channels)
        self.pointwise = ConvAct(channels, channels, 1, negative_slope)

    def forward(self, features: Tensor) -> Tensor:
        """(I, C, h, w) -> (I, C, h/stride, w/stride), rounded up."""
        return self.pointwise(self.depthwise(features))


class LeftBranch(nn.Module):
    """The left branch of a block that halves the map; in other blocks it is the identity."""

    def __init__(self, in_channels: int, out_channels: int, negative_slope: float):
        super().__init__()
        self.depthwise = convolution(in_channels, in_channels, 3, stride=2, groups=in_channels)
        self.pointwise = ConvAct(in_channels, out_channels, 1, negative_slope)

    def forward(self, features: Tensor) -> Tensor:
        """(I, C_in, h, w) -> (I, C_out, h/2, w/2)."""
        return self.pointwise(self.depthwise(features))


class RightBranch(nn.Module):
    """The right branch of every block: 1×1, depthwise 3×3 and 1×1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, negative_slope: float):
        super().__init__()
        self.pointwise_in = ConvAct(in_channels, out_channels, 1, negative_slope)
        self.depthwise = convolution(out_channels, out_channels, 3, stride, groups=out_channels)
        self.pointwise_out = ConvAct(out_channels, out_channels, 1, negative_slope)

    def forward(self, features: Tensor) -> Tensor:
        """(I, C_in, h, w) -> (I, C_out, h/stride, w/stride)."""
        return self.pointwise_out(self.depthwise(self.pointwise_in(features)))


def interleaved(one: Tensor, other: Tensor) -> Tensor:
    """The channels of two maps (I, C, h, w) in turns, (I, 2 · C, h, w): concatenated, then shuffled in two groups."""
    if torch.compiler.is_compiling():  # runtimes know this form
        return torch.cat((one, other), dim=1).unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)
    if one.stride(1) == 1:  # channels-last memory, where the shuffle of torch takes longer than the convolutions
        first, second = one.movedim(1, -1), other.movedim(1, -1)
        # Complex numbers are pairs in memory, and made in half of the time of `stack`.
        single = one.dtype == torch.float32
        both = torch.view_as_real(torch.complex(first, second)) if single else torch.stack((first, second), dim=-1)
        return both.flatten(-2).movedim(-1, 1)
    return torch.stack((one, other), dim=2).flatten(1, 2)


class ShuffleBlock(nn.Module):
    """ShuffleNetV2 block. The first block of a stage halves the map, and both its branches take all channels."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, negative_slope: float):
        super().__init__()
        half = out_channels // 2
        self.branch_left = LeftBranch(in_channels, half, negative_slope) if stride == 2 else None
        self.branch_right = RightBranch(in_channels if stride == 2 else half, half, stride, negative_slope)

    def forward(self, features: Tensor) -> Tensor:
        """(I, C_in, h, w) -> (I, C_out, h/stride, w/stride)."""
        if self.branch_left is None:
            kept, changed = features.chunk(2, dim=1)
        else:
            kept, changed = self.branch_left(features), features
        return interleaved(kept, self.branch_right(changed))


class ShuffleStage(nn.Module):
    """`depth` blocks, the first of which halves the map."""

    def __init__(self, in_channels: int, out_channels: int, depth: int, negative_slope: float):
        super().__init__()
        for index in range(depth):
            channels, stride = (in_channels, 2) if index == 0 else (out_channels, 1)
            self.add_module(f"block{index}", ShuffleBlock(channels, out_channels, stride, negative_slope))

    def forward(self, features: Tensor) -> Tensor:
        """(I, C_in, h, w) -> (I, C_out, h/2, w/2)."""
        for block in self.children():
            features = block(features)
        return features


__all__ = ["ConvAct", "SeparableConv", "ShuffleStage", "convolution"]
