"""Masks by dynamic convolution: each point predicts the 1×1 kernel that computes its mask (arXiv 2003.10152).

A kernel has C weights for the pixel features, a bias, and an ellipse (centre x, y and log half-axes, on a canvas from
-1 to 1) as a prior for the object's location. The mask logit of a pixel is weights · features + bias + ellipse. Pure
functions over tensors, and the lazy masks that apply them, as they are or refined.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.proposed_masks import LazyMasks
from .mask_refiner import on_the_canvas, refined_logits

# Kernel parameters besides the weights: bias, centre (x, y), log half-axes (x, y).
NUM_SHAPE = 5
# Logit of the ellipse at its centre; 0 on its edge, the negative far away.
ELLIPSE_LOGIT = 4.0
MASKS_AT_ONCE = 64  # that are drawn together, and lie in memory with what that takes


def pixel_coordinates(length: int, like: Tensor) -> Tensor:
    """Centres (length,) of the pixels of an axis from -1 to 1, with dtype and device of `like`."""
    return (torch.arange(length, dtype=like.dtype, device=like.device) + 0.5) * (2 / length) - 1


def mask_logits(features: Tensor, kernels: Tensor) -> Tensor:
    """
    Mask logits of n points on each of any number of canvases.

    Args:
        features: (…, C, h, w) pixel features.
        kernels: (…, n, C + NUM_SHAPE).

    Returns:
        (…, n, h, w).
    """
    channels, height, width = features.shape[-3:]
    weight, bias, center, log_axes = kernels.split([channels, 1, 2, 2], dim=-1)
    scale = (-log_axes).exp()
    x = ((pixel_coordinates(width, features) - center[..., :1]) * scale[..., :1]).square()
    y = ((pixel_coordinates(height, features) - center[..., 1:]) * scale[..., 1:]).square()
    distance = y[..., :, None] + x[..., None, :]
    # Bounded, so that the features can override the ellipse everywhere.
    ellipse = ELLIPSE_LOGIT * (1 - distance) / (1 + distance)
    return (weight @ features.flatten(-2) + bias).unflatten(-1, (height, width)) + ellipse


@dataclass
class DynamicMasks(LazyMasks):
    """
    Lazy masks with separate kernels for every image; create them with `pack`.

    `features` holds the pixel features and, in additional channels, the kernels of all points, so that indexing,
    moving and concatenating images applies to both. Images share no part of a kernel: `weight` and `bias` are zeros
    that only define the number of points.

    Args:
        channels: C, the number of channels of `features` that are pixel features.
    """

    channels: int = 0

    @classmethod
    def pack(cls, features: Tensor, kernels: Tensor, **fields: Any) -> Self:
        """
        Create masks of N points on I canvases.

        Args:
            features: (I, C, h, w) pixel features.
            kernels: (I, N, C + NUM_SHAPE).
            fields: other fields of a subclass.
        """
        images, channels, height, width = features.shape
        numbers = kernels.flatten(1)
        numbers = F.pad(numbers, (0, -numbers.shape[1] % (height * width)))
        packed = torch.cat([features, numbers.view(images, -1, height, width)], dim=1)
        zero = features.new_zeros(())
        points = kernels.shape[1]
        return cls(
            features=packed,
            weight=zero.expand(points, packed.shape[1]),
            bias=zero.expand(points),
            channels=channels,
            **fields,
        )

    def at(self, image_index: Tensor, point_index: Tensor) -> Tensor:
        """See [`ProposedMasks.at`]."""
        if torch.compiler.is_compiling():
            return self.drawn(self._logits_of_each(image_index, point_index), image_index, point_index)
        probabilities = self.features.new_empty(len(image_index), *self.shape)
        for image in image_index.unique().tolist():
            for chosen in (image_index == image).nonzero().squeeze(1).split(MASKS_AT_ONCE):
                points = point_index[chosen]
                probabilities[chosen] = self.drawn(self.logits_of(image, points), image_index[chosen], points)
        return probabilities

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of a mask."""
        height, width = self.features.shape[-2:]
        return height, width

    def drawn(self, logits: Tensor, images: Tensor, points: Tensor) -> Tensor:
        """Probabilities (n, *shape) of the masks of some points (n,) of images (n,), from their logits (n, h, w)."""
        return logits.sigmoid()

    def logits_of(self, image: int, points: Tensor) -> Tensor:
        """Logits (n, h, w) of the masks of some points (n,) of one image."""
        features, packed = self.features[image].tensor_split([self.channels])
        kernels = packed.flatten()[: self._packed].view(self.num_points, -1)
        return mask_logits(features, kernels[points])

    def _logits_of_each(self, images: Tensor, points: Tensor) -> Tensor:
        """The same in shapes that do not depend on indices: every mask on every canvas, of which its own is kept."""
        features, packed = self.features.tensor_split([self.channels], dim=1)
        kernels = packed.flatten(1)[:, : self._packed].unflatten(1, (self.num_points, -1))
        return mask_logits(features, kernels[images, points][None])[images, torch.arange(images.shape[0])]

    @property
    def _packed(self) -> int:
        """How many numbers the kernels of an image are."""
        return self.num_points * (self.channels + NUM_SHAPE)


@dataclass(kw_only=True)
class RefinedMasks(DynamicMasks):
    """
    The same, drawn again inside of their boxes (`mask_refiner.py`), at twice the resolution.

    `pack` takes the additional fields by name.

    Args:
        details: (I, D, h, w), maps that the refiner reads.
        picture: (I, 3, H, W), the canvases, at any size.
        regions: (I, N, 4) XYXY in cells of the features, of `enlarged`.
        refiner: (P,), its weights.
        form: its form.
    """

    details: Tensor
    picture: Tensor
    regions: Tensor
    refiner: Tensor
    form: tuple[int, ...]

    PER_IMAGE = ("features", "details", "picture", "regions")
    SHARED = ("weight", "bias", "refiner")

    @property
    def shape(self) -> tuple[int, int]:
        """See [`DynamicMasks.shape`]."""
        height, width = self.features.shape[-2:]
        return 2 * height, 2 * width

    def drawn(self, logits: Tensor, images: Tensor, points: Tensor) -> Tensor:
        """See [`DynamicMasks.drawn`]."""
        regions = self.regions[images, points]
        logits = refined_logits(logits, self.details, self.picture, images, regions, self.refiner, self.form)
        height, width = self.features.shape[-2:]
        return on_the_canvas(logits, regions, (height, width), self.shape)


__all__ = ["NUM_SHAPE", "DynamicMasks", "RefinedMasks", "mask_logits"]
