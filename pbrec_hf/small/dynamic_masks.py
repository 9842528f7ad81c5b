"""Masks by dynamic convolution: each point predicts the 1×1 kernel that computes its mask (arXiv 2003.10152).

A kernel has C weights for the pixel features, a bias, and an ellipse (centre x, y and log half-axes, on a canvas from
-1 to 1) as a prior for the object's location. The mask logit of a pixel is weights · features + bias + ellipse. Pure
functions over tensors, and the lazy masks that apply them, as they are or refined.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..geometry.proposed_masks import ProposedMasks
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
class DynamicMasks(ProposedMasks):
    """
    Masks of N points on I canvases, computed when they are requested.

    Args:
        features: (I, C, h, w) pixel features.
        kernels: (I, N, C + NUM_SHAPE).
    """

    features: Tensor
    kernels: Tensor

    PER_IMAGE: ClassVar[tuple[str, ...]] = ("features", "kernels")

    @property
    def num_points(self) -> int:
        """N."""
        return self.kernels.shape[1]

    def at(self, image_index: Tensor, point_index: Tensor) -> Tensor:
        """See [`ProposedMasks.at`]; a mask that is asked for several times is computed once."""
        if torch.compiler.is_compiling():
            return self.drawn(self._logits_of_each(image_index, point_index), image_index, point_index)
        numbers, place = (image_index * self.num_points + point_index).unique(return_inverse=True)
        images, points = numbers // self.num_points, numbers % self.num_points
        probabilities = self.features.new_empty(len(numbers), *self.shape)
        for image in images.unique().tolist():
            for chosen in (images == image).nonzero().squeeze(1).split(MASKS_AT_ONCE):
                logits = mask_logits(self.features[image], self.kernels[image, points[chosen]])
                probabilities[chosen] = self.drawn(logits, images[chosen], points[chosen])
        return probabilities[place]

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of a mask."""
        height, width = self.features.shape[-2:]
        return height, width

    def drawn(self, logits: Tensor, images: Tensor, points: Tensor) -> Tensor:
        """Probabilities (n, *shape) of the masks of some points (n,) of images (n,), from their logits (n, h, w)."""
        return logits.sigmoid()

    def _logits_of_each(self, images: Tensor, points: Tensor) -> Tensor:
        """Logits (n, h, w) in shapes that do not depend on indices: every mask on every canvas, its own is kept."""
        each = torch.arange(images.shape[0])
        return mask_logits(self.features, self.kernels[images, points][None])[images, each]


@dataclass(kw_only=True)
class RefinedMasks(DynamicMasks):
    """
    The same, drawn again inside of their boxes (`mask_refiner.py`), at twice the resolution.

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

    PER_IMAGE = ("features", "kernels", "details", "picture", "regions")
    SHARED = ("refiner",)

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
