"""Center-ness of points relative to boxes (equations 1 and 2): how central a point is to a box.

Read in two places: as the target that the comprehension stage learns, and by `selection/fit.py`, which compares it
with the map that was learned. Pure functions over tensors in pixels of one frame.
"""

import torch
from torch import Tensor

from .boxes import box_centers, distances_to_sides

CENTER_RADIUS = 1.5  # half the side of the central square, in strides


def centerness(points: Tensor, boxes: Tensor) -> Tensor:
    """
    sqrt(min(l, r) / max(l, r) · min(t, b) / max(t, b)), equation 1; 0 outside the box.

    The paper's formula is positive where a point lies outside on both axes; this is 0 there.

    Args:
        points: (P, 2) XY, or (E, P, 2), those of each box.
        boxes: (E, 4) XYXY.

    Returns:
        (E, P) in [0, 1].
    """
    start, end = distances_to_sides(points, boxes[:, None]).split(2, dim=-1)
    smaller, larger = torch.minimum(start, end).clamp(min=0), torch.maximum(start, end)
    ratio = torch.where(larger > 0, smaller / larger, 0.0)
    return ratio.prod(dim=-1).sqrt()


def central_centerness(points: Tensor, boxes: Tensor, stride: float) -> Tensor:
    """Equation 2: `centerness` within 1.5 strides of the box's centre along both axes, 0 elsewhere."""
    near = ((points - box_centers(boxes)[:, None]).abs() <= CENTER_RADIUS * stride).all(dim=-1)
    return centerness(points, boxes) * near


def centerness_at(points: Tensor, boxes: Tensor, stride: float) -> Tensor:
    """
    Equation 2 at points that stand anywhere; a box in which no point qualifies has 1 at the nearest one.

    Computed in double precision, so that training targets do not depend on the device.

    Args:
        points: (P, 2) XY, or (E, P, 2), those of each box.
        boxes: (E, 4) XYXY.
        stride: width of a cell, in the same pixels.

    Returns:
        float32 (E, P) in [0, 1].
    """
    points, boxes = points.double(), boxes.double()
    return repaired(central_centerness(points, boxes, stride), points, box_centers(boxes))[0]


def repaired(targets: Tensor, points: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """
    Give every row a positive point.

    Args:
        targets: (E, P).
        points: (P, 2) or (E, P, 2) XY.
        centers: (E, 2) XY of the objects.

    Returns:
        float32 (E, P) with 1 at the point nearest to the centre in rows without any positive one; bool (E,), which.
    """
    empty = ~(targets > 0).any(dim=1)
    nearest = (points - centers[:, None]).norm(dim=-1).argmin(dim=1)
    targets = targets.float()
    targets[empty, nearest[empty]] = 1
    return targets, empty


__all__ = ["CENTER_RADIUS", "centerness", "centerness_at", "central_centerness", "repaired"]
