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
    """(n,) dice losses of masks (n, …) in [0, 1]: 1 - 2 Σpt / (Σp² + ε + Σt² + ε)."""
    p, t = probabilities.flatten(1), targets.flatten(1).to(probabilities.dtype)
    squares = (p * p).sum(1) + DICE_SMOOTHING + (t * t).sum(1) + DICE_SMOOTHING
    return 1 - 2 * (p * t).sum(1) / squares


def solo_losses(
    mask_logits: tuple[Tensor, ...], class_logits: tuple[Tensor, ...], targets: list[list[SoloTargets]]
) -> dict[str, Tensor]:
    """{"loss_mask", "loss_class"}, weighted so that their sum is SOLO's loss.

    Args:
        mask_logits: per level (I, S·S, h, w).
        class_logits: per level (I, classes, S, S).
        targets: per image, per level.
    """
    dice, labels, logits = [], [], []
    for level, (level_masks, level_classes) in enumerate(zip(mask_logits, class_logits, strict=True)):
        for image, image_targets in enumerate(targets):
            target = image_targets[level]
            dice.append(dice_loss(level_masks[image, target.positive].sigmoid(), target.masks))
            labels.append(target.labels.flatten())
            logits.append(level_classes[image].flatten(1).T)
    dice, logits = torch.cat(dice), torch.cat(logits)
    # One class more than there are: background is the row of zeros that is cut off.
    wanted = F.one_hot(torch.cat(labels), logits.shape[1] + 1)[:, :-1].to(logits.dtype)
    focal = sigmoid_focal_loss(logits, wanted, alpha=0.25, gamma=2.0, reduction="sum")
    return {
        "loss_mask": MASK_WEIGHT * dice.sum() / max(len(dice), 1),
        "loss_class": focal / (len(dice) + 1),
    }


__all__ = ["dice_loss", "solo_losses"]
