"""Masks by dynamic kernels: each point brings the 1×1 convolution that draws its own mask (arXiv 2003.10152).

A kernel has C weights for the pixel features, one bias, and an ellipse (centre x, y and log half axes, on a canvas
from -1 to 1) that says roughly where the object lies. Mask logit of a pixel: weights · features + bias + ellipse. Pure
functions over tensors, and the lazy masks that apply them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.proposals import LazyMasks

# The numbers of a kernel that are not weights: bias, centre (x, y), log half axes (x, y).
NUM_SHAPE = 5
# Logit of the ellipse at its centre; minus that far away, 0 on its edge.
ELLIPSE_LOGIT = 4.0


def pixel_coordinates(length: int, like: Tensor) -> Tensor:
    """Centres of `length` pixels on an axis from -1 to 1."""
    return (torch.arange(length, dtype=like.dtype, device=like.device) + 0.5) * (2 / length) - 1


def mask_logits(features: Tensor, kernels: Tensor) -> Tensor:
    """Mask logits (n, h, w) of n points of one image, from features (C, h, w) and kernels (n, C + NUM_SHAPE)."""
    channels, height, width = features.shape
    weight, bias, center, log_axes = kernels.split([channels, 1, 2, 2], dim=1)
    scale = (-log_axes).exp()
    x = ((pixel_coordinates(width, features) - center[:, :1]) * scale[:, :1]).square()
    y = ((pixel_coordinates(height, features) - center[:, 1:]) * scale[:, 1:]).square()
    distance = y[:, :, None] + x[:, None, :]
    # Bounded, so that the features can overrule the ellipse everywhere.
    ellipse = ELLIPSE_LOGIT * (1 - distance) / (1 + distance)
    return torch.addmm(bias, weight, features.flatten(1)).view(-1, height, width) + ellipse


@dataclass
class DynamicMasks(LazyMasks):
    """Masks whose kernels differ from image to image; `pack` makes them.

    `features` holds the pixel features and behind them, in as many channels as it takes, the kernels of all points, so
    that choosing, moving and joining images moves both. No part of a kernel is shared by the images: `weight` and
    `bias` are zero and only say how many points there are.

    Args:
        channels: C, the channels of `features` that are pixel features.
    """

    channels: int = 0

    @classmethod
    def pack(cls, features: Tensor, kernels: Tensor) -> "DynamicMasks":
        """From pixel features (I, C, h, w) and kernels (I, N, C + NUM_SHAPE)."""
        images, channels, height, width = features.shape
        numbers = kernels.flatten(1)
        numbers = F.pad(numbers, (0, -numbers.shape[1] % (height * width)))
        packed = torch.cat([features, numbers.view(images, -1, height, width)], dim=1)
        nothing = features.new_zeros(())
        points = kernels.shape[1]
        return cls(
            features=packed,
            weight=nothing.expand(points, packed.shape[1]),
            bias=nothing.expand(points),
            channels=channels,
        )

    def at(self, image_index: Tensor, point_index: Tensor) -> Tensor:
        """Mask probabilities (n, h, w) over the canvas for n pairs `image_index` (n,), `point_index` (n,) int64."""
        probabilities = self.features.new_empty(len(image_index), *self.features.shape[-2:])
        length = self.channels + NUM_SHAPE
        for image in image_index.unique().tolist():
            chosen = (image_index == image).nonzero().squeeze(1)
            features, packed = self.features[image].tensor_split([self.channels])
            kernels = packed.flatten()[: len(self.bias) * length].view(-1, length)
            probabilities[chosen] = mask_logits(features, kernels[point_index[chosen]]).sigmoid()
        return probabilities


__all__ = ["NUM_SHAPE", "DynamicMasks", "mask_logits"]
