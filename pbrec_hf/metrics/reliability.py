"""Whether scores can be believed: calibration of answers, and how well scores tell two kinds apart.

A score is calibrated if of the answers with score s a share s is right. Expects scores in [0, 1] and truths of any
number of answers; knows nothing of boxes, masks and expressions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """
    Some answers with neighbouring scores.

    Attributes:
        score: their mean score, in [0, 1].
        right: the share of them that are right, in [0, 1].
        count: how many there are.
    """

    score: float
    right: float
    count: int


def reliability_bins(scores: Sequence[float], right: Sequence[bool], bins: int = BINS) -> list[ReliabilityBin]:
    """
    Answers in bins of equal mass, from the lowest scores to the highest.

    Answers of equal score may fall into different bins. Each of them then counts as right by the share of all of them
    that are right, so that the order of the answers does not matter.

    Args:
        scores: of n answers, in [0, 1].
        right: whether each is right.
        bins: how many; their sizes differ by 1 at most, and none is empty.

    Raises:
        ValueError: the numbers of scores and truths differ, a score is outside [0, 1], or `bins` is not positive.
    """
    if bins < 1:
        raise ValueError(f"bins={bins}: give a positive number such as {BINS}.")
    values, truths = _checked(scores, right)
    if not len(values):
        return []
    order = values.argsort(kind="stable")
    values = values[order]
    _, ties, sizes = np.unique(values, return_inverse=True, return_counts=True)
    shares = (np.bincount(ties, weights=truths[order]) / sizes)[ties]
    pieces = np.array_split(np.arange(len(values)), min(bins, len(values)))
    return [ReliabilityBin(float(values[piece].mean()), float(shares[piece].mean()), len(piece)) for piece in pieces]


def expected_calibration_error(bins: Sequence[ReliabilityBin]) -> float | None:
    """
    The mean distance of score and share of right answers over bins, weighted by their answers; None without any.

    Source: Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015; with bins of
    equal mass, which are less biased than those of equal width (Roelofs et al., AISTATS 2022).
    """
    total = sum(entry.count for entry in bins)
    return sum(entry.count * abs(entry.score - entry.right) for entry in bins) / total if total else None


def area_under_roc(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """
    The probability that a positive one scores higher than a negative one, ties counting half.

    Args:
        scores: n finite numbers.
        positive: of which kind each is.

    Returns:
        A number in [0, 1]; None where one of the kinds is absent.
    """
    values, kinds = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    positives, negatives = int(kinds.sum()), int((~kinds).sum())
    if not positives or not negatives:
        return None
    ranks = rankdata(values)  # the mean rank for ties
    return float((ranks[kinds].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _checked(scores: Sequence[float], right: Sequence[bool]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, truths = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if values.shape != truths.shape or values.ndim != 1:
        raise ValueError(f"{values.shape} scores for {truths.shape} answers: give one score per answer.")
    if wrong := [value for value in values.tolist() if not 0 <= value <= 1]:
        raise ValueError(f"{len(wrong)} scores are not in [0, 1], the first is {wrong[0]}: give probabilities.")
    return values, truths


__all__ = ["BINS", "ReliabilityBin", "area_under_roc", "expected_calibration_error", "reliability_bins"]
