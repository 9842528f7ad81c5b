"""Accuracy of referring expression comprehension: one predicted box per sentence."""

import datasets
import evaluate

from .overlap import Boxes, paired_box_overlaps
from .protocol import BOX, THRESHOLDS, SentenceMetric, check_count, shares_above


class RecAccuracy(SentenceMetric):
    """
    Share of sentences whose box has an IoU above 0.5 (and 0.6 to 0.9) with the reference; mean IoU.

        metric = RecAccuracy()
        metric.add_batch(predictions=boxes, references=rows["bbox"])          # XYXY, same frame
        metric.compute(expected=published_counts("refcoco", "unc")["testA"]["sentences"])

    A prediction that is not a box (NaN, or x2 ≤ x1) is an abstention: it counts as a miss. Over processes, construct
    with `num_process`, `process_id` and `experiment_id`; process 0 gets the result of all, the others None.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Accuracy of referring expression comprehension at box IoU > 0.5 to 0.9, and mean IoU.",
            citation="",
            inputs_description="predictions, references: one XYXY box per sentence. compute(expected=number)",
            features=datasets.Features({"predictions": BOX, "references": BOX}),
        )

    def _compute(
        self,
        predictions: Boxes,
        references: Boxes,
        expected: int | None = None,
        thresholds: tuple[float, ...] = THRESHOLDS,
    ) -> dict[str, float | int]:
        check_count(len(predictions), expected)
        overlaps = paired_box_overlaps(predictions, references)
        return shares_above(overlaps, thresholds, "accuracy") | {
            "mean_iou": float(overlaps.mean()),
            "count": len(predictions),
        }


__all__ = ["RecAccuracy"]
