"""From SOLO's masks and class probabilities to ordinary detections: thresholds, mask quality, Matrix-NMS.

This is how SOLO is used on its own; referring expressions choose among all masks of a level instead and need none of
it. Pure functions over tensors, one image at a time. Source: SOLO (arXiv 1912.04488), Matrix-NMS (arXiv 2003.10152).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.letterbox import Letterbox


@dataclass(frozen=True)
class SoloThresholds:
    """
    Attributes:
        class_score: least class probability of a candidate.
        mask: probability from which a pixel belongs to a mask.
        max_candidates: candidates that Matrix-NMS compares.
        sigma: of Matrix-NMS's Gaussian, larger is harsher.
        score: least final score.
        max_detections: detections per image.
    """

    class_score: float = 0.1
    mask: float = 0.5
    max_candidates: int = 500
    sigma: float = 2.0
    score: float = 0.05
    max_detections: int = 100


def matrix_nms(masks: Tensor, labels: Tensor, scores: Tensor, sigma: float) -> Tensor:
    """Scores (n,) lowered by the overlap with better masks of the same class.

    Args:
        masks: (n, h, w) bool, best score first.
        labels: (n,) int64.
        scores: (n,) descending.
        sigma: of the Gaussian.
    """
    flat = masks.flatten(1).float()
    intersection = flat @ flat.T
    areas = flat.sum(1)
    union = areas[:, None] + areas[None] - intersection
    # iou[i, j] with i ranked before j and of the same class, else 0.
    iou = (intersection / union * (labels[:, None] == labels[None])).triu(diagonal=1)
    # How much the suppressor itself is overlapped by a better one excuses what it suppresses.
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
    """Detections of every image, best first: {"scores" (n,), "labels" (n,), "masks" (n, h', w') bool}.

    Args:
        masks: per image (N, h, w) probabilities of all levels' points.
        classes: per image (N, classes) probabilities, 0 where the cell is no local maximum.
        strides: (N,) stride of each point's level.
        canvas: (H, W) in pixels.
        letterbox: (I, 6), see the image processor; None leaves the masks on the canvas.
        thresholds: when a cell is a detection.
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


def _detections_of_image(masks: Tensor, classes: Tensor, strides: Tensor, thresholds: SoloThresholds):
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
