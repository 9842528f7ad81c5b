"""A calibration fitted to predictions: what raw scores mean, and from which probabilities on an answer counts.

Expects predictions of the same expressions in both ways (`EVERYTHING` of `evaluation.py`): the one answer, and all
answers whatever they score. Fitted on the set that is measured, it flatters; whoever reports it should say so. Knows
nothing of models.
"""

from collections.abc import Sequence

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from transformers.utils import logging

from ..selection.calibration import Calibration, ScoreMap
from .predictions import Answered, Prediction, answered
from .score_maps import fit_score_map
from .scores import right_answers

logger = logging.get_logger(__name__)

_AS_GOOD = 0.01  # of the lower of N-acc and T-acc
_FEW = 200  # answers; fewer make a coarse map

_Floats = NDArray[np.float64]


def fit_calibration(
    one: Sequence[Prediction], every: Sequence[Prediction], rows: datasets.Dataset, fitted_on: str
) -> Calibration:
    """
    Fit the maps from raw scores to probabilities, and the thresholds.

    `one` gets the probability that the only answer is right, `any` that each of several is, and `exists` that there is
    a referent. An answer is right if it is matched with a referent at an IoU of 0.5 or more, one to one.

    `exists_threshold` is the probability of a referent at which the lower of N-acc and T-acc is highest, so that
    neither answering always nor never looks good; of those in a row, the middle one. It serves both ways of asking.
    `threshold`, of each of several answers, is the one with the highest precision at F1 = 1 among those that cost the
    lower of N-acc and T-acc less than 0.01; again the middle one.

    Without absent expressions nothing tells when there is no referent. Then `exists` is the map of `one`, a lower
    bound, since a right answer has a referent; `exists_threshold` is 0, and precision alone decides `threshold`. A
    warning says so, and `fitted_on`.

    Args:
        one: predictions with `referents="one"` and threshold 0.
        every: predictions with `referents="any"` and threshold 0.
        rows: of both, image view.
        fitted_on: the data in words, such as "refcoco/val".

    Raises:
        ValueError: there is no answer at all, or predictions are of other rows.
    """
    singles, sets = answered(one, rows), answered(every, rows)
    scores, truths = _flat(singles)
    several, several_truths = _flat(sets)
    if not len(scores) or not len(several):
        raise ValueError(
            f"No expression of {fitted_on} has an answer, so no score can be calibrated: check detectors."
        )
    if len(scores) < _FEW:
        logger.warning_once(
            f"The calibration is fitted on {len(scores)} answers of {fitted_on}: some hundreds make it fine."
        )
    present = np.array([bool(entry.referents) for entry in singles])
    map_one, map_any = fit_score_map(scores, truths), fit_score_map(several, several_truths)
    said = f"{fitted_on} ({len(present)} expressions, {int((~present).sum()) or 'none'} absent)"
    if present.all():
        logger.warning_once(
            f"{fitted_on} has no absent expressions, so nothing shows when there is no referent: give data with some "
            "to calibrate that, too."
        )
        exists, least = map_one, 0.0
    else:
        asked = [entry for entry in singles if entry.prediction["raw_scores"]]
        best = [entry.prediction["raw_scores"][0] for entry in asked]
        exists = fit_score_map(best, [bool(entry.referents) for entry in asked])
        least = fit_exists_threshold(singles, exists)
    found = [least <= _existence(entry.prediction, exists) for entry in singles]
    threshold = fit_threshold(sets, map_any, found)
    return Calibration(map_one, map_any, exists, threshold, said, len(scores), least)


def fit_exists_threshold(singles: Sequence[Answered], exists: ScoreMap) -> float:
    """
    The probability of a referent from which there should be answers at all; the rule is that of `fit_calibration`.

    Args:
        singles: expressions with their only answers, some of them absent.
        exists: from raw scores.
    """
    sure = np.array(
        [_existence(entry.prediction, exists) if entry.prediction["raw_scores"] else -1.0 for entry in singles]
    )
    present = np.array([bool(entry.referents) for entry in singles])
    thresholds = _candidates([sure])
    return _middle(thresholds, _lower(thresholds, sure, present))


def fit_threshold(sets: Sequence[Answered], probability: ScoreMap, found: Sequence[bool]) -> float:
    """
    The probability from which each of several answers should count; the rule is that of `fit_calibration`.

    Args:
        sets: expressions with all their answers.
        probability: from raw scores.
        found: which expressions seem to have a referent; the others are not answered.
    """
    lists = [
        _probabilities(entry.prediction["raw_scores"] if there else [], probability)
        for entry, there in zip(sets, found, strict=True)
    ]
    thresholds = _candidates(lists)
    best = np.array([values.max(initial=-1.0) for values in lists])
    present = np.array([bool(entry.referents) for entry in sets])
    f1 = _f1_precision(sets, lists, thresholds)
    if not present.all():
        lower = _lower(thresholds, best, present)
        f1 = np.where(lower >= lower.max() - _AS_GOOD, f1, -1.0)
    return _middle(thresholds, f1)


def calibrated(
    one: Sequence[Prediction], every: Sequence[Prediction], calibration: Calibration
) -> tuple[list[Prediction], list[Prediction]]:
    """
    Both as the processor would give them with the calibration: `one` with threshold 0, `every` with "auto".

    Args:
        one, every: as for `fit_calibration`, in the same order.
    """
    singles, sets = [], []
    for single, several in zip(one, every, strict=True):
        exists = _existence(single, calibration.exists)
        probabilities = _probabilities(single["raw_scores"], calibration.one).tolist()
        singles.append(single | {"scores": probabilities, "exists": exists})
        scores = _probabilities(several["raw_scores"], calibration.any)
        kept = np.flatnonzero((scores >= calibration.threshold) & (exists >= calibration.exists_threshold)).tolist()
        lists = {name: several[name] for name in ("boxes", "masks", "raw_scores")} | {"scores": scores.tolist()}
        chosen = {name: None if values is None else [values[at] for at in kept] for name, values in lists.items()}
        sets.append(several | chosen | {"exists": exists})
    return singles, sets


def _existence(single: Prediction, exists: ScoreMap) -> float:
    """The probability of a referent, by the score of the only answer, or as low as can be without one."""
    return float(_probabilities(single["raw_scores"][:1] or [0.0], exists)[0])


def _flat(joined: Sequence[Answered]) -> tuple[list[float], list[bool]]:
    """Raw scores and truths of all answers."""
    scores = [score for entry in joined for score in entry.prediction["raw_scores"]]
    return scores, [right for entry in joined for right in right_answers(entry)]


def _probabilities(raw: Sequence[float], probability: ScoreMap) -> _Floats:
    """In the precision of the processor, so that an answer is kept here if it is there."""
    return probability(torch.tensor(raw, dtype=torch.float32)).double().numpy()


def _candidates(lists: Sequence[_Floats]) -> _Floats:
    """Halfway between neighbouring probabilities, and below and above all: no answer lies on a threshold."""
    levels = np.unique(np.concatenate([*lists, np.array([0.0, 1.0])]))
    return (levels[:-1] + levels[1:]) / 2


def _lower(thresholds: _Floats, best: _Floats, present: NDArray[np.bool_]) -> _Floats:
    """By threshold, the lower of N-acc and T-acc if those of E expressions whose `best` reaches it are answered."""
    kept = 1 - np.searchsorted(np.sort(best[present]), thresholds) / max(1, present.sum())
    rejected = np.searchsorted(np.sort(best[~present]), thresholds) / max(1, (~present).sum())
    return np.minimum(rejected, kept) if present.any() else rejected


def _middle(thresholds: _Floats, values: _Floats) -> float:
    """The middle of the first thresholds in a row with the largest value, the lower of two: if in doubt, answer."""
    best = values == values.max()
    start = int(best.argmax())
    length = int((~best[start:]).argmax()) or len(best) - start
    return round(float(thresholds[start + (length - 1) // 2]), 6)


def _f1_precision(sets: Sequence[Answered], lists: Sequence[_Floats], thresholds: _Floats) -> _Floats:
    """By threshold, the share of expressions whose answers match their referents one to one."""
    # An expression with m referents is solved where exactly its m best answers are kept, and these match.
    above, upto = [], []
    for entry, values in zip(sets, lists, strict=True):
        count = len(entry.referents)
        if count > len(values):
            continue
        alone = entry._replace(prediction=entry.prediction | {"boxes": entry.prediction["boxes"][:count]})
        if all(right_answers(alone)):
            above.append(values[count] if count < len(values) else -1.0)
            upto.append(values[count - 1] if count else 2.0)
    starts, ends = np.sort(np.array(above)), np.sort(np.array(upto))
    return (np.searchsorted(starts, thresholds) - np.searchsorted(ends, thresholds)) / len(sets)


__all__ = ["calibrated", "fit_calibration", "fit_exists_threshold", "fit_threshold"]
