"""Ordinary object detection from SOLO's predictions: thresholds, mask quality, Matrix-NMS.

For SOLO as a stand-alone detector; referring expressions select from all masks of a level instead. Pure functions over
tensors, one picture at a time. Sources: SOLO (arXiv 1912.04488), Matrix-NMS (arXiv 2003.10152).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.letterbox import Letterbox


@dataclass(frozen=True)
class SoloThresholds:
    """
    Thresholds of ordinary detection; the defaults are those of SOLO.

    Attributes:
        class_score: class probability above which a cell is a candidate.
        mask: probability above which a pixel belongs to a mask.
        max_candidates: largest number of candidates in Matrix-NMS.
        sigma: of the Gaussian in Matrix-NMS; larger values suppress more.
        score: smallest final score.
        max_detections: largest number of detections per picture.
    """

    class_score: float = 0.1
    mask: float = 0.5
    max_candidates: int = 500
    sigma: float = 2.0
    score: float = 0.05
    max_detections: int = 100


def matrix_nms(masks: Tensor, labels: Tensor, scores: Tensor, sigma: float) -> Tensor:
    """
    Reduce scores by the overlap with better masks of the same class.

    Args:
        masks: bool (n, h, w), best score first, none of them empty.
        labels: int64 (n,).
        scores: (n,), descending.
        sigma: of the Gaussian.

    Returns:
        (n,), the reduced scores.
    """
    flat = masks.flatten(1).float()
    intersection = flat @ flat.T
    areas = flat.sum(1)
    union = areas[:, None] + areas[None] - intersection
    # iou[i, j] where i ranks before j and has the same class, else 0.
    iou = (intersection / union * (labels[:, None] == labels[None])).triu(diagonal=1)
    # A suppressor that is itself suppressed by a better mask counts less.
    compensation = iou.amax(0)[:, None]
    decay = torch.exp(-sigma * (iou**2 - compensation**2)).amin(0)
    return scores * decay


def solo_detections(
    masks: list[Tensor],
    classes: list[Tensor],
    strides: Tensor,
    canvas: tuple[int, int],
    letterbox: Tensor | None,
    thresholds: SoloThresholds,
) -> list[dict[str, Tensor]]:
    """
    Detections of every picture.

    Args:
        masks: per picture (N, h, w), probabilities of the points of all levels.
        classes: per picture (N, classes), probabilities, 0 where a cell is not a local maximum.
        strides: (N,), the stride of each point's level.
        canvas: (H, W) in pixels.
        letterbox: (I, 6) int64, to map masks to the original pictures; None = masks on the canvas.
        thresholds: of scores, masks and counts.

    Returns:
        Per picture "scores" (n,), descending, "labels" int64 (n,) and "masks" bool (n, h', w').
    """
    detections = []
    for index, (image_masks, image_classes) in enumerate(zip(masks, classes, strict=True)):
        scores, labels, soft = _detections_of_image(
            image_masks, image_classes, strides.to(image_masks.device), thresholds
        )
        soft = F.interpolate(soft[:, None], canvas, mode="bilinear", align_corners=False)
        if letterbox is not None:
            place = Letterbox.of(letterbox[index])
            soft = soft[(..., *place.window)]
            soft = F.interpolate(soft, (place.height, place.width), mode="bilinear", align_corners=False)
        detections.append({"scores": scores, "labels": labels, "masks": soft[:, 0] > thresholds.mask})
    return detections


def _detections_of_image(
    masks: Tensor, classes: Tensor, strides: Tensor, thresholds: SoloThresholds
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (n,), descending, labels (n,) and mask probabilities (n, h, w)."""
    point, labels = (classes > thresholds.class_score).nonzero(as_tuple=True)
    scores, soft = classes[point, labels], masks[point]
    binary = soft > thresholds.mask
    areas = binary.sum((1, 2))
    kept = areas > strides[point]
    scores, labels, soft, binary, areas = scores[kept], labels[kept], soft[kept], binary[kept], areas[kept]
    scores = scores * (soft * binary).sum((1, 2)) / areas
    scores, order = scores.sort(descending=True, stable=True)
    order, scores = order[: thresholds.max_candidates], scores[: thresholds.max_candidates]
    labels, soft, binary = labels[order], soft[order], binary[order]
    if len(scores):
        scores = matrix_nms(binary, labels, scores, thresholds.sigma)
    scores, order = scores.sort(descending=True, stable=True)
    order = order[scores >= thresholds.score][: thresholds.max_detections]
    return scores[: len(order)], labels[order], soft[order]


__all__ = ["SoloThresholds", "matrix_nms", "solo_detections"]
