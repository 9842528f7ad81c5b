"""Intervals against the roots that define them, against drawing cases again, and where nothing can be said."""

import numpy as np
import pytest

from pbrec_hf.metrics.intervals import mean_interval, ratio_interval, share_interval


@pytest.mark.parametrize(("found", "count"), [(90, 100), (0, 5), (5, 5), (12, 48), (1, 1)])
def test_a_share_is_at_the_border_of_what_its_ends_would_give(found, count):
    """Wilson's ends p solve (share - p)² = z² p (1 - p) / n."""
    for end in share_interval(found, count):
        assert (found / count - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / count, abs=1e-9)


def test_a_mean_has_its_standard_errors():
    values = np.random.default_rng(0).random(50)
    low, high = mean_interval(values)
    half = 1.959964 * values.std(ddof=1) / np.sqrt(50)
    assert (low, high) == (pytest.approx(values.mean() - half), pytest.approx(values.mean() + half))
    assert mean_interval([1.0, 1.0, 0.9])[1] == 1.0


def test_a_ratio_spreads_as_when_cases_are_drawn_again():
    rng = np.random.default_rng(1)
    wholes = rng.integers(50, 2000, 300).astype(float)
    parts = wholes * rng.beta(3, 2, 300)
    drawn = rng.integers(0, 300, (4000, 300))
    ratios = parts[drawn].sum(1) / wholes[drawn].sum(1)
    low, high = ratio_interval(parts, wholes)
    assert low < parts.sum() / wholes.sum() < high
    assert high - low == pytest.approx(2 * 1.959964 * ratios.std(), rel=0.05)


def test_nothing_is_said_where_nothing_is_known():
    with pytest.raises(ValueError, match="3 of 2"):
        share_interval(3, 2)
    with pytest.raises(ValueError, match="0 of 0"):
        share_interval(0, 0)
    with pytest.raises(ValueError, match="1 cases"):
        mean_interval([0.5])
    with pytest.raises(ValueError, match="no interval"):
        ratio_interval([0.0, 0.0], [0.0, 0.0])
