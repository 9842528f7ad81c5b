"""Masks that are made when a box is named, by a network that is prompted with it.

Nothing here knows the network: it gives `features` of a picture, once, and `masks` of boxes in it.
"""

from collections.abc import Callable
from typing import Any, TypeGuard

import torch
from torch import Tensor

from .letterbox import canvas_of


class RequestedMasks:
    """
    The masks of any boxes on I canvases. A picture whose masks nobody asks for costs nothing.

    Args:
        canvases: (I, 3, H, W).
        features: (canvas (3, H, W)) → what the network sees in it; called once per picture.
        masks: (features, boxes (n, 4) XYXY in canvas pixels) → probabilities (n, h, w) over the canvas.
    """

    def __init__(
        self, canvases: Tensor, features: Callable[[Tensor], Any], masks: Callable[[Any, Tensor], Tensor]
    ) -> None:
        self.canvas = canvas_of(canvases)
        self._canvases, self._features, self._masks = canvases, features, masks
        self._seen: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._canvases)

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return self._canvases.device

    def of_boxes(self, image_index: Tensor, boxes: Tensor) -> Tensor:
        """
        Make n masks.

        Args:
            image_index: (n,) int64, the canvas of each box.
            boxes: (n, 4) XYXY in canvas pixels.

        Returns:
            (n, h, w) probabilities over the canvas.
        """
        made: dict[int, Tensor] = {}
        for image in image_index.unique().tolist():
            if image not in self._seen:
                self._seen[image] = self._features(self._canvases[image])
            rows = (image_index == image).nonzero().squeeze(1)
            masks = self._masks(self._seen[image], boxes[rows])
            made |= dict(zip(rows.tolist(), masks, strict=True))
        return torch.stack([made[row] for row in range(len(boxes))])


def are_requested(masks: object) -> TypeGuard[RequestedMasks]:
    """
    Whether these are [`RequestedMasks`], and not proposals.

    By what they do: code that travels with checkpoints may be loaded twice, as two classes of one name.
    """
    return callable(getattr(masks, "of_boxes", None))


__all__ = ["RequestedMasks", "are_requested"]
