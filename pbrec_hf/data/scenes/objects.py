"""An annotated object as the expression generator sees it: category, box, mask and the colours inside the mask.

Coordinates are pixels of the object's picture, boxes XYXY. Colours are shares of the eleven colour names, measured in
the whole mask and, for clothes, in its upper and its lower part. Knows nothing of words.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ...small.colors import COLOR_NAMES, color_indices
from ...small.objects import LOWER_PART, UPPER_PART

_LEAST_PIXELS = 12  # of which colours are measured


@dataclass(frozen=True)
class SceneObject:
    """
    Attributes:
        category: a COCO category.
        box: (4,) XYXY pixels.
        mask: bool (H, W) over the whole picture, the visible part; None where only the box is known.
        colors: shares (11,) of `COLOR_NAMES` by part ("whole", "upper", "lower"); empty if not measured.
        vague: an object that an expression may mean but that cannot be a target: crowds, objects cut off or covered.
        posture: "sitting" or "standing", of persons; None where it is not known.
    """

    category: str
    box: tuple[float, float, float, float]
    mask: NDArray[np.bool_] | None = None
    colors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    vague: bool = False
    posture: str | None = None

    @property
    def center(self) -> tuple[float, float]:
        """(x, y) of the box, pixels."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def size(self) -> tuple[float, float]:
        """(width, height) of the box, pixels."""
        return self.box[2] - self.box[0], self.box[3] - self.box[1]

    @property
    def area(self) -> float:
        """Of the box, pixels."""
        width, height = self.size
        return width * height

    @property
    def visible(self) -> NDArray[np.bool_]:
        """
        The mask of an object that has one.

        Raises:
            ValueError: only its box is known.
        """
        if self.mask is None:
            raise ValueError(f"The {self.category} at {self.box} has no mask: give objects with masks.")
        return self.mask


def with_colors(item: SceneObject, image: NDArray[np.uint8]) -> SceneObject:
    """`item` with its colours measured in `image` (H, W, 3) RGB; without a mask, in the middle half of the box."""
    left, top, right, bottom = (round(value) for value in item.box)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    pixels = image[top:bottom, left:right]
    if item.mask is not None:
        inside = item.mask[top:bottom, left:right]
    else:
        height, width, _ = pixels.shape
        inside = np.zeros((height, width), dtype=bool)
        inside[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    names = color_indices(torch.from_numpy(pixels.copy()).float() / 255).numpy()
    height = len(names)
    parts = {"whole": (0.0, 1.0), "upper": UPPER_PART, "lower": LOWER_PART}
    colors = {}
    for part, (start, end) in parts.items():
        rows = slice(int(start * height), max(int(end * height), int(start * height) + 1))
        counts = np.bincount(names[rows][inside[rows]], minlength=len(COLOR_NAMES)).astype(np.float32)
        if counts.sum() >= _LEAST_PIXELS:
            colors[part] = counts / counts.sum()
    return replace(item, colors=colors)


def box_of_mask(mask: NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """XYXY of the True pixels of `mask` (H, W), right and bottom exclusive; None if there are none."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return float(cols[0]), float(rows[0]), float(cols[-1] + 1), float(rows[-1] + 1)


__all__ = ["SceneObject", "box_of_mask", "with_colors"]
