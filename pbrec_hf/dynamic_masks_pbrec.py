"""Masks by dynamic kernels: each point brings the 1×1 convolution that draws its own mask (arXiv 2003.10152).

A kernel has C weights for the pixel features, one bias, and an ellipse (centre offset and half axes, two each) that
says roughly where the object lies. Mask logit of a pixel: weights · features + bias + ellipse. Coordinates run from -1
to 1 over the canvas. Pure functions over tensors, and the lazy masks that apply them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .proposals_pbrec import LazyMasks

# The numbers of a kernel that are not weights: bias, offset (x, y), log half axes (x, y).
NUM_SHAPE = 5
TYPICAL_HALF_AXIS = 0.25
# Logit of the ellipse at its centre; minus that far away, 0 on its edge.
ELLIPSE_LOGIT = 4.0
LARGEST_LOG_SCALE = 3.0


def pixel_coordinates(length: int, like: Tensor) -> Tensor:
    """Centres of `length` pixels (or cells) on an axis from -1 to 1."""
    return (torch.arange(length, dtype=like.dtype, device=like.device) + 0.5) * (2 / length) - 1


def mask_logits(features: Tensor, kernels: Tensor, points: Tensor) -> Tensor:
    """Mask logits (n, h, w) of n points of one image.

    Args:
        features: (C, h, w) pixel features.
        kernels: (n, C + NUM_SHAPE).
        points: (n, 2) XY of the points, from -1 to 1 over the canvas.
    """
    channels, height, width = features.shape
    weight, bias, offset, scale = kernels.split([channels, 1, 2, 2], dim=1)
    center = points + offset
    axes = TYPICAL_HALF_AXIS * scale.clamp(-LARGEST_LOG_SCALE, LARGEST_LOG_SCALE).exp()
    x = ((pixel_coordinates(width, features) - center[:, :1]) / axes[:, :1]).square()
    y = ((pixel_coordinates(height, features) - center[:, 1:]) / axes[:, 1:]).square()
    distance = y[:, :, None] + x[:, None, :]
    ellipse = ELLIPSE_LOGIT * (1 - distance) / (1 + distance)
    return torch.addmm(bias, weight, features.flatten(1)).view(-1, height, width) + ellipse


def points_of_grid(rows: int, cols: int, like: Tensor) -> Tensor:
    """(rows·cols, 2) XY of the cell centres, row-major, from -1 to 1 over the canvas."""
    y, x = torch.meshgrid(pixel_coordinates(rows, like), pixel_coordinates(cols, like), indexing="ij")
    return torch.stack([x, y], dim=-1).view(-1, 2)


@dataclass
class DynamicMasks(LazyMasks):
    """Masks whose kernels differ from image to image; see `pack` for how to make them.

    `features` holds the pixel features and behind them the kernels of all points, rearranged to their resolution, so
    that choosing, moving and joining images moves both. No part of a kernel is shared by the images: `weight` and
    `bias` are zero and only say how many points there are.

    Args:
        channels: C, the channels of `features` that are pixel features.
        grid: (rows, cols) of the points.
    """

    channels: int = 0
    grid: tuple[int, int] = (1, 1)

    @classmethod
    def pack(cls, features: Tensor, kernels: Tensor) -> "DynamicMasks":
        """From pixel features (I, C, h, w) and kernels (I, C + NUM_SHAPE, rows, cols); h / rows = w / cols, whole."""
        rows, cols = kernels.shape[-2:]
        factor = features.shape[-1] // cols
        lacking = -kernels.shape[1] % factor**2
        packed = torch.cat([features, F.pixel_shuffle(F.pad(kernels, (0, 0, 0, 0, 0, lacking)), factor)], dim=1)
        nothing = features.new_zeros(())
        return cls(
            features=packed,
            weight=nothing.expand(rows * cols, packed.shape[1]),
            bias=nothing.expand(rows * cols),
            channels=features.shape[1],
            grid=(rows, cols),
        )

    def at(self, image_index: Tensor, point_index: Tensor) -> Tensor:
        """Mask probabilities (n, h, w) over the canvas for n pairs `image_index` (n,), `point_index` (n,) int64."""
        height, width = self.features.shape[-2:]
        probabilities = self.features.new_empty(len(image_index), height, width)
        points = points_of_grid(*self.grid, self.features)
        for image in image_index.unique().tolist():
            chosen = (image_index == image).nonzero().squeeze(1)
            features, packed = self.features[image].tensor_split([self.channels])
            kernels = F.pixel_unshuffle(packed, width // self.grid[1])[: self.channels + NUM_SHAPE].flatten(1).T
            index = point_index[chosen]
            probabilities[chosen] = mask_logits(features, kernels[index], points[index]).sigmoid()
        return probabilities


__all__ = ["NUM_SHAPE", "DynamicMasks", "mask_logits", "points_of_grid"]
