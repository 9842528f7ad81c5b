"""Which point of a point-based detector is responsible for which object.

Two rules, each a pure function over one image. FCOS (arXiv 2006.09214): points in the middle of a box, the smallest
box wins. ATSS (arXiv 1912.02424): the points nearest the middle whose anchors overlap well enough, with a threshold
from their own statistics. Everything in canvas pixels.
"""

import torch
from torch import Tensor
from torchvision.ops import box_area, box_iou

from ...geometry.boxes import box_centers, distances_to_sides

BACKGROUND = -1


def assign_by_center(points: Tensor, boxes: Tensor, radius: float) -> Tensor:
    """
    The object of each point by FCOS's rule.

    Args:
        points: (P, 2) XY.
        boxes: (G, 4) XYXY.
        radius: a point is also within this distance, along both axes, of the middle of its box.

    Returns:
        int64 (P,), indices of objects or BACKGROUND.
    """
    if not len(boxes):
        return torch.full((len(points),), BACKGROUND, device=points.device)
    inside = distances_to_sides(points[:, None], boxes[None]).amin(-1) > 0
    inside &= (points[:, None] - box_centers(boxes)[None]).abs().amax(-1) < radius
    area, owner = torch.where(inside, box_area(boxes)[None], torch.inf).min(1)
    return torch.where(area.isfinite(), owner, BACKGROUND)


def assign_by_atss(
    points: Tensor, strides: Tensor, boxes: Tensor, candidates: int = 9, anchor_scale: float = 5.0
) -> Tensor:
    """
    The object of each point by ATSS; where several claim a point, the best overlap wins.

    Args:
        points: (P, 2) XY of all levels.
        strides: (P,) of each point; points of one stride are a level.
        boxes: (G, 4) XYXY.
        candidates: nearest points per object and level.
        anchor_scale: side of a point's square anchor, in strides.

    Returns:
        int64 (P,), indices of objects or BACKGROUND.
    """
    if not len(boxes):
        return torch.full((len(points),), BACKGROUND, device=points.device)
    half = strides[:, None] * anchor_scale / 2
    overlap = box_iou(torch.cat([points - half, points + half], dim=1), boxes)
    to_middle = torch.cdist(points, box_centers(boxes))
    near = torch.zeros_like(overlap, dtype=torch.bool)
    for stride in strides.unique():
        level = (strides == stride).nonzero().squeeze(1)
        nearest = to_middle[level].topk(min(candidates, len(level)), dim=0, largest=False).indices
        near.scatter_(0, level[nearest], True)
    # Every object has equally many candidates, so each column of the masked overlaps is full.
    of_candidates = overlap.T[near.T].view(len(boxes), -1)
    threshold = of_candidates.mean(1) + of_candidates.std(1)
    inside = distances_to_sides(points[:, None], boxes[None]).amin(-1) > 0
    best, owner = torch.where(near & (overlap >= threshold) & inside, overlap, BACKGROUND).max(1)
    return torch.where(best >= 0, owner, BACKGROUND)


__all__ = ["BACKGROUND", "assign_by_atss", "assign_by_center"]
