"""Calibration error and AUROC against plain Python."""

from fractions import Fraction

import numpy as np
import pytest

from pbrec_hf.metrics.reliability import (
    ReliabilityBin,
    area_under_roc,
    expected_calibration_error,
    reliability_bins,
)


def plain_error(scores: list[float], right: list[bool], bins: int) -> float:
    """Ties count by the share of right ones among them; exact fractions."""
    share = {
        score: Fraction(sum(r for s, r in zip(scores, right, strict=True) if s == score), scores.count(score))
        for score in scores
    }
    ordered, total, start = sorted(scores), Fraction(0), 0
    for number in range(bins):
        size = len(scores) // bins + (number < len(scores) % bins)
        mine = ordered[start : start + size]
        start += size
        total += abs(sum(map(Fraction, mine)) - sum(share[score] for score in mine))
    return float(total / len(scores))


@pytest.mark.parametrize("levels", [3, 11, 10**6])
@pytest.mark.parametrize("count", [10, 57, 400])
def test_the_calibration_error_equals_counting_with_and_without_ties(levels, count):
    rng = np.random.default_rng(levels + count)
    scores = (rng.integers(0, levels, count) / levels).tolist()
    right = (rng.random(count) < np.array(scores) ** 2).tolist()
    found = expected_calibration_error(reliability_bins(scores, right))
    assert found == pytest.approx(plain_error(scores, right, 10), abs=1e-12)
    order = rng.permutation(count)
    again = reliability_bins([scores[i] for i in order], [right[i] for i in order])
    assert expected_calibration_error(again) == pytest.approx(found, abs=1e-12)


def test_bins_hold_as_many_answers_and_all_of_them():
    rng = np.random.default_rng(0)
    scores, right = rng.random(103), rng.random(103) < 0.3
    bins = reliability_bins(scores, right)
    assert [entry.count for entry in bins] == [11] * 3 + [10] * 7
    assert sum(entry.count * entry.right for entry in bins) == pytest.approx(right.sum())
    assert sum(entry.count * entry.score for entry in bins) == pytest.approx(scores.sum())
    assert [entry.score for entry in bins] == sorted(entry.score for entry in bins)


def test_the_error_is_large_for_boasting_and_small_for_true_scores():
    rng = np.random.default_rng(1)
    scores = rng.random(20_000)
    assert expected_calibration_error(reliability_bins(scores, rng.random(20_000) < scores)) < 0.015
    assert expected_calibration_error(reliability_bins([0.9] * 50, [False] * 50)) == pytest.approx(0.9)


def test_few_answers_make_few_bins():
    assert reliability_bins([0.2, 0.8], [False, True]) == [ReliabilityBin(0.2, 0, 1), ReliabilityBin(0.8, 1, 1)]
    assert reliability_bins([], []) == []
    assert expected_calibration_error([]) is None


@pytest.mark.parametrize(
    ("scores", "right", "bins", "message"),
    [
        ([0.1], [], 10, "one score per answer"),
        ([1.5, 0.2], [True, True], 10, "first is 1.5"),
        ([float("nan")], [True], 10, "first is nan"),
        ([0.1], [True], 0, "bins=0"),
    ],
)
def test_what_is_no_probability_is_refused(scores, right, bins, message):
    with pytest.raises(ValueError, match=message):
        reliability_bins(scores, right, bins)


@pytest.mark.parametrize("levels", [2, 7, 10**6])
def test_the_area_equals_comparing_all_pairs(levels):
    rng = np.random.default_rng(levels)
    positive = rng.random(90) < 0.4
    scores = (rng.integers(0, levels, 90) + positive * levels / 5) / levels
    pairs = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    assert area_under_roc(scores, positive) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_without_one_of_the_kinds_there_is_no_area():
    assert area_under_roc([0.1, 0.2], [True, True]) is None
    assert area_under_roc([], []) is None
