"""Center-ness of points relative to boxes (equations 1 and 2): how close a point is to the centre of a box.

The comprehension stage learns it as its target, and `selection/fit.py` compares it with the predicted map. Pure
functions over tensors in pixels of one frame.
"""

import torch
from torch import Tensor

from .boxes import box_centers, distances_to_sides

CENTER_RADIUS = 1.5  # half the side of the central square, in strides


def centerness(points: Tensor, boxes: Tensor) -> Tensor:
    """
    Center-ness, equation 1: sqrt(min(l, r) / max(l, r) · min(t, b) / max(t, b)), and 0 outside the box.

    As printed, equation 1 is positive for a point outside on both axes; this returns 0 there.

    Args:
        points: (P, 2) XY, or (E, P, 2), one set per box.
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
    Equation 2 at arbitrary points; where no point qualifies for a box, the nearest one gets 1.

    Computed in double precision where the device has it, so that training targets do not depend on the device.

    Args:
        points: (P, 2) XY, or (E, P, 2), one set per box.
        boxes: (E, 4) XYXY.
        stride: width of a cell, in the same pixels.

    Returns:
        float32 (E, P) in [0, 1].
    """
    wide = torch.float32 if points.device.type == "mps" else torch.float64
    points, boxes = points.to(wide), boxes.to(wide)
    return ensure_positive(central_centerness(points, boxes, stride), points, box_centers(boxes))[0]


def ensure_positive(targets: Tensor, points: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """
    Give every row at least one positive point.

    Args:
        targets: (E, P).
        points: (P, 2) or (E, P, 2) XY.
        centers: (E, 2) XY of the objects.

    Returns:
        targets: float32 (E, P), with 1 at the point nearest to the centre in rows that had no positive point.
        repaired: bool (E,), those rows.
    """
    empty = ~(targets > 0).any(dim=1)
    nearest = (points - centers[:, None]).norm(dim=-1).argmin(dim=1)
    repaired = torch.arange(targets.shape[1], device=targets.device) == nearest[:, None]
    return targets.float().masked_fill(repaired & empty[:, None], 1.0), empty


__all__ = ["CENTER_RADIUS", "centerness", "centerness_at", "central_centerness", "ensure_positive"]
