"""Losses of the light mask head: dice and binary cross-entropy of the masks of matching points.

A point matches the object that its box, which is NanoDet's, overlaps best and by enough, and learns the mask of that
object. Of the points that match an object a few random ones count, so that large and small objects weigh the same.
Without any match the losses are zero and finite.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from ...small.dynamic_masks import mask_logits
from ...small.mask_refiner import cut_out, refined_logits
from ...small.nanodet_masks import NanoDetMasksOutput
from .solo_losses import dice_loss
from .solo_targets import shrink_masks

LEAST_OVERLAP = 0.5
POINTS_PER_OBJECT = 4
MASK_STRIDE = 4


def match_points(predicted: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """
    Random points that match objects, at most POINTS_PER_OBJECT for each.

    Args:
        predicted: (N, 4) XYXY boxes of the points.
        boxes: (G, 4) XYXY boxes of the objects.

    Returns:
        Points and their objects, int64 (n,) each.
    """
    if not len(boxes):
        nothing = torch.zeros(0, dtype=torch.long, device=predicted.device)
        return nothing, nothing
    overlap, owner = box_iou(predicted, boxes).max(1)
    matching = overlap >= LEAST_OVERLAP
    mine = matching[None] & (owner[None] == torch.arange(len(boxes), device=owner.device)[:, None])
    order = torch.where(mine, torch.rand(mine.shape, device=mine.device), torch.inf)
    drawn = order.topk(min(POINTS_PER_OBJECT, len(predicted)), dim=1, largest=False)
    objects, column = drawn.values.isfinite().nonzero(as_tuple=True)
    return drawn.indices[objects, column], objects


def nanodet_masks_losses(
    output: NanoDetMasksOutput, boxes: list[Tensor], masks: list[Tensor], form: tuple[int, ...] = ()
) -> dict[str, Tensor]:
    """
    Means over the chosen points of all images.

    The cross-entropy of a mask is averaged over object and background separately, so that small objects count.

    Args:
        output: of the detector.
        boxes: per image (G, 4) XYXY canvas pixels.
        masks: per image (G, H, W) bool.
        form: of the refiner, `NanoDetMasksConfig.refiner_form`.

    Returns:
        {"loss_dice", "loss_pixels"} and, of masks that are refined, "loss_refined".
    """
    assert output.boxes is not None and output.features is not None and output.kernels is not None
    dice: list[Tensor] = []
    pixels: list[Tensor] = []
    refined: list[Tensor] = []
    for index, (image_boxes, image_masks) in enumerate(zip(boxes, masks, strict=True)):
        point, owner = match_points(output.boxes[index].detach(), image_boxes)
        drawn = mask_logits(output.features[index], output.kernels[index, point])
        if output.refiner is not None and len(point):
            refined.append(_refined_losses(output, index, point, drawn, image_masks, owner, form))
        logits = drawn.flatten(1)
        wanted = _masks_at(image_masks, output.features).flatten(1).to(logits.dtype)[owner]
        dice.append(dice_loss(logits.sigmoid(), wanted))
        entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        for part in (wanted, 1 - wanted):
            pixels.append((entropy * part).sum(1) / part.sum(1).clamp(min=1) / 2)
    count = max(sum(len(losses) for losses in dice), 1)
    losses = {"loss_dice": torch.cat(dice).sum() / count, "loss_pixels": torch.cat(pixels).sum() / count}
    if output.refiner is not None:
        nothing = output.refiner.sum()[None] * 0
        losses["loss_refined"] = torch.cat([nothing, *refined]).sum() / count
    return losses


def _refined_losses(
    output: NanoDetMasksOutput,
    image: int,
    point: Tensor,
    logits: Tensor,
    masks: Tensor,
    owner: Tensor,
    form: tuple[int, ...],
) -> Tensor:
    """Dice and mean cross-entropy (n,) of the refined masks of n points of an image, inside of their regions."""
    assert output.details is not None and output.picture is not None and output.regions is not None
    assert output.refiner is not None
    regions = output.regions[image, point].detach()
    images = torch.full_like(point, image)
    refined = refined_logits(logits, output.details, output.picture, images, regions, output.refiner, form)
    sides = regions.new_tensor([masks.shape[-1] / logits.shape[-1], masks.shape[-2] / logits.shape[-2]])
    wanted = cut_out(masks[:, None].to(logits.dtype), regions * sides.repeat(2), owner)[:, 0]
    entropy = F.binary_cross_entropy_with_logits(refined, wanted, reduction="none")
    return dice_loss(refined.sigmoid(), wanted) + entropy.mean((1, 2))


def _masks_at(masks: Tensor, features: Tensor) -> Tensor:
    """Masks (G, H, W) at the size of `features`: a quarter of what the detector sees of a canvas."""
    height, width = (MASK_STRIDE * side for side in features.shape[-2:])
    if (height, width) != tuple(masks.shape[-2:]):
        masks = (
            F.interpolate(masks[:, None].float(), (height, width), mode="bilinear", align_corners=False)[:, 0] >= 0.5
        )
    return shrink_masks(masks, MASK_STRIDE)


__all__ = ["match_points", "nanodet_masks_losses"]
