"""How good are the masks that a detector proposes? Measured against every annotated object, without any selection.

For each object: the best IoU among all proposed masks (the oracle), and the IoU of the mask of the point nearest the
object's centre of mass, which is what a perfect choice of the point would give; of several grids' nearest points, the
one of the best quality. IoU is counted in pixels of two by two.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from ...geometry.points import grid_points
from ...geometry.proposals import Proposals
from .solo_targets import centers_of_mass, shrink_masks

MASKS_AT_A_TIME = 128


@torch.no_grad()
def mask_quality(detector, items: Iterable[dict], threshold: float = 0.5) -> dict[str, float]:
    """Means over all objects, and over the large ones (area at least 1 % of the canvas): {"best", "center", …}.

    Args:
        detector: anything with `propose` that offers masks.
        items: canvases with "pixel_values" (3, H, W), "masks" (G, H, W) bool.
        threshold: mask probability from which a pixel belongs to a mask.
    """
    best, center, large = [], [], []
    for item in items:
        masks = item["masks"]
        if not len(masks):
            continue
        pixels = item["pixel_values"].to(detector.device)
        proposals = detector.propose(pixels[None])
        small = shrink_masks(masks, 2)
        iou = torch.cat([_iou(drawn, small) for drawn in _all_masks(proposals, small.shape[-2:], threshold)])
        own = _points_at_centers(proposals, masks)
        best.append(iou.amax(0))
        center.append(iou[own, torch.arange(len(masks))])
        large.append(masks.flatten(1).float().mean(1) >= 0.01)
    best, center, large = torch.cat(best), torch.cat(center), torch.cat(large)
    return {
        "objects": len(best),
        "best": best.mean().item(),
        "center": center.mean().item(),
        "large_objects": int(large.sum()),
        "best_large": best[large].mean().item(),
        "center_large": center[large].mean().item(),
    }


def _all_masks(proposals: Proposals, size: tuple[int, int], threshold: float) -> Iterator[Tensor]:
    """Every mask (n, *size) bool, some at a time."""
    for index in torch.arange(proposals.num_points, device=proposals.masks.features.device).split(MASKS_AT_A_TIME):
        drawn = proposals.masks.at(torch.zeros_like(index), index)[:, None]
        yield (F.interpolate(drawn, size, mode="bilinear", align_corners=False)[:, 0] > threshold).cpu()


def _points_at_centers(proposals: Proposals, masks: Tensor) -> Tensor:
    """(G,) int64: of the points nearest an object's centre of mass, one of each grid, the one of the best quality."""
    centers = torch.stack(centers_of_mass(masks), dim=-1) + 0.5
    nearest, first = [], 0
    for rows, cols in proposals.grids:
        points = grid_points(rows, cols, proposals.canvas[0] / rows)
        nearest.append(torch.cdist(centers, points).argmin(1) + first)
        first += rows * cols
    nearest = torch.stack(nearest)
    if proposals.quality is None:
        return nearest[0]
    best = proposals.quality[0].cpu()[nearest].argmax(0)
    return nearest.gather(0, best[None])[0]


def _iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU (n, m) of masks (n, H, W) and (m, H, W) bool."""
    first, second = first.flatten(1).float(), second.flatten(1).float()
    intersection = first @ second.T
    return intersection / (first.sum(1)[:, None] + second.sum(1)[None] - intersection).clamp(min=1)


__all__ = ["mask_quality"]
