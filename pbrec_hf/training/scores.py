"""Scores of predictions: accuracy, overlap, existence, what proposals would allow, and how far scores can be believed.

A file of predictions scores exactly as the run that wrote it. Of data whose expressions have one referent each, the
best-scored box is the answer; of generalized data, all answers count. Knows nothing of models.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import datasets
import numpy as np

from ..images.segmentation import mask_to_rle, rasterise
from ..metrics import GeneralizedRec, GeneralizedRes, RecAccuracy, ResIoU
from ..metrics.overlap import matched_boxes, united_mask
from ..metrics.reliability import ReliabilityBin, area_under_roc, expected_calibration_error, reliability_bins
from .predictions import Answered, Prediction, answered, has_absent, is_generalized

Scores = dict[str, float]

MET = 0.5  # a proposal of a larger IoU meets a referent
_AT = tuple(f"@{threshold}" for threshold in (0.5, 0.6, 0.7, 0.8, 0.9))
_SINGLE = (
    *(f"accuracy{at}" for at in _AT), "box_mean_iou",
    "overall_iou", "mask_mean_iou", *(f"precision{at}" for at in _AT), "point_hit", "auroc",
)  # fmt: skip
_GENERALIZED = ("f1_precision", "f1_one", "f1_several", "giou", "ciou", "t_acc", "point_hit", "auroc")
_OF_ABSENT = ("n_acc", "present_auroc")


class Measured(NamedTuple):
    """
    What predictions reach.

    Attributes:
        scores: by name.
        bins: the answers in bins of equal mass, for the reliability diagram; none if a score is above 1.
    """

    scores: Scores
    bins: list[ReliabilityBin]


def possible_scores(rows: datasets.Dataset) -> tuple[str, ...]:
    """The scores that predictions for `rows` (image view) may get and of which larger is better, except oracles."""
    names = _GENERALIZED if is_generalized(rows) else _SINGLE
    return (*names, *_OF_ABSENT) if is_generalized(rows) and has_absent(rows) else names


def score(predictions: Sequence[Prediction], rows: datasets.Dataset) -> Scores:
    """The scores of `measure`."""
    return measure(predictions, rows).scores


def measure(predictions: Sequence[Prediction], rows: datasets.Dataset) -> Measured:
    """
    All scores that predictions and rows allow.

    Args:
        predictions: one per expression of `rows`, in any order.
        rows: of the image view.

    Returns:
        Of data with one referent per expression: accuracy@0.5 … @0.9, box_mean_iou; with masks overall_iou,
        mask_mean_iou, precision@0.5 … @0.9. Of generalized data: f1_precision, f1_one, f1_several, n_acc, t_acc of the
        boxes; with masks giou and ciou of their union.
        If known: box_oracle@0.5 (share of expressions of whose referents all have a proposal of an IoU above 0.5), of
        generalized data also box_oracle_share@0.5 (mean share of an expression's referents that have one), mask_oracle
        (mean IoU of the best proposals), and point_hit, the released rule of model selection.
        Whether scores can be believed: ece (expected calibration error, ten bins of equal mass), `answers` (how many
        it is of), auroc (right against wrong answers) and present_auroc (expressions with a referent against those
        without, by `exists` or else the best score). An answer is right if it is matched with a referent at an IoU of
        0.5 or more.
        Always `count`, the number of expressions. A score without a case is left out, such as n_acc without absent
        expressions.

    Raises:
        ValueError: predictions are missing, doubled or of other rows.
    """
    joined = answered(predictions, rows)
    several = is_generalized(rows)
    scores = (_generalized if several else _single)(joined)
    scores |= _oracles(joined, several)
    told, bins = _reliability(joined, several)
    known = {name: value for name, value in (scores | told).items() if value is not None}
    return Measured(known | {"count": len(joined)}, bins)


def right_answers(entry: Answered, best_alone: bool = False) -> list[bool]:
    """
    Whether each answer of an expression is right: matched, one to one, with a referent at an IoU of 0.5 or more.

    Args:
        best_alone: look at the best-scored answer only.
    """
    boxes = entry.prediction["boxes"][:1] if best_alone else entry.prediction["boxes"]
    found: list[bool] = matched_boxes(boxes, [referent.box for referent in entry.referents]).tolist()
    return found


def _single(joined: list[Answered]) -> dict[str, Any]:
    boxes = [entry.prediction["boxes"][0] if entry.prediction["boxes"] else [np.nan] * 4 for entry in joined]
    scores = _of(RecAccuracy, boxes, [entry.sentence["bbox"] for entry in joined], "box_")
    if _has_masks(joined):
        predicted = [answered_mask(entry) for entry in joined]
        scores |= _of(ResIoU, predicted, [true_mask(entry) for entry in joined], "mask_")
    return scores


def _generalized(joined: list[Answered]) -> dict[str, Any]:
    boxes = [entry.prediction["boxes"] for entry in joined]
    scores: dict[str, Any] = {}
    if _has_masks(joined):
        predicted = [_united(entry, slice(None)) for entry in joined]
        scores = _of(GeneralizedRes, predicted, [true_mask(entry) for entry in joined])
    # Last: whether something was answered is read off the boxes, of which a mask may be empty.
    return scores | _of(GeneralizedRec, boxes, [[one.box for one in entry.referents] for entry in joined])


def _of(metric: type, predictions: list[Any], references: list[Any], prefix: str = "") -> dict[str, Any]:
    scores = metric(keep_in_memory=True).compute(
        predictions=predictions, references=references, expected=len(references)
    )
    return {prefix + name if name == "mean_iou" else name: value for name, value in scores.items() if name != "count"}


def _has_masks(joined: list[Answered]) -> bool:
    """Whether masks were predicted and the data have the true ones."""
    return any(entry.prediction["masks"] is not None for entry in joined) and all(
        entry.sentence.get("segmentation") or not entry.referents for entry in joined
    )


def _united(entry: Answered, which: slice) -> dict[str, Any]:
    masks = (entry.prediction["masks"] or [])[which]
    return united_mask(masks, *entry.size)


def answered_mask(entry: Answered) -> dict[str, Any]:
    """Run lengths of the best answer's mask; empty without one."""
    return _united(entry, slice(0, 1))


def true_mask(entry: Answered) -> dict[str, Any]:
    """Run lengths of the union of an expression's referents; empty without one."""
    struct = entry.sentence["segmentation"] if entry.referents else None
    return united_mask([mask_to_rle(rasterise(struct, *entry.size))] if struct else [], *entry.size)


def _oracles(joined: list[Answered], several: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    hits = [entry.prediction.get("point_hit") for entry in joined]
    if known := [hit for hit in hits if hit is not None]:
        found["point_hit"] = float(np.mean(known))
    if boxes := _overlaps(joined, "box_oracles"):
        met = [np.array(values) > MET for values in boxes]
        found["box_oracle@0.5"] = float(np.mean([values.all() for values in met]))
        if several:
            found["box_oracle_share@0.5"] = float(np.mean([values.mean() for values in met]))
    if masks := _overlaps(joined, "mask_oracles"):
        found["mask_oracle"] = float(np.mean([np.mean(values) for values in masks]))
    return found


def _overlaps(joined: list[Answered], name: str) -> list[list[float]]:
    """The best IoU for each referent, of expressions that have any; files of 0.1.0 know none of several referents."""
    lists = [(entry.prediction.get(name), len(entry.referents)) for entry in joined]
    return [values for values, count in lists if values and len(values) == count]


def _reliability(joined: list[Answered], several: bool) -> tuple[dict[str, Any], list[ReliabilityBin]]:
    scores: list[float] = []
    right: list[bool] = []
    for entry in joined:
        truths = right_answers(entry, best_alone=not several)
        scores += entry.prediction["scores"][: len(truths)]
        right += truths
    # Files of 0.1.0 may have scores above 1, by weights of levels above 1.
    bins = reliability_bins(scores, right) if max(scores, default=0) <= 1 else []
    told = {
        "ece": expected_calibration_error(bins),
        "answers": len(scores),
        "auroc": area_under_roc(scores, right),
        "present_auroc": area_under_roc([_presence(entry) for entry in joined], [bool(e.referents) for e in joined]),
    }
    return told, bins


def _presence(entry: Answered) -> float:
    """How sure it is that there is a referent: the probability if known, or else the best score."""
    exists = entry.prediction.get("exists")
    return float(exists) if exists is not None else max(entry.prediction["scores"], default=0.0)


__all__ = [
    "MET",
    "Measured",
    "Scores",
    "answered_mask",
    "measure",
    "possible_scores",
    "right_answers",
    "score",
    "true_mask",
]
