"""95 % intervals of shares, means and ratios: how far a figure would move on other expressions of the same kind.

Cases count as independent of each other. Expressions of one picture are not quite, so that the true intervals are
somewhat wider. Knows nothing of what was counted.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
_Z = 1.959964  # the 97.5th percentile of the normal distribution


def share_interval(found: int, count: int) -> Interval:
    """
    Wilson's interval of the share `found` / `count`.

    Raises:
        ValueError: there is no case, or more were found than there are.
    """
    if not 0 <= found <= count or count < 1:
        raise ValueError(f"{found} of {count} is no share: give at least one case, and as many found at most.")
    share = found / count
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def mean_interval(values: Sequence[float] | NDArray[np.float64]) -> Interval:
    """
    The mean of values in [0, 1] (N,), less and plus 1.96 standard errors, cut to [0, 1].

    Raises:
        ValueError: there are fewer than two values, which say nothing of how they spread.
    """
    return ratio_interval(values, np.ones(len(values)))


def ratio_interval(
    parts: Sequence[float] | NDArray[np.float64], wholes: Sequence[float] | NDArray[np.float64]
) -> Interval:
    """
    The ratio sum(parts) / sum(wholes) in [0, 1], such as overall IoU, less and plus 1.96 standard errors.

    The standard error is that of the linearised ratio (delta method).

    Args:
        parts, wholes: of N cases, such as the pixels of each intersection and each union.

    Raises:
        ValueError: there are fewer than two cases, or the wholes are nothing together.
    """
    part, whole = np.asarray(parts, dtype=np.float64), np.asarray(wholes, dtype=np.float64)
    count, total = len(whole), float(whole.sum())
    if count < 2 or total <= 0:
        raise ValueError(f"{count} cases of {total:g} in all have no interval: give two at least, with some area.")
    ratio = float(part.sum()) / total
    spread = math.sqrt(float(((part - ratio * whole) ** 2).sum()) * count / (count - 1))
    half = _Z * spread / total
    return max(0.0, ratio - half), min(1.0, ratio + half)


__all__ = ["Interval", "mean_interval", "ratio_interval", "share_interval"]
