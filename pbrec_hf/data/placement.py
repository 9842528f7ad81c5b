"""Where a picture is on the canvas after crop, flip and letterbox, and everything that moves with it.

One `Placement` moves pixels, boxes, polygons and masks, so that they cannot drift apart. Pixels, boxes and masks move
by torchvision's transforms v2 on `tv_tensors`; polygons move as points and are rasterised on the canvas directly.
Knows nothing of randomness (`augmentation.py` draws placements) and of colours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf
from torchvision.tv_tensors import Image, Mask, TVTensor

from ..images.segmentation import SegmentationStruct, rasterise, rasterise_polygons


@dataclass(frozen=True)
class Placement:
    """
    Crop → flip → resize → paste at an offset of a square canvas.

    Attributes:
        crop: (top, left, height, width) of the part that is kept, pixels of the upright original.
        flip: mirrored left to right.
        size: (height, width) of the kept part on the canvas, pixels.
        offset: (top, left) of the kept part on the canvas, pixels.
        canvas: side of the canvas, pixels.
    """

    crop: tuple[int, int, int, int]
    flip: bool
    size: tuple[int, int]
    offset: tuple[int, int]
    canvas: int

    @classmethod
    def from_letterbox(cls, letterbox: Sequence[int], canvas: int) -> "Placement":
        """The placement that a letterbox row (6,) describes: all of the picture, not mirrored."""
        height, width, resized_height, resized_width, top, left = (int(value) for value in letterbox)
        return cls((0, 0, height, width), False, (resized_height, resized_width), (top, left), canvas)

    @property
    def letterbox(self) -> tuple[int, int, int, int, int, int]:
        """The letterbox row of the picture as it looks after crop and flip."""
        return (*self.crop[2:], *self.size, *self.offset)

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas that the picture covers."""
        (top, left), (height, width) = self.offset, self.size
        return slice(top, top + height), slice(left, left + width)

    def picture(self, image: Tensor) -> Tensor:
        """Original uint8 (3, H, W) → the part on the canvas, uint8 (3, *size), without padding."""
        # A decoder's channels are interleaved; everything after this wants planes.
        return self._move(Image(image)).contiguous()

    def boxes(self, boxes: Sequence[Sequence[float]] | Tensor, height: int, width: int) -> Tensor:
        """XYXY boxes (E, 4) of the original (`height` × `width`) → float32 (E, 4) XYXY on the canvas."""
        # torchvision's ratios have torch's default dtype, which may be of half precision.
        moved = torch.as_tensor(boxes, dtype=torch.float32).reshape(len(boxes), 2, 2)
        crop_top, crop_left, crop_height, crop_width = self.crop
        moved = moved - moved.new_tensor([crop_left, crop_top])
        if tuple(self.crop) != (0, 0, height, width):
            moved = moved.clamp(min=moved.new_zeros(2), max=moved.new_tensor([crop_width, crop_height]))
        moved = moved * moved.new_tensor([self.size[1] / crop_width, self.size[0] / crop_height])
        if self.flip:
            right, left = (self.size[1] - moved[:, corner, 0] for corner in (0, 1))
            moved = torch.stack((left, moved[:, 0, 1], right, moved[:, 1, 1]), dim=1)
        return moved.reshape(len(boxes), 4) + moved.new_tensor([*self.offset[::-1], *self.offset[::-1]])

    def mask(
        self,
        segmentation: SegmentationStruct | Mapping[str, Any],
        height: int,
        width: int,
        window: tuple[int, int, int, int] | None = None,
    ) -> Tensor:
        """
        A segmentation of the original → its mask on the canvas.

        Args:
            segmentation: struct, pixels of the original.
            height, width: of the original, pixels.
            window: (top, left, height, width) of the part of the canvas that is wanted; None = all of it.

        Returns:
            uint8 (height, width) of the window, 1 = object.
        """
        top, left, window_height, window_width = window or (0, 0, self.canvas, self.canvas)
        if polygons := segmentation.get("polygons"):
            parts = [self.points(part) - (left, top) for part in polygons]
            return rasterise_polygons(parts, window_height, window_width)
        picture = self._move(Mask(rasterise(segmentation, height, width)))
        canvas = torch.zeros(self.canvas, self.canvas, dtype=torch.uint8)
        canvas[self.window] = picture
        return canvas[top : top + window_height, left : left + window_width]

    def points(self, xy: Sequence[float] | np.ndarray) -> NDArray[np.float64]:
        """Points of the original (n, 2) or flat [x0, y0, ...], pixels → float64 (n, 2) on the canvas."""
        crop_top, crop_left, height, width = self.crop
        moved = np.asarray(xy, dtype=np.float64).reshape(-1, 2) - (crop_left, crop_top)
        if self.flip:
            moved[:, 0] = width - moved[:, 0]  # an edge, not a pixel index: no -1
        return moved * (self.size[1] / width, self.size[0] / height) + self.offset[::-1]

    def _move(self, item: TVTensor) -> Tensor:
        if tuple(self.crop) != (0, 0, *tvf.get_size(item)):
            item = tvf.crop(item, *self.crop)
        item = tvf.resize(item, list(self.size), antialias=True)
        moved: Tensor = (tvf.horizontal_flip(item) if self.flip else item).as_subclass(Tensor)
        return moved


__all__ = ["Placement"]
