"""Metrics for expressions with several referents or none, as gRefCOCO defines them: boxes (GREC) and masks (GRES).

Both report `n_acc`, the share of sentences without a referent for which nothing was predicted, and `t_acc`, the share
of sentences with a referent for which something was; None where there is no such sentence.
"""

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray

from .overlap import Boxes, Rle, mask_areas, mask_overlaps, matched_boxes
from .protocol import BOX, RLE, SentenceMetric, check_count


class GeneralizedRec(SentenceMetric):
    """
    `f1_precision`: share of sentences whose predicted boxes match the referents one to one (F1 = 1) at IoU ≥ 0.5;
    `f1_one` and `f1_several`: of those with one referent, and with several; None where there is none.

    Predictions and references are lists of XYXY boxes, [] for none; threshold the scores before. Pairs are matched
    greedily from the largest IoU on. Source: He et al., "GREC", 2023; where their code uses the GIoU, this follows the
    text.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Precision at F1 = 1, no-target and target accuracy of generalized comprehension.",
            citation="",
            inputs_description="predictions, references: a list of XYXY boxes per sentence, [] for none.",
            features=datasets.Features({"predictions": datasets.List(BOX), "references": datasets.List(BOX)}),
        )

    def _compute(
        self,
        predictions: Sequence[Boxes],
        references: Sequence[Boxes],
        expected: int | None = None,
        threshold: float = 0.5,
    ) -> dict[str, float | int | None]:
        check_count(len(predictions), expected)
        pairs = list(zip(predictions, references, strict=True))
        perfect = [
            len(predicted) == len(referents) and bool(matched_boxes(predicted, referents, threshold).all())
            for predicted, referents in pairs
        ]
        answered = np.array([len(predicted) > 0 for predicted, _ in pairs])
        has_target = np.array([len(referents) > 0 for _, referents in pairs])
        numbers = np.array([len(referents) for _, referents in pairs])
        return {
            "f1_precision": float(np.mean(perfect)),
            "f1_one": _share(perfect, numbers == 1),
            "f1_several": _share(perfect, numbers > 1),
            "count": len(pairs),
        } | _existence(answered, has_target)


class GeneralizedRes(SentenceMetric):
    """
    `giou`, the mean of each sentence's IoU, and `ciou`, all intersections over all unions; empty masks: no target.

    A sentence without a referent counts 1 in gIoU if nothing was predicted, otherwise 0, and then its pixels enlarge
    cIoU's union. One run-length mask per sentence, all referents together. Source: Liu et al., "GRES", CVPR 2023.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="gIoU, cIoU, no-target and target accuracy of generalized segmentation.",
            citation="",
            inputs_description="predictions, references: one RLE per sentence, empty for no target.",
            features=datasets.Features({"predictions": RLE, "references": RLE}),
        )

    def _compute(
        self, predictions: Sequence[Rle], references: Sequence[Rle], expected: int | None = None
    ) -> dict[str, float | int | None]:
        check_count(len(predictions), expected)
        intersections, unions = mask_overlaps(predictions, references)
        answered, has_target = mask_areas(predictions) > 0, mask_areas(references) > 0
        overlaps = np.where(unions > 0, intersections / unions.clip(1), 1.0)  # both empty: rightly nothing
        return {
            "giou": float(overlaps.mean()),
            "ciou": float(intersections.sum() / max(1, unions.sum())),
            "count": len(predictions),
        } | _existence(answered, has_target)


def _share(values: Sequence[bool], which: NDArray[np.bool_]) -> float | None:
    return float(np.asarray(values)[which].mean()) if which.any() else None


def _existence(answered: NDArray[np.bool_], has_target: NDArray[np.bool_]) -> dict[str, float | None]:
    return {
        "n_acc": float((~answered[~has_target]).mean()) if (~has_target).any() else None,
        "t_acc": float(answered[has_target].mean()) if has_target.any() else None,
    }


__all__ = ["GeneralizedRec", "GeneralizedRes"]
