"""Intersection over union of referring expression segmentation: one predicted mask per sentence."""

from collections.abc import Sequence

import datasets
import evaluate

from .overlap import Rle, mask_overlaps
from .protocol import RLE, THRESHOLDS, SentenceMetric, check_count, shares_above


class ResIoU(SentenceMetric):
    """
    `overall_iou` (all intersections over all unions), `mean_iou` (mean over sentences), precision at IoU 0.5 to 0.9.

    The two IoUs differ by several points, because large objects dominate the overall one; the literature confuses them
    (some papers call the mean "overall"). Predictions and references are COCO's run lengths in the size of the
    original picture, as `pycocotools.mask.encode` gives them. Over processes as `RecAccuracy`.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Overall IoU, mean IoU and precision of referring expression segmentation.",
            citation="",
            inputs_description="predictions, references: one RLE per sentence. compute(expected=number)",
            features=datasets.Features({"predictions": RLE, "references": RLE}),
        )

    def _compute(
        self,
        predictions: Sequence[Rle],
        references: Sequence[Rle],
        expected: int | None = None,
        thresholds: tuple[float, ...] = THRESHOLDS,
    ) -> dict[str, float | int]:
        check_count(len(predictions), expected)
        intersections, unions = mask_overlaps(predictions, references)
        overlaps = intersections / unions.clip(1)
        return shares_above(overlaps, thresholds, "precision") | {
            "overall_iou": float(intersections.sum() / max(1, unions.sum())),
            "mean_iou": float(overlaps.mean()),
            "count": len(predictions),
        }


__all__ = ["ResIoU"]
