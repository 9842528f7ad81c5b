"""SOLO's training targets: which cell of which level is responsible for an object, and the mask it should give.

An object belongs to every level whose scale range holds the square root of its box's area. The cells under the middle
of the object (its centre of mass ± half of `center_region` of the box, at most one cell to each side) carry its class
and its mask. Later objects overwrite earlier ones; empty masks are skipped. Pure functions over the objects of one
image, in canvas pixels. Source: SOLO (arXiv 1912.04488) and its public implementations, whose numbers these are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass
class SoloTargets:
    """
    Targets of one level of one image.

    Attributes:
        labels: (S, S) int64, the class of each cell, `num_classes` for background.
        positive: (S·S,) bool, the cells that own an object.
        masks: (n, h, w) bool, the masks of the positive cells, in the order of their index.
    """

    labels: Tensor
    positive: Tensor
    masks: Tensor


def shrink_masks(masks: Tensor, factor: int) -> Tensor:
    """
    Masks (G, H, W) bool or uint8 at 1/`factor` of their size, bool: bilinear without antialiasing, half rounds up.

    For even factors this is the middle 2×2 of every block, at least two of the four set: what OpenCV's bilinear resize
    of uint8 masks gives.

    Raises:
        ValueError: a side is no multiple of `factor`.
    """
    height, width = masks.shape[-2:]
    if height % factor or width % factor:
        raise ValueError(
            f"Masks of {height}×{width} pixels cannot be divided by {factor}: pad them to a multiple of {factor}."
        )
    size = (height // factor, width // factor)
    return F.interpolate(masks[:, None].float(), size, mode="bilinear", align_corners=False)[:, 0] >= 0.5


def centers_of_mass(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Centres of mass, x and y (G,), of masks (G, H, W): means of 0-based pixel indices, NaN for an empty mask."""
    masks = masks.float()
    area = masks.sum((1, 2))
    y = (masks.sum(2) @ torch.arange(masks.shape[1], dtype=masks.dtype, device=masks.device)) / area
    x = (masks.sum(1) @ torch.arange(masks.shape[2], dtype=masks.dtype, device=masks.device)) / area
    return x, y


def solo_targets(
    boxes: Tensor,
    labels: Tensor,
    masks: Tensor,
    num_classes: int,
    strides: Sequence[int],
    num_grids: Sequence[int],
    scale_ranges: Sequence[Sequence[float]],
    center_region: float,
) -> list[SoloTargets]:
    """
    Targets of every level for the G objects of one image.

    Args:
        boxes: (G, 4) XYXY in canvas pixels.
        labels: (G,) int64 classes from 0.
        masks: (G, H, W) bool or uint8 on the canvas.
        num_classes, strides, num_grids, scale_ranges, center_region: of the detector, see `SoloConfig`.
    """
    height, width = masks.shape[-2:]
    x, y = centers_of_mass(masks)
    box_width, box_height = (boxes[:, 2:] - boxes[:, :2]).unbind(-1)
    scale = (box_width * box_height).sqrt()
    drawn = masks.flatten(1).any(1)
    targets = []
    for stride, grid, (low, high) in zip(strides, num_grids, scale_ranges, strict=True):
        chosen = (drawn & (scale >= low) & (scale <= high)).nonzero().squeeze(1)
        inside = _middle_cells(y[chosen], box_height[chosen] * center_region / 2, height, grid)[:, :, None]
        inside = inside & _middle_cells(x[chosen], box_width[chosen] * center_region / 2, width, grid)[:, None, :]
        # The last object that covers a cell owns it; 0 = nobody.
        rank = torch.arange(1, len(chosen) + 1, device=masks.device)
        owner = torch.cat([rank.new_zeros(1, grid, grid), inside * rank[:, None, None]]).amax(0)
        positive = owner.flatten() > 0
        cell_labels = torch.cat([labels.new_full((1,), num_classes), labels[chosen]])[owner]
        small = shrink_masks(masks[chosen], stride // 2)
        targets.append(SoloTargets(cell_labels, positive, small[owner.flatten()[positive] - 1]))
    return targets


def _middle_cells(center: Tensor, reach: Tensor, side: int, grid: int) -> Tensor:
    """(G, grid) bool: cells along one axis within `reach` of `center`, at most one from the centre's own cell."""

    def cell(position: Tensor) -> Tensor:
        return (position * grid / side).floor()

    own = cell(center)
    first = torch.maximum(cell(center - reach), own - 1)[:, None]
    last = torch.minimum(cell(center + reach), own + 1)[:, None]
    cells = torch.arange(grid, device=center.device)
    return (cells >= first) & (cells <= last)


__all__ = ["SoloTargets", "centers_of_mass", "shrink_masks", "solo_targets"]
