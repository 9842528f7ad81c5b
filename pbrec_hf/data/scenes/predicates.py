"""Statements about the objects of a picture in three values: true, false and unclear.

A `Truth` says of each object whether a statement surely fits and whether it possibly fits. An expression is safe only
if exactly one object possibly fits it, and that one surely does: thresholds with a gap between true and false keep
doubtful statements out. Attributes look at each object alone or beside others; selectors ("leftmost") compare the
objects that an earlier statement left over. Lengths are shares of the picture's width or height.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...small.colors import COLOR_NAMES
from .objects import SceneObject
from .words import CONFUSABLE


class Truth(NamedTuple):
    """
    Of n objects, those that a statement fits.

    Attributes:
        sure: bool (n,), surely fits; implies possible.
        possible: bool (n,), may fit.
    """

    sure: NDArray[np.bool_]
    possible: NDArray[np.bool_]

    def __and__(self, other: "Truth") -> "Truth":
        return Truth(self.sure & other.sure, self.possible & other.possible)

    def __invert__(self) -> "Truth":
        return Truth(~self.possible, ~self.sure)

    def only(self) -> int | None:
        """The object that fits, if exactly one possibly does, and surely."""
        return int(self.sure.argmax()) if self.possible.sum() == 1 and self.sure.sum() == 1 else None


class Layout:
    """
    Statements about the objects of one picture, and the numbers that they are made of.

    Args:
        objects: n of them, boxes in pixels.
        image_size: (height, width) of the picture, pixels.

    Attributes:
        boxes: (n, 4) XYXY, shares of the picture's width and height; `x`, `y` (centre), `width`, `height`, `area` and
            `bottom` (n,) follow from them.
        vague: bool (n,), objects that cannot surely be meant.
    """

    def __init__(self, objects: Sequence[SceneObject], image_size: tuple[int, int]) -> None:
        height, width = image_size
        self.objects = objects
        self.boxes = np.array([item.box for item in objects], dtype=np.float64).reshape(-1, 4)
        self.boxes /= np.array([width, height, width, height])
        self.x, self.y = (self.boxes[:, 0] + self.boxes[:, 2]) / 2, (self.boxes[:, 1] + self.boxes[:, 3]) / 2
        self.width, self.height = self.boxes[:, 2] - self.boxes[:, 0], self.boxes[:, 3] - self.boxes[:, 1]
        self.area = self.width * self.height
        self.bottom = self.boxes[:, 3]
        self.vague = np.array([item.vague for item in objects], dtype=bool)

    def categories(self, categories: frozenset[str]) -> Truth:
        """Of one of `categories`; possibly also of one that is easily confused with them."""
        names = [item.category for item in self.objects]
        sure = np.array([name in categories for name in names], dtype=bool)
        related = {other for group in CONFUSABLE if categories & set(group) for other in group}
        possible = sure | np.array([name in related for name in names], dtype=bool)
        return Truth(sure & ~self.vague, possible)

    def colored(self, color: str, part: str) -> Truth:
        """Most of the part has this colour; possibly from a fifth of it on, or where the colour is unknown."""
        index = COLOR_NAMES.index(color)
        share = np.array([item.colors[part][index] if part in item.colors else 0.3 for item in self.objects])
        return Truth(share > 0.5, share > 0.2)

    def two_colored(self, colors: tuple[str, str]) -> Truth:
        """Both colours make up a good share of the object, together most of it."""
        index = [COLOR_NAMES.index(color) for color in colors]
        none = np.full(len(COLOR_NAMES), 0.3)
        share = np.array([item.colors.get("whole", none)[index] for item in self.objects]).reshape(-1, 2)
        both = (share.min(1) > 0.25) & (share.sum(1) > 0.65)
        return Truth(both, share.min(1) > 0.12)

    def posture(self, name: str) -> Truth:
        """Sitting or standing; possibly also where this is not known."""
        same = np.array([item.posture == name for item in self.objects], dtype=bool)
        return Truth(same & ~self.vague, same | np.array([item.posture is None for item in self.objects], dtype=bool))

    def side(self, axis: str, low: bool) -> Truth:
        """On one side of the picture: the centre in the outer 42 %, possibly up to 52 %."""
        position = self.x if axis == "x" else self.y
        position = position if low else 1 - position
        return Truth(position < 0.42, position < 0.52)

    def beside(self, others: Truth) -> Truth:
        """Close to one of `others` sideways: gap under 5 % of the width, rows shared; not one inside the other."""
        gap = np.maximum(self.boxes[:, None, 0], self.boxes[None, :, 0]) - np.minimum(
            self.boxes[:, None, 2], self.boxes[None, :, 2]
        )
        shared = self._shared_length(1, 3) / np.minimum(self.height[:, None], self.height[None])
        apart = self._intersection() / np.minimum(self.area[:, None], self.area[None]) < 0.4
        return self._any(others, (gap < 0.05) & (shared > 0.5) & apart, (gap < 0.15) & (shared > 0.1))

    def left_of(self, others: Truth, mirrored: bool = False) -> Truth:
        """Left (or right) of one of `others`, in about the same rows and not far away."""
        sign = -1 if mirrored else 1
        offset = sign * (self.x[None] - self.x[:, None])
        shared = self._shared_length(1, 3) / np.minimum(self.height[:, None], self.height[None])
        clear = offset > 0.5 * np.minimum(self.width[:, None], self.width[None]) + 0.02
        return self._any(others, clear & (offset < 0.5) & (shared > 0.3), offset > 0)

    def above(self, others: Truth, mirrored: bool = False) -> Truth:
        """Above (or below) one of `others`, in about the same columns, without much overlap."""
        sign = -1 if mirrored else 1
        offset = sign * (self.y[None] - self.y[:, None])
        shared = self._shared_length(0, 2) / np.minimum(self.width[:, None], self.width[None])
        clear = offset > 0.45 * (self.height[:, None] + self.height[None])
        return self._any(others, clear & (shared > 0.5), (offset > 0) & (shared > 0))

    def on(self, others: Truth) -> Truth:
        """Resting on one of `others`: mostly over its columns, the lower edge inside it, the upper edge not."""
        shared = self._shared_length(0, 2) / self.width[:, None].clip(1e-6)
        top, bottom = self.boxes[None, :, 1], self.boxes[None, :, 3]
        edge = self.bottom[:, None]
        inside = (edge > top + 0.02) & (edge < bottom + 0.01)
        above = self.boxes[:, None, 1] < top + 0.6 * self.height[None]
        touching = self._intersection() > 0
        return self._any(others, inside & above & touching & (shared > 0.8), touching)

    def holding(self, others: Truth) -> Truth:
        """One of `others`, a smaller one, has most of its box inside the object's; possibly a little of it."""
        part = self._intersection() / self.area[None].clip(1e-9)
        smaller = self.area[None] < 0.6 * self.area[:, None]
        return self._any(others, (part > 0.6) & smaller, part > 0.02)

    def behind(self, others: Truth, mirrored: bool = False) -> Truth:
        """Overlapping one of `others` and standing higher up in the picture (or, mirrored, lower down: in front)."""
        sign = -1 if mirrored else 1
        offset = sign * (self.bottom[None] - self.bottom[:, None])
        smaller = np.minimum(self.area[:, None], self.area[None])
        overlap = self._intersection() / smaller.clip(1e-9)
        similar = smaller > 0.15 * np.maximum(self.area[:, None], self.area[None])
        clear = (offset > 0.04) & (overlap > 0.08) & (overlap < 0.85) & similar
        return self._any(others, clear, (offset > -0.02) & (self._shared_length(0, 2) > 0))

    def _any(self, others: Truth, sure: NDArray[np.bool_], possible: NDArray[np.bool_]) -> Truth:
        """What is so beside any of `others`; `sure` and `possible` (n, n) hold for pairs of objects."""
        different = ~np.eye(len(self.objects), dtype=bool)
        possible = (possible | sure) & different
        return Truth(
            np.asarray((sure & different & others.sure[None]).any(1)),
            np.asarray((possible & others.possible[None]).any(1)),
        )

    def _shared_length(self, start: int, end: int) -> NDArray[np.float64]:
        """(n, n) overlap of pairs of boxes along one axis."""
        low = np.maximum(self.boxes[:, None, start], self.boxes[None, :, start])
        return np.asarray((np.minimum(self.boxes[:, None, end], self.boxes[None, :, end]) - low).clip(0))

    def _intersection(self) -> NDArray[np.float64]:
        """(n, n) common area of pairs of boxes."""
        return self._shared_length(0, 2) * self._shared_length(1, 3)


Selector = Callable[[Truth], Truth]


def nothing(like: Truth) -> Truth:
    """Fits no object."""
    return Truth(np.zeros_like(like.sure), np.zeros_like(like.possible))


def extreme(values: NDArray[np.float64], margin: float, rank: int = 1) -> Selector:
    """Selects the object with the `rank`-th smallest of `values` (n,), apart from its neighbours by `margin`."""

    def select(base: Truth) -> Truth:
        members = np.flatnonzero(base.possible)
        if len(members) < rank:
            return nothing(base)
        sure = np.zeros(len(values), dtype=bool)
        order = members[np.argsort(values[members], kind="stable")]
        chosen = order[rank - 1]
        apart = np.abs(values[order] - values[chosen])
        sure[chosen] = base.sure[chosen] and (apart < margin).sum() == 1
        possible = sure.copy()
        possible[order[apart < margin]] = True
        return Truth(sure, possible)

    return select


def middle(values: NDArray[np.float64], margin: float) -> Selector:
    """Selects the middle one of three or five objects, or a single one in the middle of the picture."""

    def select(base: Truth) -> Truth:
        members = base.possible.sum()
        if members in (3, 5):
            return extreme(values, margin, rank=members // 2 + 1)(base)
        distance = np.abs(values - 0.5)
        return Truth(base.sure & (distance < 0.1), base.possible & (distance < 0.22))

    return select


__all__ = ["Layout", "Selector", "Truth", "extreme", "middle", "nothing"]
