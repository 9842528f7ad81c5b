"""Necks that join the maps of a trunk: NanoDet-m's sums (PANet, arXiv 1803.01534), and NanoDet-Plus' Ghost-PAN.

A neck takes maps of three strides, fine to coarse, and returns maps of equal width, fine to coarse. Ghost-PAN joins
maps by Ghost bottlenecks (GhostNet, arXiv 1911.11907) and adds a map of twice the coarsest stride. Knows nothing of
classes and boxes.

Source: NanoDet (RangiLyu/nanodet, Apache-2.0).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .shufflenet import ConvAct, SeparableConv, convolution

# Names of the maps, by stride.
LEVELS = ("stride8", "stride16", "stride32", "stride64")
_WIDE = 5  # side of the kernels of Ghost-PAN


class PathAggregationNeck(nn.Module):
    """1×1 convolutions to equal width, then top-down and bottom-up sums."""

    num_levels = 3

    def __init__(self, in_channels: Sequence[int], channels: int, negative_slope: float):
        super().__init__()
        convolutions = [convolution(width, channels, 1) for width in in_channels]
        self.lateral = nn.ModuleDict(dict(zip(LEVELS[: self.num_levels], convolutions, strict=True)))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Three maps (I, C, h, w) -> three maps (I, channels, h, w)."""
        maps = [conv(feature) for conv, feature in zip(self.lateral.values(), features, strict=True)]
        for fine in range(len(maps) - 2, -1, -1):
            maps[fine] = maps[fine] + _resize_like(maps[fine + 1], maps[fine])
        for coarse in range(1, len(maps)):
            maps[coarse] = maps[coarse] + _resize_like(maps[coarse - 1], maps[coarse])
        return maps


class GhostModule(nn.Module):
    """A 1×1 convolution computes half of the channels, a depthwise 3×3 convolution of these the other half."""

    def __init__(self, in_channels: int, out_channels: int, negative_slope: float | None):
        """
        Args:
            in_channels, out_channels: C_in, C_out; C_out is even.
            negative_slope: of the leaky ReLUs; None = there are none.
        """
        super().__init__()
        half = out_channels // 2
        self.primary: nn.Module
        self.cheap: nn.Module
        if negative_slope is None:
            self.primary, self.cheap = convolution(in_channels, half, 1), convolution(half, half, 3, groups=half)
        else:
            self.primary = ConvAct(in_channels, half, 1, negative_slope)
            self.cheap = ConvAct(half, half, 3, negative_slope, groups=half)

    def forward(self, features: Tensor) -> Tensor:
        """(I, C_in, h, w) -> (I, C_out, h, w)."""
        primary = self.primary(features)
        return torch.cat([primary, self.cheap(primary)], dim=1)


class GhostBottleneck(nn.Module):
    """Two Ghost modules, the second without activation, plus a depthwise-separable shortcut."""

    def __init__(self, in_channels: int, out_channels: int, negative_slope: float):
        super().__init__()
        self.ghost1 = GhostModule(in_channels, out_channels, negative_slope)
        self.ghost2 = GhostModule(out_channels, out_channels, None)
        self.shortcut = nn.Sequential()
        self.shortcut.add_module("depthwise", convolution(in_channels, in_channels, _WIDE, groups=in_channels))
        self.shortcut.add_module("pointwise", convolution(in_channels, out_channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(I, C_in, h, w) -> (I, C_out, h, w)."""
        return self.ghost2(self.ghost1(features)) + self.shortcut(features)


class GhostPathAggregationNeck(nn.Module):
    """Ghost-PAN: 1×1 convolutions to equal width, top-down and bottom-up Ghost bottlenecks, and one coarser map."""

    num_levels = 4

    def __init__(self, in_channels: Sequence[int], channels: int, negative_slope: float):
        super().__init__()
        fine, *coarser = LEVELS[: len(in_channels)]

        def bottlenecks(names: Sequence[str]) -> nn.ModuleDict:
            return nn.ModuleDict({name: GhostBottleneck(2 * channels, channels, negative_slope) for name in names})

        def halving() -> SeparableConv:
            return SeparableConv(channels, _WIDE, negative_slope, stride=2)

        self.reduce = nn.ModuleDict(
            {
                name: ConvAct(width, channels, 1, negative_slope)
                for name, width in zip((fine, *coarser), in_channels, strict=True)
            }
        )
        self.top_down = bottlenecks((fine, *coarser[:-1]))
        self.down = nn.ModuleDict({name: halving() for name in coarser})
        self.bottom_up = bottlenecks(coarser)
        self.extra_from_trunk, self.extra_from_neck = halving(), halving()

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Three maps (I, C, h, w) -> four maps (I, channels, h, w), the last one half as large, rounded up."""
        maps = [conv(feature) for conv, feature in zip(self.reduce.values(), features, strict=True)]
        from_trunk = self.extra_from_trunk(maps[-1])
        for fine, bottleneck in reversed(list(enumerate(self.top_down.values()))):
            maps[fine] = bottleneck(torch.cat([_resize_like(maps[fine + 1], maps[fine]), maps[fine]], dim=1))
        stages = zip(self.down.values(), self.bottom_up.values(), strict=True)
        for coarse, (down, bottleneck) in enumerate(stages, start=1):
            maps[coarse] = bottleneck(torch.cat([down(maps[coarse - 1]), maps[coarse]], dim=1))
        return [*maps, from_trunk + self.extra_from_neck(maps[-1])]


def _resize_like(features: Tensor, other: Tensor) -> Tensor:
    return F.interpolate(features, other.shape[-2:], mode="bilinear", align_corners=False)


# By the name that a trunk's config gives them.
NECKS: dict[str, type[PathAggregationNeck] | type[GhostPathAggregationNeck]] = {
    "pan": PathAggregationNeck,
    "ghost_pan": GhostPathAggregationNeck,
}

__all__ = ["LEVELS", "NECKS", "GhostPathAggregationNeck", "PathAggregationNeck"]
