"""How good are the masks that a detector proposes? Measured against every annotated object, without any selection.

For each object: the best IoU among all proposed masks (the oracle), and the IoU of the mask of the point nearest the
object's centre of mass, which is what a perfect choice of the point would give.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from ...points_pbrec import grid_points
from .solo_targets import centers_of_mass


@torch.no_grad()
def mask_quality(detector, items: Iterable[dict], threshold: float = 0.5) -> dict[str, float]:
    """Means over all objects, and over the large ones (area at least 1 % of the canvas): {"best", "center", …}.

    Args:
        detector: anything with `propose` that offers masks on one grid.
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
        index = torch.arange(proposals.num_points, device=detector.device)
        drawn = proposals.masks.at(torch.zeros_like(index), index)
        drawn = F.interpolate(drawn[:, None], masks.shape[-2:], mode="bilinear", align_corners=False)[:, 0] > threshold
        iou = _iou(drawn.cpu(), masks)
        (rows, cols), height = proposals.grids[0], masks.shape[-2]
        points = grid_points(rows, cols, height / rows)
        own = torch.cdist(torch.stack(centers_of_mass(masks), dim=-1) + 0.5, points).argmin(1)
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


def _iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU (n, m) of masks (n, H, W) and (m, H, W) bool."""
    first, second = first.flatten(1).float(), second.flatten(1).float()
    intersection = first @ second.T
    return intersection / (first.sum(1)[:, None] + second.sum(1)[None] - intersection).clamp(min=1)


__all__ = ["mask_quality"]
