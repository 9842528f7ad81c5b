"""The vote (equation 7): of the best k proposals, the one that the others overlap most.

Pure functions over tensors, batched over expressions. Ties go to the lower index, on every device.
"""

from typing import Any

import torch
from torch import Tensor

from ..geometry.boxes import box_iou_matrix
from ..geometry.masks import mask_iou_matrix
from ..geometry.proposals import Proposals
from .groups import Group, best_agreeing
from .ranking import top_k_points


def select_by_overlap(iou: Tensor, valid: Tensor | None = None) -> Tensor:
    """
    The proposal with the largest summed IoU with the others (equation 7), the first one in a tie.

    The IoU of a proposal with itself is excluded: it adds the same 1 to every sum, except for proposals without area.

    Args:
        iou: (E, k, k), proposals in descending rank.
        valid: bool (E, k), the proposals that exist; others neither vote nor win. None = all.

    Returns:
        int64 (E,) index into k; 0 where nothing overlaps or nothing is valid.
    """
    iou = iou * (1 - torch.eye(iou.shape[-1], dtype=iou.dtype, device=iou.device))
    if valid is not None:
        iou = iou * (valid[:, :, None] & valid[:, None, :])
    votes = iou.sum(dim=-1)
    if valid is not None:
        votes = votes.masked_fill(~valid, -1)
    # Ties go to the lower index: argmax returns the first of the entries equal to the maximum.
    return (votes == votes.amax(dim=-1, keepdim=True)).int().argmax(dim=-1)


def choose_boxes(values: Tensor, proposals: Proposals, rows: Tensor, top_k: int) -> Group:
    """
    Select a box for each expression by vote.

    Args:
        values: (E, N) of `rank_proposals`.
        proposals: with boxes.
        rows: (E,) int64, the row of the proposals that belongs to each expression (`Proposals.rows_of`).
        top_k: number of boxes that vote.

    Returns:
        The voting boxes and the answer among them.

    Raises:
        ValueError: the proposals hold no boxes, or `top_k` is not positive.
    """
    best, points = top_k_points(values, top_k)
    boxes = proposals.require_boxes()[rows[:, None], points]
    return _vote(best, points, box_iou_matrix(boxes), boxes=boxes, ranking=values)


def choose_masks(values: Tensor, proposals: Proposals, rows: Tensor, top_k: int) -> Group:
    """The same for masks: only those of the best k points are computed, and they vote as binary masks (σ > 0.5)."""
    best, points = top_k_points(values, top_k)
    masks = proposals.require_masks().at(rows[:, None].expand_as(points).flatten(), points.flatten())
    masks = masks.view(*points.shape, *masks.shape[1:])
    return _vote(best, points, mask_iou_matrix(masks > 0.5), masks=masks, ranking=values)


def _vote(values: Tensor, points: Tensor, iou: Tensor, **proposed: Any) -> Group:
    winner = select_by_overlap(iou, values > -torch.inf)
    overlap = iou[torch.arange(values.shape[0], device=values.device), winner]
    return Group(values, points, winner, best_agreeing(values, overlap, winner), **proposed)


__all__ = ["choose_boxes", "choose_masks", "select_by_overlap"]
