"""Losses of the detectors that predict boxes: FCOS (arXiv 1904.01355) and NanoDet (generalised focal, 2006.04388).

Pure functions of the detector's output and the objects of each image: lists of boxes (G, 4) XYXY in canvas pixels and
of labels (G,). Finite where no point is positive.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from ...detectors.fcos import FcosOutput
from ...geometry.boxes import box_iou_matrix, boxes_from_distances, distances_to_sides
from ...geometry.centerness import centerness
from ...small.nanodet_outputs import NanoDetOutput
from .box_assignment import BACKGROUND, assign_by_atss, assign_by_center

# How far from the middle of its box a point of FCOS may be, in strides.
FCOS_RADIUS = 1.5
NANODET_WEIGHTS = {"loss_quality": 1.0, "loss_box": 2.0, "loss_distances": 0.25}


def quality_focal_loss(logits: Tensor, quality: Tensor) -> Tensor:
    """Elementwise |q - σ|² times binary cross-entropy, for soft targets `quality` in [0, 1] of the same shape."""
    modulation = (quality - logits.sigmoid()).square()
    return modulation * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")


def distribution_focal_loss(logits: Tensor, distances: Tensor) -> Tensor:
    """(n,) cross-entropy of distributions (n, bins) with the two bins next to `distances` (n,), 0 … bins - 1."""
    below = distances.floor().long().clamp(0, logits.shape[1] - 2)
    share = distances - below
    log = logits.log_softmax(1)
    pairs = torch.stack([below, below + 1], dim=1)
    return -(log.gather(1, pairs) * torch.stack([1 - share, share], dim=1)).sum(1)


def fcos_losses(
    output: FcosOutput, points: Tensor, stride: int, boxes: list[Tensor], labels: list[Tensor]
) -> dict[str, Tensor]:
    """
    Losses of FCOS.

    Args:
        output: of the detector, one level.
        points: (P, 2) XY of the level.
        stride: of the level.
        boxes, labels: of each image's objects.

    Returns:
        {"loss_class", "loss_box", "loss_centerness"}.
    """
    assert output.class_logits is not None and output.distances is not None and output.centerness_logits is not None
    owners = [assign_by_center(points, image_boxes, FCOS_RADIUS * stride) for image_boxes in boxes]
    wanted = _one_hot_classes(output.class_logits, owners, labels)
    image, point, matched = _positives(owners, boxes)
    count = max(len(point), 1)
    weight = centerness(points[point][:, None], matched)[:, 0]
    predicted = boxes_from_distances(points[point], output.distances[image, point])
    entropy = F.binary_cross_entropy_with_logits(output.centerness_logits[image, point], weight, reduction="sum")
    return {
        "loss_class": sigmoid_focal_loss(output.class_logits, wanted, alpha=0.25, gamma=2.0, reduction="sum") / count,
        "loss_box": (generalized_box_iou_loss(predicted, matched) * weight).sum() / weight.sum().clamp(min=1e-6),
        "loss_centerness": entropy / count,
    }


def nanodet_losses(
    output: NanoDetOutput, points: Tensor, strides: Tensor, boxes: list[Tensor], labels: list[Tensor]
) -> dict[str, Tensor]:
    """
    Losses of NanoDet.

    Args:
        output: of the detector, all levels.
        points: (N, 2) XY of all levels.
        strides: (N,) of each point.
        boxes, labels: of each image's objects.

    Returns:
        {"loss_quality", "loss_box", "loss_distances"}, weighted.
    """
    assert output.class_logits is not None and output.distances is not None and output.distance_logits is not None
    owners = [assign_by_atss(points, strides, image_boxes) for image_boxes in boxes]
    image, point, matched = _positives(owners, boxes)
    count = max(len(point), 1)
    predicted = boxes_from_distances(points[point], output.distances[image, point])
    # The class target of a positive point is the overlap of its own box.
    quality = _one_hot_classes(output.class_logits, owners, labels)
    quality[image, point] *= box_iou_matrix(predicted.detach()[:, None], matched[:, None])[:, 0]
    weight = output.class_logits[image, point].detach().sigmoid().amax(-1)
    total = weight.sum().clamp(min=1e-6)
    distance_logits = output.distance_logits[image, point]
    target = distances_to_sides(points[point], matched) / strides[point, None]
    target = target.clamp(0, distance_logits.shape[-1] - 1.01)
    distances = distribution_focal_loss(distance_logits.flatten(0, 1), target.flatten()).view(-1, 4).mean(1)
    losses = {
        "loss_quality": quality_focal_loss(output.class_logits, quality).sum() / count,
        "loss_box": (generalized_box_iou_loss(predicted, matched) * weight).sum() / total,
        "loss_distances": (distances * weight).sum() * 4 / total,
    }
    return {name: loss * NANODET_WEIGHTS[name] for name, loss in losses.items()}


def _positives(owners: list[Tensor], boxes: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Image (n,) and point (n,) of the positive points, and the boxes (n, 4) of their objects."""
    image, point = (torch.stack(owners) != BACKGROUND).nonzero(as_tuple=True)
    return image, point, torch.cat([b[o[o != BACKGROUND]] for b, o in zip(boxes, owners, strict=True)])


def _one_hot_classes(logits: Tensor, owners: list[Tensor], labels: list[Tensor]) -> Tensor:
    """Zeros like `logits` (I, P, classes), 1 at the class of each positive point's object."""
    wanted = torch.zeros_like(logits)
    for image, (owner, image_labels) in enumerate(zip(owners, labels, strict=True)):
        point = (owner != BACKGROUND).nonzero().squeeze(1)
        wanted[image, point, image_labels[owner[point]]] = 1
    return wanted


__all__ = ["distribution_focal_loss", "fcos_losses", "nanodet_losses", "quality_focal_loss"]
