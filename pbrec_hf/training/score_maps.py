"""From raw scores and truths to a map of scores to probabilities: isotonic regression that few answers cannot mislead.

Knows nothing of boxes and expressions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from ..selection.calibration import ScoreMap

MOST_KNOTS = 32
FEWEST_ANSWERS = 10  # of a knot, where there are as many
_STEP = 1e-6  # least difference of probabilities


@dataclass(frozen=True)
class _Block:
    """Answers of neighbouring scores: how many, the sum of their scores, and how many are right."""

    count: float
    score: float
    right: float

    def __add__(self, other: "_Block") -> "_Block":
        return _Block(self.count + other.count, self.score + other.score, self.right + other.right)

    @property
    def mean(self) -> float:
        return self.score / self.count

    @property
    def share(self) -> float:
        return self.right / self.count


def fit_score_map(raw: Sequence[float], right: Sequence[bool]) -> ScoreMap:
    """
    The probability that an answer is right, by its raw score.

    Isotonic regression gives blocks of neighbouring scores with rising shares of right answers. Small ones are joined
    until each has ten answers. Each then counts as if it had one answer more, right by the share of all, so that no
    probability is 0 or 1. The knots are the blocks' means, which makes the map strictly increasing (Oron and Flournoy,
    "Centered isotonic regression", Statistics in Biopharmaceutical Research, 2017), without those that the map needs
    least; and the lowest and the highest score, to which the slope goes on.

    Args:
        raw: scores of n answers in [0, 1].
        right: whether each is right.

    Raises:
        ValueError: there are no answers, or a score is not in [0, 1].
    """
    values, truths = np.asarray(raw, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if values.shape != truths.shape or not len(values):
        raise ValueError(
            f"{len(values)} scores and {len(truths)} truths to fit a map to: give one truth per score, and at least "
            "one answer."
        )
    if not ((values >= 0) & (values <= 1)).all():
        worst = values[~((values >= 0) & (values <= 1))][0]
        raise ValueError(f"A raw score of {worst} to fit a map to: scores are numbers from 0 to 1.")
    everything = _Block(len(values), values.sum(), truths.sum())
    usual = (everything.right + 1) / (everything.count + 2)
    blocks = _thinned(_isotonic(_joined(_isotonic(_by_score(values, truths))), usual))
    points = [(block.mean, block.share) for block in blocks]
    return _score_map(_with_ends(points, values.min(), values.max()))


def _by_score(values: NDArray[np.float64], truths: NDArray[np.float64]) -> list[_Block]:
    """A block for each score, since equal scores cannot differ in their probability."""
    scores, ties, counts = np.unique(values, return_inverse=True, return_counts=True)
    hits = np.bincount(ties, weights=truths)
    return [_Block(*block) for block in zip(counts.tolist(), (scores * counts).tolist(), hits.tolist(), strict=True)]


def _isotonic(blocks: list[_Block], usual: float | None = None) -> list[_Block]:
    """Blocks joined until their shares rise; with `usual`, after an answer of this share was added to each."""
    counts = np.array([block.count for block in blocks])
    shares = np.array([block.share for block in blocks])
    if usual is not None:
        shares = (shares * counts + usual) / (counts + 1)
    starts = isotonic_regression(shares, weights=counts).blocks
    joined = []
    for start, end in pairwise(starts):
        weight = counts[start:end]
        right = float((shares[start:end] * weight).sum())
        joined.append(_Block(float(weight.sum()), sum(block.score for block in blocks[start:end]), right))
    return joined


def _joined(blocks: list[_Block]) -> list[_Block]:
    """Blocks of at least so many answers; the smallest is joined with the neighbour that differs less."""
    blocks = list(blocks)
    while len(blocks) > 1:
        place = min(range(len(blocks)), key=lambda place: blocks[place].count)
        if blocks[place].count >= FEWEST_ANSWERS:
            break
        pairs = [first for first in (place - 1, place) if 0 <= first < len(blocks) - 1]
        first = min(pairs, key=lambda first: blocks[first + 1].share - blocks[first].share)
        blocks[first : first + 2] = [blocks[first] + blocks[first + 1]]
    return blocks


def _thinned(blocks: list[_Block]) -> list[_Block]:
    """As many blocks as there may be knots beside the ends, without those that lie on the way between their like."""
    blocks = list(blocks)
    while len(blocks) > MOST_KNOTS - 2:
        del blocks[min(range(1, len(blocks) - 1), key=lambda place: _bend(*blocks[place - 1 : place + 2]))]
    return blocks


def _bend(before: _Block, block: _Block, after: _Block) -> float:
    """By how much the squared error grows without the block's knot."""
    way = (block.mean - before.mean) / (after.mean - before.mean)
    return block.count * (block.share - before.share - way * (after.share - before.share)) ** 2


def _with_ends(points: list[tuple[float, float]], lowest: float, highest: float) -> list[tuple[float, float]]:
    """The slopes at the ends go on to the lowest and the highest score, at most half of the way to 0 and to 1."""
    if len(points) < 2:
        return points
    (x0, y0), (x1, y1) = points[:2]
    low = max(y0 / 2, y0 - (y1 - y0) / (x1 - x0) * (x0 - lowest))
    (x1, y1), (x2, y2) = points[-2:]
    high = min((1 + y2) / 2, y2 + (y2 - y1) / (x2 - x1) * (highest - x2))
    return [(float(lowest), low), *points, (float(highest), high)]


def _score_map(points: list[tuple[float, float]]) -> ScoreMap:
    """The map through the points, as far as they rise when rounded for a file."""
    kept: list[tuple[float, float]] = []
    for x, y in points:
        knot = float(f"{x:.8g}"), min(max(round(y, 6), _STEP), 1 - _STEP)
        if not kept or (knot[0] > kept[-1][0] and knot[1] > kept[-1][1]):
            kept.append(knot)
    if len(kept) < 2:  # the scores say nothing: nearly the same probability for all
        usual = min(max(kept[0][1], 2 * _STEP), 1 - 2 * _STEP)
        kept = [(0.0, usual - _STEP), (1.0, usual + _STEP)]
    return ScoreMap(*map(tuple, zip(*kept, strict=True)))


__all__ = ["FEWEST_ANSWERS", "MOST_KNOTS", "fit_score_map"]
