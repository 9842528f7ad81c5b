"""How proposals of the same expression overlap: of boxes where it is asked, of masks all at once.

The repeated selection (`rounds.py`) asks both in one way. Pure functions over tensors, batched over expressions.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..geometry.boxes import box_areas, box_intersections, covered_shares, intersection_over_union
from ..geometry.masks import mask_intersections
from ..geometry.proposed_masks import ProposedMasks

_NUMBERS_AT_ONCE = 2**26  # of masks in memory


class Overlaps(Protocol):
    """Overlap of n proposals of each of E expressions."""

    def of(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """IoU (E, n) of each proposal with the one at `index` (E,), and the share (E, n) of it which that covers."""

    def among(self, index: Tensor) -> Tensor:
        """IoU (E, k, k) of the proposals at `index` (E, k)."""


@dataclass
class BoxOverlaps:
    """
    Overlap of boxes, computed when asked for: n may be thousands.

    Args:
        boxes: (E, n, 4) XYXY.
    """

    boxes: Tensor

    def of(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """See [`Overlaps`]."""
        one = self._at(index[:, None])
        shared, areas = box_intersections(one, self.boxes), box_areas(self.boxes)
        return intersection_over_union(shared, box_areas(one), areas)[:, 0], covered_shares(shared, areas)[:, 0]

    def among(self, index: Tensor) -> Tensor:
        """See [`Overlaps`]."""
        some = self._at(index)
        areas = box_areas(some)
        return intersection_over_union(box_intersections(some, some), areas, areas)

    def _at(self, index: Tensor) -> Tensor:
        return self.boxes.gather(1, index[..., None].expand(-1, -1, 4))


@dataclass
class MaskOverlaps:
    """
    Overlap of masks: all pairs, so that no mask has to be kept.

    Args:
        iou: (E, n, n).
        covered: (E, n, n), entry (e, i, j) is the share of mask j that mask i covers.
    """

    iou: Tensor
    covered: Tensor

    @classmethod
    def measured(cls, masks: ProposedMasks, rows: Tensor, points: Tensor) -> "MaskOverlaps":
        """
        Compute masks, some expressions at a time, and compare them as binary masks (σ > 0.5).

        Args:
            masks: of the proposals.
            rows: (E,) int64, the row of the proposals that belongs to each expression.
            points: (E, n) int64, those to compare.
        """
        iou, covered = [], []
        count, step = points.shape[1], 1
        start = 0
        while start < len(points):
            some = points[start : start + step]
            made = masks.at(rows[start : start + step, None].expand_as(some).flatten(), some.flatten()) > 0.5
            shared, areas, _ = mask_intersections(made.view(*some.shape, *made.shape[1:]))
            iou.append(intersection_over_union(shared, areas, areas))
            covered.append(covered_shares(shared, areas))
            start += len(some)
            step = max(1, _NUMBERS_AT_ONCE // (count * made[0].numel()))  # known since the first
        if not iou:
            nothing = torch.zeros(0, count, count, dtype=torch.float32, device=points.device)
            return cls(nothing, nothing)
        return cls(torch.cat(iou), torch.cat(covered))

    def of(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """See [`Overlaps`]."""
        rows = torch.arange(len(index), device=index.device)
        return self.iou[rows, index], self.covered[rows, index]

    def among(self, index: Tensor) -> Tensor:
        """See [`Overlaps`]."""
        rows = torch.arange(len(index), device=index.device)[:, None, None]
        return self.iou[rows, index[:, :, None], index[:, None, :]]


__all__ = ["BoxOverlaps", "MaskOverlaps", "Overlaps"]
