"""Selectors in words: sides, corners, ordinals, size and distance, each with the patterns that people use for them.

A selector picks one of several objects by comparing them ("leftmost", "second from right", "closest to us"); how it
treats unclear cases is in `predicates.py`. Also the mirror image of texts, for flipped pictures.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from . import words
from .predicates import Layout, Selector, Truth, extreme, middle, nothing


@dataclass(frozen=True)
class Selection:
    """
    A selector in words.

    Attributes:
        kind: which selector.
        pattern: the words; {n} stands for the noun phrase.
        select: picks among the objects that the noun phrase fits.
    """

    kind: str
    pattern: str
    select: Selector


def pick(rng: Generator, options: Sequence[str]) -> str:
    """One of `options`; entries that are repeated are likelier."""
    return options[int(rng.integers(len(options)))]


def mirror_text(text: str) -> str:
    """`text` as it reads for the mirrored picture; whole words only."""
    swap = words.MIRRORED | {value: key for key, value in words.MIRRORED.items()}
    return re.sub(r"[a-z]+", lambda match: swap.get(match[0], match[0]), text)


def mirrored(patterns: Sequence[str]) -> tuple[str, ...]:
    """Every pattern as it reads for the other side."""
    return tuple(mirror_text(pattern) for pattern in patterns)


# The four sides of a picture: axis, whether coordinates are low there, and what people call it.
SIDES: tuple[tuple[str, bool, Sequence[str]], ...] = (
    ("x", True, words.LEFT), ("x", False, mirrored(words.LEFT)), ("y", True, words.TOP), ("y", False, words.BOTTOM),
)  # fmt: skip


def random_selection(layout: Layout, target: int, rng: Generator) -> Selection:
    """A random selector, mostly one that may pick the object `target`."""
    draw = rng.random()
    left, up = bool(layout.x[target] < 0.5), bool(layout.y[target] < 0.5)
    if rng.random() < 0.15:
        left, up = not left, not up
    if draw < 0.36:
        return _said(rng, "side", words.LEFT if left else mirrored(words.LEFT), side(layout, "x", left))
    if draw < 0.48:
        return _said(rng, "far side", words.FAR_LEFT if left else mirrored(words.FAR_LEFT), far_side(layout, left))
    if draw < 0.56:
        return _said(rng, "middle", words.MIDDLE, in_the_middle(layout))
    if draw < 0.64:
        return _said(rng, "height", words.TOP if up else words.BOTTOM, side(layout, "y", up))
    if draw < 0.70:
        pattern = pick(rng, words.CORNER).replace("{h}", "left" if left else "right")
        vertical = pick(rng, ("top", "top", "upper") if up else ("bottom", "bottom", "lower"))
        return Selection("corner", pattern.replace("{v}", vertical), corner(layout, left, up))
    if draw < 0.79:
        rank = int(rng.choice((2, 2, 2, 3, 3, 4)))
        pattern = pick(rng, words.NTH).replace("{o}", pick(rng, words.ORDINALS[rank]))
        pattern = pattern.replace("{h}", "left" if left else "right")
        return Selection("ordinal", pattern, nth(layout, rank, left))
    big = bool(rng.integers(2))
    if draw < 0.86:
        if rng.random() < 0.25:
            return _said(rng, "tall", words.TALL if big else words.SHORT, tallest(layout, big))
        return _said(rng, "size", words.BIG if big else words.SMALL, biggest(layout, big))
    return _said(rng, "near" if big else "far", words.NEAR if big else words.FAR, nearest(layout, big))


def _said(rng: Generator, kind: str, patterns: Sequence[str], select: Selector) -> Selection:
    return Selection(kind, pick(rng, patterns), select)


def side(layout: Layout, axis: str, low: bool) -> Selector:
    """The outermost one of two, a single one that is on that side, or the outermost of more if it is on that side."""
    values: NDArray[np.float64]
    values, there = getattr(layout, axis), layout.side(axis, low)
    outermost = extreme(values if low else -values, 0.06)

    def select(base: Truth) -> Truth:
        members = base.possible.sum()
        if members < 2:
            return base & there
        chosen = outermost(base)
        return chosen if members == 2 else chosen & Truth(there.possible, np.ones_like(there.possible))

    return select


def far_side(layout: Layout, left: bool) -> Selector:
    """The leftmost or rightmost one, clearly apart."""
    return extreme(layout.x if left else -layout.x, 0.04)


def in_the_middle(layout: Layout) -> Selector:
    """The middle one of three or five, or a single one in the middle of the picture."""
    return middle(layout.x, 0.05)


def corner(layout: Layout, left: bool, up: bool) -> Selector:
    """The one in a corner of the picture, or of several there the one nearest to it."""
    there = layout.side("x", left) & layout.side("y", up)
    outermost = extreme((layout.x if left else -layout.x) + (layout.y if up else -layout.y), 0.12)

    def select(base: Truth) -> Truth:
        return base & there if (base & there).only() is not None else base & outermost(base) & there

    return select


def nth(layout: Layout, rank: int, left: bool) -> Selector:
    """The `rank`-th from one side, of more than `rank` objects."""
    counted = extreme(layout.x if left else -layout.x, 0.025, rank)

    def select(base: Truth) -> Truth:
        return counted(base) if base.possible.sum() > rank else nothing(base)

    return select


def tallest(layout: Layout, tall: bool) -> Selector:
    """The tallest or shortest of several."""
    return _of_several((-1 if tall else 1) * np.log(layout.height.clip(1e-6)), 0.25)


def biggest(layout: Layout, big: bool) -> Selector:
    """The biggest or smallest of several by area."""
    return _of_several((-1 if big else 1) * np.log(layout.area.clip(1e-9)), 0.45)


def nearest(layout: Layout, near: bool) -> Selector:
    """The nearest or farthest of several: near things are larger and reach further down."""
    closeness = np.log(layout.area.clip(1e-9)) / 2 + 3 * layout.bottom
    return _of_several(-closeness if near else closeness, 0.5)


def _of_several(values: NDArray[np.float64], margin: float) -> Selector:
    """The object with the smallest of `values` (n,), if there is more than one."""
    select = extreme(values, margin)
    return lambda base: select(base) if base.possible.sum() > 1 else nothing(base)


__all__ = [
    "SIDES",
    "Selection",
    "biggest",
    "corner",
    "far_side",
    "in_the_middle",
    "mirror_text",
    "mirrored",
    "nearest",
    "nth",
    "pick",
    "random_selection",
    "side",
    "tallest",
]
