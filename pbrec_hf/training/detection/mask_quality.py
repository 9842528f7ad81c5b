"""How good are the masks that a detector proposes? Measured against every annotated object, without any selection.

For each object: the best IoU among all proposed masks (the oracle), and the IoU of the mask at the point nearest the
object's centre of mass, which is what a perfect choice of the point would give; of the nearest points of several
grids, the one of the best quality. IoU is counted in pixels of two by two. Where proposals have boxes, masks whose box
hardly overlaps an object's are not drawn, and count as empty.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from ...geometry.masks import mask_iou_matrix
from ...geometry.points import grid_points
from ...geometry.proposals import Proposals
from .instance_augmentation import DetectorInputs
from .solo_targets import centers_of_mass, shrink_masks

MASKS_AT_A_TIME = 128
LEAST_OVERLAP = 0.1  # of the boxes of a mask and an object, as IoU
LARGE = 0.01  # share of the canvas from which an object is large


class MaskSource(Protocol):
    """A detector on a device that proposes masks."""

    @property
    def device(self) -> torch.device:
        """Where canvases must be."""

    def propose(self, pixel_values: Tensor) -> Proposals:
        """Proposals of canvases (I, 3, H, W), with masks."""


@torch.no_grad()
def mask_quality(detector: MaskSource, items: Iterable[DetectorInputs], threshold: float = 0.5) -> dict[str, float]:
    """
    Means over all objects, and over the large ones.

    Args:
        detector: proposes the masks.
        items: canvases with their objects.
        threshold: mask probability from which a pixel belongs to a mask.

    Returns:
        {"objects", "best", "center", "large_objects", "best_large", "center_large"}: numbers of objects, and mean IoUs
        of the best mask and of the one at the object's centre.
    """
    bests: list[Tensor] = []
    centers: list[Tensor] = []
    larges: list[Tensor] = []
    for item in items:
        masks = item["masks"]
        if not len(masks):
            continue
        proposals = detector.propose(item["pixel_values"].to(detector.device)[None])
        small = shrink_masks(masks, 2)
        height, width = small.shape[-2:]
        middles = _points_at_centers(proposals, masks)
        points = torch.cat((_points_near(proposals, item["boxes"]), middles)).unique()
        iou = torch.zeros(proposals.num_points, len(masks))
        drawn = _masks_at(proposals, points, (height, width), threshold)
        iou[points] = torch.cat([mask_iou_matrix(some, small) for some in drawn])
        bests.append(iou.amax(0))
        centers.append(iou[middles, torch.arange(len(masks))])
        larges.append(masks.flatten(1).float().mean(1) >= LARGE)
    best, center, large = torch.cat(bests), torch.cat(centers), torch.cat(larges)
    return {
        "objects": len(best),
        "best": best.mean().item(),
        "center": center.mean().item(),
        "large_objects": int(large.sum()),
        "best_large": best[large].mean().item(),
        "center_large": center[large].mean().item(),
    }


def _points_near(proposals: Proposals, boxes: Tensor) -> Tensor:
    """int64 (n,), the points whose box overlaps any of `boxes` (G, 4) by enough; all, if proposals have no boxes."""
    if proposals.boxes is None:
        return torch.arange(proposals.num_points)
    return (box_iou(proposals.boxes[0].cpu(), boxes).amax(1) >= LEAST_OVERLAP).nonzero().squeeze(1)


def _masks_at(proposals: Proposals, points: Tensor, size: tuple[int, int], threshold: float) -> Iterator[Tensor]:
    """The masks (n, *size) bool of some points, some at a time."""
    assert proposals.masks is not None
    for index in points.to(proposals.masks.device).split(MASKS_AT_A_TIME):
        drawn = proposals.masks.at(torch.zeros_like(index), index)[:, None]
        yield (F.interpolate(drawn, size, mode="bilinear", align_corners=False)[:, 0] > threshold).cpu()


def _points_at_centers(proposals: Proposals, masks: Tensor) -> Tensor:
    """(G,) int64: of the points nearest an object's centre of mass, one of each grid, the one of the best quality."""
    centers = torch.stack(centers_of_mass(masks), dim=-1) + 0.5
    if proposals.points is not None:
        return torch.cdist(centers, proposals.points[0].cpu()).argmin(1)
    nearest, first = [], 0
    for rows, cols in proposals.grids:
        points = grid_points(rows, cols, proposals.canvas[0] / rows)
        nearest.append(torch.cdist(centers, points).argmin(1) + first)
        first += rows * cols
    candidates = torch.stack(nearest)
    if proposals.quality is None:
        return candidates[0]
    best = proposals.quality[0].cpu()[candidates].argmax(0)
    return candidates.gather(0, best[None])[0]


__all__ = ["mask_quality"]
