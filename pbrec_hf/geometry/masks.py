"""Masks over a canvas: overlap, tight boxes, centroids, rasterised boxes. Pure functions over tensors."""

import torch
from torch import Tensor

from .boxes import intersection_over_union


def mask_iou_matrix(masks: Tensor, others: Tensor | None = None) -> Tensor:
    """
    Pairwise IoU of binary masks. An empty mask overlaps nothing.

    Args:
        masks: (…, k, h, w), 0 or 1.
        others: (…, n, h, w); None = `masks` themselves.

    Returns:
        float32 (…, k, n) in [0, 1].
    """
    intersection, area, other_area = mask_intersections(masks, others)
    return intersection_over_union(intersection, area, other_area)


def mask_intersections(masks: Tensor, others: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (…, k, n) that binary masks share, as in `mask_iou_matrix`, and those (…, k) and (…, n) of each."""
    flat = masks.flatten(-2).float()
    other = flat if others is None else others.flatten(-2).float()
    return flat @ other.transpose(-1, -2), flat.sum(dim=-1), other.sum(dim=-1)


def bounding_boxes(masks: Tensor) -> Tensor:
    """Tight boxes float32 (…, 4) XYXY around the outer pixel edges of masks (…, H, W); zeros for an empty mask."""
    sides = []
    for axis in (-2, -1):
        line = (masks != 0).any(dim=axis)  # columns, then rows, that show anything
        length = line.shape[-1]
        first = line.int().argmax(dim=-1)
        last = length - line.flip(-1).int().argmax(dim=-1)
        sides.append((first, torch.where(line.any(dim=-1), last, 0)))
    (left, right), (top, bottom) = sides
    return torch.stack((left, top, right, bottom), dim=-1).float()


def mask_centroids(masks: Tensor, canvas: tuple[int, int]) -> Tensor:
    """
    Centroids of binary masks (equation 3).

    Args:
        masks: (…, h, w) over the canvas, 0 or 1.
        canvas: (H, W) in pixels.

    Returns:
        float32 (…, 2) XY in canvas pixels; the middle of the canvas for an empty mask.
    """
    # Integers: sums of more than 2**24 pixels are not exact in float32.
    columns, rows = (masks.sum(dim=axis, dtype=torch.int64).double() for axis in (-2, -1))
    middles = []
    for weight, side in ((columns, canvas[1]), (rows, canvas[0])):
        cells = weight.shape[-1]
        pixel = (torch.arange(cells, device=weight.device, dtype=torch.float64) + 0.5) * (side / cells)
        count = weight.sum(dim=-1)
        middles.append(torch.where(count > 0, weight @ pixel / count.clamp(min=1), side / 2))
    return torch.stack(middles, dim=-1).float()


def rasterized_box(box: Tensor, height: int, width: int) -> Tensor:
    """Mask bool (height, width) of every pixel that a box (4,) XYXY touches."""
    mask = torch.zeros(height, width, dtype=torch.bool)
    left, top = box[:2].floor().int().tolist()
    right, bottom = box[2:].ceil().int().tolist()
    mask[max(top, 0) : bottom, max(left, 0) : right] = True
    return mask


def box_coverage(boxes: Tensor, canvas: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """
    Share of each cell of a grid over the canvas that each box covers.

    Args:
        boxes: (n, 4) XYXY in canvas pixels.
        canvas: (H, W) in pixels.
        size: (rows, cols) of the grid.

    Returns:
        (n, rows, cols) in [0, 1].
    """
    shares = []
    for side in (0, 1):
        cell = canvas[1 - side] / size[1 - side]
        start = torch.arange(size[1 - side], dtype=boxes.dtype, device=boxes.device) * cell
        low, high = boxes[:, side, None], boxes[:, side + 2, None]
        shares.append((torch.minimum(high, start + cell) - torch.maximum(low, start)).clamp(min=0) / cell)
    return shares[1][:, :, None] * shares[0][:, None, :]


__all__ = [
    "bounding_boxes",
    "box_coverage",
    "mask_centroids",
    "mask_intersections",
    "mask_iou_matrix",
    "rasterized_box",
]
