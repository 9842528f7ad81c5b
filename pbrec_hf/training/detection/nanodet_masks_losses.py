"""Losses of the light mask head: dice and binary cross-entropy of the masks of positive points.

Targets are SOLO's, on the one grid of stride 16, with the mask at a quarter of the canvas. Without a positive point
the losses are zero and finite.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ...detection_nanodet_masks import NanoDetMasksConfig, NanoDetMasksOutput
from ...dynamic_masks_pbrec import mask_logits, points_of_grid
from .solo_losses import dice_loss
from .solo_targets import SoloTargets, solo_targets

# A quarter of the canvas is what a SOLO level of stride 8 draws.
MASK_STRIDE = 8
POINT_STRIDE = 16


def nanodet_masks_targets(boxes: Tensor, labels: Tensor, masks: Tensor, config: NanoDetMasksConfig) -> SoloTargets:
    """Targets of the G objects of one square canvas: boxes (G, 4) XYXY, labels (G,), masks (G, H, H)."""
    (targets,) = solo_targets(
        boxes,
        labels,
        masks,
        num_classes=config.num_labels,
        strides=[MASK_STRIDE],
        num_grids=[masks.shape[-1] // POINT_STRIDE],
        scale_ranges=[(config.smallest_object, float("inf"))],
        center_region=config.center_region,
    )
    return targets


def nanodet_masks_losses(output: NanoDetMasksOutput, targets: list[SoloTargets]) -> dict[str, Tensor]:
    """{"loss_dice", "loss_pixels"}: means over the positive points of all images.

    The cross-entropy of a mask is averaged over object and background separately, so that small objects count.
    """
    points = points_of_grid(*output.kernels.shape[-2:], output.kernels)
    dice, pixels = [], []
    for features, kernels, target in zip(output.features, output.kernels, targets, strict=True):
        positive = target.positive.nonzero().squeeze(1)
        logits = mask_logits(features, kernels.flatten(1).T[positive], points[positive]).flatten(1)
        wanted = target.masks.flatten(1).to(logits.dtype)
        dice.append(dice_loss(logits.sigmoid(), wanted))
        entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        for part in (wanted, 1 - wanted):
            pixels.append((entropy * part).sum(1) / part.sum(1).clamp(min=1) / 2)
    count = max(sum(len(losses) for losses in dice), 1)
    return {"loss_dice": torch.cat(dice).sum() / count, "loss_pixels": torch.cat(pixels).sum() / count}


__all__ = ["nanodet_masks_losses", "nanodet_masks_targets"]
