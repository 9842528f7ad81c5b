"""Selectors in words: sides, corners, ordinals, size and distance, each with the patterns that people use for them.

A selector picks one of several objects by comparing them ("leftmost", "second from right", "closest to us"); see
`expression_predicates` for what it makes of unclear cases. Also the mirror image of texts, for flipped pictures.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from . import expression_words as words
from .expression_predicates import Layout, Selector, Truth, extreme, middle


@dataclass(frozen=True)
class Statement:
    """An attribute with its truth per object, or a selector; `pattern` has the place {n} for the noun phrase."""

    kind: str
    pattern: str
    truth: Truth | None = None
    select: Selector | None = None


def pick(rng: Generator, options: Sequence[str]) -> str:
    """One of `options`; entries that are repeated are likelier."""
    return options[rng.integers(len(options))]


def mirror_text(text: str) -> str:
    """`text` as it has to read for the picture flipped left to right; whole words only."""
    swap = words.MIRRORED | {value: key for key, value in words.MIRRORED.items()}
    return re.sub(r"[a-z]+", lambda match: swap.get(match[0], match[0]), text)


def mirrored(patterns: Sequence[str]) -> tuple[str, ...]:
    """Every pattern as it reads for the other side."""
    return tuple(mirror_text(pattern) for pattern in patterns)


def random_selector(layout: Layout, target: int, rng: Generator) -> Statement:
    """A random selector, mostly one that speaks for the object `target`."""
    draw = rng.random()
    left, up = bool(layout.x[target] < 0.5), bool(layout.y[target] < 0.5)
    if rng.random() < 0.15:
        left, up = not left, not up
    across, down = (layout.x if left else -layout.x), (layout.y if up else -layout.y)
    if draw < 0.36:
        return _sided(rng, words.LEFT if left else mirrored(words.LEFT), "side", across, layout.side("x", left))
    if draw < 0.48:
        patterns = words.FAR_LEFT if left else mirrored(words.FAR_LEFT)
        return Statement("far side", pick(rng, patterns), select=extreme(across, 0.04))
    if draw < 0.56:
        return Statement("middle", pick(rng, words.MIDDLE), select=middle(layout.x, 0.05))
    if draw < 0.64:
        return _sided(rng, words.TOP if up else words.BOTTOM, "height", down, layout.side("y", up))
    if draw < 0.70:
        return _corner(layout, rng, left, up, across, down)
    if draw < 0.79:
        return _ordinal(rng, left, across)
    if draw < 0.86:
        return _sized(layout, rng, bool(rng.integers(2)))
    return _distance(layout, rng, bool(rng.integers(2)))


def _sided(rng: Generator, patterns: Sequence[str], kind: str, values: np.ndarray, side: Truth) -> Statement:
    """The leftmost one, or a lone one on the left side; of three and more, only one that is there, too."""

    def select(base: Truth) -> Truth:
        members = base.possible.sum()
        if members < 2:
            return base & side
        chosen = extreme(values, 0.06)(base)
        return chosen if members == 2 else chosen & Truth(side.possible, np.ones_like(side.possible))

    return Statement(kind, pick(rng, patterns), select=select)


def _corner(layout: Layout, rng: Generator, left: bool, up: bool, across: np.ndarray, down: np.ndarray) -> Statement:
    side = layout.side("x", left) & layout.side("y", up)

    def select(base: Truth) -> Truth:
        return base & side if (base & side).only() is not None else base & extreme(across + down, 0.12)(base) & side

    pattern = pick(rng, words.CORNER).replace("{h}", "left" if left else "right")
    vertical = pick(rng, ("top", "top", "upper") if up else ("bottom", "bottom", "lower"))
    return Statement("corner", pattern.replace("{v}", vertical), select=select)


def _ordinal(rng: Generator, left: bool, across: np.ndarray) -> Statement:
    rank = int(rng.choice((2, 2, 2, 3, 3, 4)))
    pattern = pick(rng, words.NTH).replace("{o}", pick(rng, words.ORDINALS[rank]))
    nth = extreme(across, 0.025, rank)

    def select(base: Truth) -> Truth:
        return nth(base) if base.possible.sum() > rank else Truth(*(np.zeros_like(base.sure),) * 2)

    return Statement("ordinal", pattern.replace("{h}", "left" if left else "right"), select=select)


def _sized(layout: Layout, rng: Generator, big: bool) -> Statement:
    if rng.random() < 0.25:
        heights = np.log(layout.height.clip(1e-6))
        return _compared(rng, "tall", words.TALL if big else words.SHORT, -heights if big else heights, 0.25)
    areas = np.log(layout.area.clip(1e-9))
    return _compared(rng, "size", words.BIG if big else words.SMALL, -areas if big else areas, 0.45)


def _distance(layout: Layout, rng: Generator, near: bool) -> Statement:
    """Near things are larger and reach further down."""
    closeness = np.log(layout.area.clip(1e-9)) / 2 + 3 * layout.bottom
    return _compared(
        rng, "near" if near else "far", words.NEAR if near else words.FAR, -closeness if near else closeness, 0.5
    )


def _compared(rng: Generator, kind: str, patterns: Sequence[str], values: np.ndarray, margin: float) -> Statement:
    select = extreme(values, margin)

    def of_several(base: Truth) -> Truth:
        return select(base) if base.possible.sum() > 1 else Truth(*(np.zeros_like(base.sure),) * 2)

    return Statement(kind, pick(rng, patterns), select=of_several)


__all__ = ["Statement", "mirror_text", "mirrored", "pick", "random_selector"]
