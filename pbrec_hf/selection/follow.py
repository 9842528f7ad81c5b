"""Masks selected by the chosen boxes, so that the box and the mask of an answer show the same object."""

from dataclasses import replace

import torch
from torch import Tensor

from ..geometry.boxes import box_iou_matrix
from ..geometry.masks import bounding_boxes, box_coverage
from ..geometry.points import grid_centers
from ..geometry.proposals import Proposals
from ..geometry.requested_masks import RequestedMasks
from .groups import Group
from .ranking import top_k_points

_NUMBERS_AT_ONCE = 2**26  # of masks in memory


def masks_at_boxes(group: Group, proposals: Proposals, rows: Tensor, same_points: bool) -> Group:
    """
    The masks that belong to the chosen boxes, cropped to them; see `cropped_masks`.

    Returns:
        One mask per expression, with the value and score of its box.
    """
    points, masks = cropped_masks(group.chosen("boxes"), group.chosen("points"), proposals, rows, same_points)
    return _following(group, points, masks)


def cropped_masks(
    boxes: Tensor, points: Tensor, proposals: Proposals, rows: Tensor, same_points: bool
) -> tuple[Tensor, Tensor]:
    """
    The masks that belong to boxes, cropped to them.

    Args:
        boxes: (n, 4) XYXY in canvas pixels.
        points: (n,) int64, of the box proposals.
        proposals: of the mask detector.
        rows: (n,) int64, the row of the proposals that belongs to each box (`Proposals.rows_of`).
        same_points: whether masks and boxes were proposed at the same points. If so, the mask at the point of the
            box is selected; otherwise the mask whose own box overlaps the box most.

    Returns:
        Their points (n,) and the masks (n, h, w).

    Raises:
        ValueError: the proposals hold no masks, or no boxes where they are needed.
    """
    if not same_points:
        overlap = box_iou_matrix(boxes[:, None], proposals.require_boxes()[rows])[:, 0]
        if proposals.valid is not None:
            overlap = overlap.masked_fill(~proposals.valid[rows], -1)
        points = overlap.argmax(-1)
    masks = proposals.require_masks().at(rows, points)
    coverage = box_coverage(boxes, proposals.canvas, (masks.shape[1], masks.shape[2])).to(masks.dtype)
    return points, coverage.mul_(masks)


def masks_in_boxes(boxes: Tensor, values: Tensor, proposals: Proposals, rows: Tensor, candidates: int) -> Tensor:
    """
    The masks that were ranked apart from boxes, one for each box: of the best that stand in it, the most similar one.

    Where none stands in a box, the nearest ones are considered.

    Args:
        boxes: (n, 4) XYXY in canvas pixels.
        values: (n, N) of `rank_proposals` for the masks; -inf = no proposal.
        proposals: of the mask detector.
        rows: (n,) int64, the row of the proposals that belongs to each box.
        candidates: how many of the best masks are computed and compared, by the boxes around them (σ > 0.5).

    Returns:
        (n, h, w) probabilities over the canvas.
    """
    if proposals.points is None:
        places = grid_centers(proposals.grids, proposals.canvas, boxes.device)[None]
    else:
        places = proposals.points[rows]
    outside = torch.maximum(boxes[:, None, :2] - places, places - boxes[:, None, 2:]).clamp(min=0).sum(dim=-1)
    # All inside are better than any outside, and these are the better the nearer; the others are not there.
    known = values > -torch.inf
    order = torch.where(outside == 0, values, -1 - outside).masked_fill(~known, -torch.inf)
    best, points = top_k_points(order, candidates)
    inside = (best >= 0) | ~(best >= 0).any(dim=1, keepdim=True) & (best > -torch.inf)
    chosen: list[Tensor] = []
    start, step = 0, 1
    while start < len(boxes):
        some = slice(start, start + step)
        listed = points[some]
        masks = proposals.require_masks().at(rows[some, None].expand_as(listed).flatten(), listed.flatten())
        masks = masks.view(*listed.shape, *masks.shape[1:])
        height, width = masks.shape[-2:]
        scale = boxes.new_tensor([proposals.canvas[1] / width, proposals.canvas[0] / height] * 2)
        overlap = box_iou_matrix(boxes[some, None], bounding_boxes(masks > 0.5) * scale)[:, 0]
        overlap = overlap.masked_fill(~inside[some], -1)
        winner = (overlap == overlap.amax(dim=1, keepdim=True)).int().argmax(dim=1)
        chosen.append(masks[torch.arange(len(masks), device=masks.device), winner])
        start += len(masks)
        step = max(1, _NUMBERS_AT_ONCE // masks[0].numel())  # known since the first
    return torch.cat(chosen)


def masks_of_boxes(group: Group, requested: RequestedMasks, image_index: Tensor) -> Group:
    """
    The masks that a network makes of the chosen boxes.

    Args:
        group: of boxes.
        requested: makes them.
        image_index: (E,) int64, the picture of each expression.

    Returns:
        One mask per expression, with the value, score and point of its box; empty where no box was found.
    """
    boxes, found = group.chosen("boxes"), group.score > -torch.inf
    masks = boxes.new_zeros(len(boxes), *requested.canvas)
    if found.any():
        masks[found] = requested.of_boxes(image_index.to(found.device)[found], boxes[found]).to(masks)
    return replace(_following(group, group.chosen("points"), masks), source="prompt")


def _following(group: Group, points: Tensor, masks: Tensor) -> Group:
    return Group(
        values=group.chosen("values")[:, None],
        points=points[:, None],
        winner=torch.zeros_like(group.winner),
        score=group.score,
        masks=masks[:, None],
    )


__all__ = ["cropped_masks", "masks_at_boxes", "masks_in_boxes", "masks_of_boxes"]
