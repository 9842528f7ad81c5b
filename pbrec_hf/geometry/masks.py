"""Masks over a canvas: overlap, boxes around them, boxes filled. Pure functions over tensors."""

import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes

from .boxes import intersection_over_union


def mask_iou_matrix(masks: Tensor, others: Tensor | None = None) -> Tensor:
    """
    IoU of each binary mask (…, k, h, w) with each of `others` (…, n, h, w), by default themselves: (…, k, n).

    Empty masks overlap nothing.
    """
    flat = masks.flatten(-2).float()
    other = flat if others is None else others.flatten(-2).float()
    return intersection_over_union(flat @ other.transpose(-1, -2), flat.sum(dim=-1), other.sum(dim=-1))


def bounding_boxes(masks: Tensor) -> Tensor:
    """Tight boxes (n, 4) XYXY of masks (n, H, W) that are not empty, around the outer edges of their pixels."""
    boxes = masks_to_boxes(masks)
    return boxes + boxes.new_tensor([0, 0, 1, 1])  # pixel indices to edges


def filled(box: Tensor, height: int, width: int) -> Tensor:
    """A mask bool (height, width) of all pixels that a box (4,) XYXY touches."""
    mask = torch.zeros(height, width, dtype=torch.bool)
    left, top = box[:2].floor().int().tolist()
    right, bottom = box[2:].ceil().int().tolist()
    mask[max(top, 0) : bottom, max(left, 0) : right] = True
    return mask


def box_coverage(boxes: Tensor, canvas: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """How much of each cell of a grid of `size` (rows, cols) over the canvas a box (n, 4) covers: (n, rows, cols)."""
    shares = []
    for side in (0, 1):
        cell = canvas[1 - side] / size[1 - side]
        start = torch.arange(size[1 - side], device=boxes.device) * cell
        low, high = boxes[:, side, None], boxes[:, side + 2, None]
        shares.append((torch.minimum(high, start + cell) - torch.maximum(low, start)).clamp(min=0) / cell)
    return shares[1][:, :, None] * shares[0][:, None, :]


__all__ = ["bounding_boxes", "box_coverage", "filled", "mask_iou_matrix"]
