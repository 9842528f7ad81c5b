"""Masks selected by the chosen boxes, so that the box and the mask of an answer show the same object."""

from dataclasses import replace

import torch
from torch import Tensor

from ..geometry.boxes import box_iou_matrix
from ..geometry.masks import box_coverage
from ..geometry.proposals import Proposals
from ..geometry.requested_masks import RequestedMasks
from .groups import Group


def masks_at_boxes(group: Group, proposals: Proposals, rows: Tensor, same_points: bool) -> Group:
    """
    The masks that belong to the chosen boxes, cropped to them.

    Args:
        group: of boxes.
        proposals: of the mask detector.
        rows: (E,) int64, the row of the proposals that belongs to each expression (`Proposals.rows_of`).
        same_points: whether masks and boxes were proposed at the same points. If so, the mask at the point of the
            chosen box is selected; otherwise the mask whose own box overlaps the chosen box most.

    Returns:
        One mask per expression, with the value and score of its box.

    Raises:
        ValueError: the proposals hold no masks, or no boxes where they are needed.
    """
    points, boxes = group.chosen("points"), group.chosen("boxes")
    if not same_points:
        overlap = box_iou_matrix(boxes[:, None], proposals.require_boxes()[rows])[:, 0]
        if proposals.valid is not None:
            overlap = overlap.masked_fill(~proposals.valid[rows], -1)
        points = overlap.argmax(-1)
    masks = proposals.require_masks().at(rows, points)
    masks = masks * box_coverage(boxes, proposals.canvas, (masks.shape[1], masks.shape[2]))
    return _following(group, points, masks)


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


__all__ = ["masks_at_boxes", "masks_of_boxes"]
