"""Boxes, XYXY in pixels of one frame: overlap, clipping, distances from points to sides.

Pure functions over tensors. A box without area overlaps nothing.
"""

import torch
from torch import Tensor
from torchvision.ops import box_area, clip_boxes_to_image


def box_iou_matrix(boxes: Tensor, others: Tensor | None = None) -> Tensor:
    """
    Pairwise IoU of boxes.

    torchvision's `box_iou` takes no batch, and returns NaN for two boxes without area.

    Args:
        boxes: (…, k, 4) XYXY.
        others: (…, n, 4) XYXY; None = `boxes` themselves.

    Returns:
        (…, k, n) in [0, 1]; 0 where neither box has area.
    """
    others = boxes if others is None else others
    return intersection_over_union(box_intersections(boxes, others), box_areas(boxes), box_areas(others))


def box_areas(boxes: Tensor) -> Tensor:
    """Areas (…, n) of boxes (…, n, 4)."""
    areas: Tensor = box_area(boxes.flatten(0, -2)).view(boxes.shape[:-1])
    return areas


def box_intersections(boxes: Tensor, others: Tensor) -> Tensor:
    """Areas (…, k, n) that boxes (…, k, 4) share with others (…, n, 4)."""
    top_left = torch.maximum(boxes[..., :, None, :2], others[..., None, :, :2])
    bottom_right = torch.minimum(boxes[..., :, None, 2:], others[..., None, :, 2:])
    return (bottom_right - top_left).clamp(min=0).prod(dim=-1)


def intersection_over_union(intersection: Tensor, area: Tensor, other_area: Tensor) -> Tensor:
    """IoU (…, k, n) from intersections (…, k, n) and areas (…, k) and (…, n); 0 where the union is empty."""
    union = area[..., :, None] + other_area[..., None, :] - intersection
    return torch.where(union > 0, intersection / union, 0.0)


def covered_shares(intersection: Tensor, area: Tensor) -> Tensor:
    """Shares (…, k, n) of n areas (…, n) that lie in intersections (…, k, n); 0 of what has no area."""
    area = area[..., None, :]
    return torch.where(area > 0, intersection / area, 0.0)


def boxes_from_distances(points: Tensor, distances: Tensor, canvas: tuple[int, int] | None = None) -> Tensor:
    """
    Boxes from the distances between points and the sides around them.

    Args:
        points: (N, 2) XY.
        distances: (…, N, 4) to left, top, right, bottom, in the same pixels.
        canvas: (H, W) to which the boxes are clipped; None = no clipping.

    Returns:
        (…, N, 4) XYXY.
    """
    boxes = torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)
    return boxes if canvas is None else clip_boxes_to_image(boxes, canvas)


def distances_to_sides(points: Tensor, boxes: Tensor) -> Tensor:
    """Distances (…, 4) from points (…, 2) to the left, top, right, bottom of boxes (…, 4); negative outside."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)


def box_centers(boxes: Tensor) -> Tensor:
    """Centres (…, 2) XY of boxes (…, 4) XYXY."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


__all__ = [
    "box_areas",
    "box_centers",
    "box_intersections",
    "box_iou_matrix",
    "boxes_from_distances",
    "covered_shares",
    "distances_to_sides",
    "intersection_over_union",
]
