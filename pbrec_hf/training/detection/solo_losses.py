"""SOLO's two losses: dice on the masks of positive cells, sigmoid focal loss on the classes of all cells.

Both are finite, with a zero mask loss, when no cell of the batch is positive. Source: SOLO (arXiv 1912.04488).
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from .solo_targets import SoloTargets

MASK_WEIGHT = 3.0
DICE_SMOOTHING = 0.001


def dice_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Dice losses (n,) of masks (n, …) in [0, 1]: 1 - 2 Σpt / (Σp² + ε + Σt² + ε)."""
    p, t = probabilities.flatten(1), targets.flatten(1).to(probabilities.dtype)
    squares = (p * p).sum(1) + DICE_SMOOTHING + (t * t).sum(1) + DICE_SMOOTHING
    return 1 - 2 * (p * t).sum(1) / squares


def solo_losses(
    mask_logits: tuple[Tensor, ...], class_logits: tuple[Tensor, ...], targets: list[list[SoloTargets]]
) -> dict[str, Tensor]:
    """
    The losses of SOLO.

    Args:
        mask_logits: per level (I, S·S, h, w).
        class_logits: per level (I, classes, S, S).
        targets: per image, per level.

    Returns:
        {"loss_mask", "loss_class"}, weighted so that their sum is SOLO's loss.
    """
    dice_parts: list[Tensor] = []
    labels: list[Tensor] = []
    logit_parts: list[Tensor] = []
    for level, (level_masks, level_classes) in enumerate(zip(mask_logits, class_logits, strict=True)):
        for image, image_targets in enumerate(targets):
            target = image_targets[level]
            dice_parts.append(dice_loss(level_masks[image, target.positive].sigmoid(), target.masks))
            labels.append(target.labels.flatten())
            logit_parts.append(level_classes[image].flatten(1).T)
    dice, logits = torch.cat(dice_parts), torch.cat(logit_parts)
    # One class more than there are: background becomes a row of zeros when its column is cut off.
    wanted = F.one_hot(torch.cat(labels), logits.shape[1] + 1)[:, :-1].to(logits.dtype)
    focal = sigmoid_focal_loss(logits, wanted, alpha=0.25, gamma=2.0, reduction="sum")
    return {
        "loss_mask": MASK_WEIGHT * dice.sum() / max(len(dice), 1),
        "loss_class": focal / (len(dice) + 1),
    }


__all__ = ["dice_loss", "solo_losses"]
