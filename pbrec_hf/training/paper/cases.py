"""From predictions to figures: a value over cases with its interval. One case is one expression.

Accuracy is the share of cases whose box has an IoU above 0.5; mean IoU, which the paper calls "overall", the mean over
cases of the masks' IoU; overall IoU all intersections over all unions. Knows nothing of models.
"""

from collections.abc import Sequence
from typing import NamedTuple

import datasets
import numpy as np

from ...metrics.intervals import Interval, mean_interval, ratio_interval, share_interval
from ...metrics.overlap import mask_overlaps, paired_box_overlaps
from ..predictions import Prediction, answered
from ..scores import answered_mask, true_mask

RIGHT = 0.5  # a box is right if its IoU is above
ACCURACY, MEAN_IOU, OVERALL_IOU = "accuracy@0.5", "mean IoU", "overall IoU"


class Measured(NamedTuple):
    """A value in [0, 1], its 95 % interval (None of a single case), and the number of cases."""

    value: float
    interval: Interval | None
    cases: int


def box_accuracy(predictions: Sequence[Prediction], rows: datasets.Dataset) -> Measured:
    """
    The share of cases whose best answer's box has an IoU above 0.5; no answer is a wrong one.

    Raises:
        ValueError: predictions are missing, doubled or of other rows, or a case has no single referent.
    """
    joined = answered(predictions, rows)
    boxes = [entry.prediction["boxes"][0] if entry.prediction["boxes"] else [np.nan] * 4 for entry in joined]
    right = paired_box_overlaps(boxes, [entry.sentence["bbox"] for entry in joined]) > RIGHT
    return Measured(float(right.mean()), share_interval(int(right.sum()), len(right)), len(right))


def mask_ious(predictions: Sequence[Prediction], rows: datasets.Dataset) -> dict[str, Measured]:
    """
    Mean and overall IoU of the best answers' masks, by name; no answer is an empty mask.

    Raises:
        ValueError: predictions are missing, doubled or of other rows, or a case has no mask of its referent.
    """
    joined = answered(predictions, rows)
    if lacking := [entry.sentence["expression"] for entry in joined if not entry.sentence.get("segmentation")]:
        raise ValueError(
            f"{len(lacking)} expressions have no mask of their referent, the first is {lacking[0]!r}: measure masks "
            "on data that have them."
        )
    intersections, unions = mask_overlaps([answered_mask(one) for one in joined], [true_mask(one) for one in joined])
    overlaps = intersections / unions.clip(1)
    count, parts, wholes = len(joined), intersections.astype(np.float64), unions.astype(np.float64)
    mean, overall = float(overlaps.mean()), float(parts.sum() / max(1, wholes.sum()))
    several = count > 1  # a single case says nothing of the spread
    return {
        MEAN_IOU: Measured(mean, mean_interval(overlaps) if several else None, count),
        OVERALL_IOU: Measured(overall, ratio_interval(parts, wholes) if several else None, count),
    }


def of_kind(kind: str, predictions: Sequence[Prediction], rows: datasets.Dataset) -> tuple[str, Measured]:
    """The metric of "boxes" (accuracy) or "masks" (mean IoU), and its value; errors as above."""
    if kind == "boxes":
        return ACCURACY, box_accuracy(predictions, rows)
    return MEAN_IOU, mask_ious(predictions, rows)[MEAN_IOU]


__all__ = ["ACCURACY", "MEAN_IOU", "OVERALL_IOU", "Measured", "box_accuracy", "mask_ious", "of_kind"]
