"""What all boxes of a table say together of the form that they are in.

One box may fit its picture in several forms; thousands of them fit in one. Knows nothing of files and rows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .boxes import Box

TOLERANCE = 0.5  # pixels by which a rounded coordinate may be outside the picture
_FEWEST_MASKS = 3  # that say what form their boxes are in
_ALIKE = 0.9  # IoU of a box with that around its mask

_READ: dict[str, Callable[[float, float, float, float], Box]] = {
    "xyxy": lambda a, b, c, d: (a, b, c, d),
    "xywh": lambda a, b, c, d: (a, b, a + c, b + d),
    "yxyx": lambda a, b, c, d: (b, a, d, c),
    "cxcywh": lambda a, b, c, d: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
}
_REMEDIES = {
    "xyxy": "corners: pass bbox_format='xyxy'",
    "xywh": "x, y, width, height: pass bbox_format='xywh'",
    "yxyx": "corners with y before x: write x first",
    "cxcywh": "centre, width, height: write the corners",
}


def leaves(box: Box | list[float], size: tuple[int, int]) -> bool:
    """Whether an XYXY box is outside a picture of (height, width) by more than the tolerance."""
    left, top, right, bottom = box
    return min(left, top) < -TOLERANCE or right > size[1] + TOLERANCE or bottom > size[0] + TOLERANCE


@dataclass
class BoxForms:
    """
    The forms in which all boxes so far fit their pictures, and those in which they fit their masks.

    Attributes:
        boxes, masks: how many were seen.
    """

    boxes: int = 0
    masks: int = 0
    _fitting: set[str] = field(default_factory=lambda: set(_READ))
    _alike: set[str] = field(default_factory=lambda: set(_READ))
    _some_alike: bool = False
    _given: set[str] = field(default_factory=set)

    def see(self, box: Box | list[float], form: str, size: tuple[int, int], extent: np.ndarray | None) -> None:
        """
        Args:
            box: XYXY, as it was read.
            form: in which it was read.
            size: (height, width) of the picture.
            extent: (left, top), (right, bottom) around the mask, if there is one.
        """
        left, top, right, bottom = box
        written = (left, top, right - left, bottom - top) if form == "xywh" else (left, top, right, bottom)
        self._given.add(form)
        self.boxes += 1
        self._fitting = {name for name in self._fitting if _fits(_READ[name](*written), size)}
        if extent is None:
            return
        self.masks += 1
        around: Box = tuple(extent.ravel().tolist())
        alike = {name for name in _READ if _iou(_READ[name](*written), around) >= _ALIKE}
        self._alike &= alike
        self._some_alike |= form in alike

    def explain_faults(self) -> str | None:
        """In which other forms all boxes fit their pictures; None if there are none."""
        return self._told("fit their pictures", self.boxes, self._fitting)

    def contradiction(self) -> str | None:
        """In which other form all boxes fit their masks, where none does in the form they were read in."""
        if self.masks < _FEWEST_MASKS or self._some_alike:
            return None
        return self._told("fit their masks", self.masks, self._alike)

    def _told(self, what: str, count: int, forms: set[str]) -> str | None:
        others = [_REMEDIES[name] for name in _READ if name in forms - self._given]
        return f"All {count} boxes {what} as {', or as '.join(others)}." if others and len(self._given) == 1 else None


def _fits(box: Box, size: tuple[int, int]) -> bool:
    return box[2] > box[0] and box[3] > box[1] and not leaves(box, size)


def _iou(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0.0) * max(height, 0.0)
    union = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - common
    return common / union if union > 0 else 0.0


__all__ = ["TOLERANCE", "BoxForms", "leaves"]
