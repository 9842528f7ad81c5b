"""Boxes, XYXY in pixels of one frame: overlap, clipping, distances from points to sides.

Pure functions over tensors. Boxes without area overlap nothing.
"""

import torch
from torch import Tensor
from torchvision.ops import box_area, clip_boxes_to_image


def box_iou_matrix(boxes: Tensor, others: Tensor | None = None) -> Tensor:
    """
    IoU of each box (…, k, 4) with each of `others` (…, n, 4), by default themselves: (…, k, n).

    torchvision's `box_iou` takes no batch, and is not a number for two boxes without area.
    """
    others = boxes if others is None else others
    area, other_area = (box_area(some.flatten(0, -2)).view(some.shape[:-1]) for some in (boxes, others))
    top_left = torch.maximum(boxes[..., :, None, :2], others[..., None, :, :2])
    bottom_right = torch.minimum(boxes[..., :, None, 2:], others[..., None, :, 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=-1)
    return intersection_over_union(intersection, area, other_area)


def intersection_over_union(intersection: Tensor, area: Tensor, other_area: Tensor) -> Tensor:
    """IoU (…, k, n) of areas (…, k) and (…, n) with their intersections; 0 where there is no union."""
    union = area[..., :, None] + other_area[..., None, :] - intersection
    return torch.where(union > 0, intersection / union, 0.0)


def boxes_from_distances(points: Tensor, distances: Tensor, canvas: tuple[int, int] | None = None) -> Tensor:
    """
    Boxes (…, N, 4) of points (N, 2) XY and distances (…, N, 4) to left, top, right, bottom.

    Args:
        canvas: (H, W) to which the boxes are clipped; None = not at all.
    """
    boxes = torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)
    return boxes if canvas is None else clip_boxes_to_image(boxes, canvas)


def distances_to_sides(points: Tensor, boxes: Tensor) -> Tensor:
    """(…, 4) distances from points (…, 2) to the left, top, right, bottom of boxes (…, 4); negative outside."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)


def box_centers(boxes: Tensor) -> Tensor:
    """Centres (…, 2) XY of boxes (…, 4)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


__all__ = [
    "box_centers",
    "box_iou_matrix",
    "boxes_from_distances",
    "distances_to_sides",
    "intersection_over_union",
]
