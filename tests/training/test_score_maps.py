"""Maps from scores to probabilities: monotone, in [0, 1], near the truth, and careful with few answers."""

import numpy as np
import pytest
import torch

from pbrec_hf.metrics.reliability import expected_calibration_error, reliability_bins
from pbrec_hf.selection.calibration import ScoreMap
from pbrec_hf.training.score_maps import MOST_KNOTS, fit_score_map

TRUTHS = {
    "square": lambda raw: raw**2,
    "root": lambda raw: raw**0.5,
    "low": lambda raw: 0.02 + 0.1 * raw,
    "steep": lambda raw: 0.1 + 0.7 / (1 + np.exp(-20 * (raw - 0.3))),
}


def sample(truth: str, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    raw = rng.beta(0.6, 2, count)  # most scores are low, as detectors' are
    return raw, rng.random(count) < TRUTHS[truth](raw)


def error(found: ScoreMap, raw: np.ndarray, right: np.ndarray) -> float:
    return expected_calibration_error(reliability_bins(found(torch.tensor(raw)).tolist(), right))


@pytest.mark.parametrize("truth", TRUTHS)
def test_a_known_map_is_recovered(truth):
    found = fit_score_map(*sample(truth, 20_000))
    raw = np.linspace(0.02, 0.8, 200)
    distance = abs(found(torch.tensor(raw)).numpy() - TRUTHS[truth](raw))
    assert distance.mean() < 0.02 and distance.max() < 0.08
    assert error(found, *sample(truth, 20_000, seed=1)) < 0.015


@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("count", [1, 2, 3, 19, 20, 45, 300, 5000])
def test_every_map_rises_strictly_within_bounds(truth, count):
    found = fit_score_map(*sample(truth, count))
    assert len(found.raw) <= MOST_KNOTS
    values = found(torch.linspace(0, 1, 1001, dtype=torch.float64))
    assert (values.diff() >= 0).all() and values[0] > 0 and values[-1] < 1
    between = torch.tensor(found.raw, dtype=torch.float64)
    assert (found(between).diff() > 0).all()


@pytest.mark.parametrize("count", [25, 60, 200])
def test_a_small_set_does_not_mislead(count):
    """Fitted on scores that say nothing, of which half are right: no certainty comes out of it."""
    errors = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = fit_score_map(rng.random(count), rng.random(count) < 0.5)
        errors.append(error(found, rng.random(5000), rng.random(5000) < 0.5))
    assert np.mean(errors) < 0.2 * (25 / count) ** 0.5


@pytest.mark.parametrize("right", [False, True])
def test_answers_of_one_kind_stay_away_from_certainty(right):
    found = fit_score_map(np.linspace(0, 1, 30), [right] * 30)
    values = found(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    assert ((values > 0.9) if right else (values < 0.1)).all()
    assert values.min() > 0 and values.max() < 1


def test_one_score_for_all_answers_gets_their_share():
    found = fit_score_map([0.25] * 100, [True] * 20 + [False] * 80)
    assert found(torch.tensor([0.25])).item() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("raw", "right", "message"),
    [([], [], "0 scores"), ([0.5], [], "1 scores and 0 truths"), ([2.0], [True], "raw score of 2.0")],
)
def test_what_cannot_be_fitted_is_told(raw, right, message):
    with pytest.raises(ValueError, match=message):
        fit_score_map(raw, right)
