"""Choosing among proposals: rank values, the best k, and the one that overlaps the others most (equation 7).

Pure functions over tensors, batched over expressions. Ties go to the lower index, on every device.
"""

import torch
from torch import Tensor
from torchvision.ops import box_area


def rank_scores(probabilities: Tensor, quality: Tensor | None, valid: Tensor | None) -> Tensor:
    """
    What proposals are ranked by: probability × quality, or probability alone.

    Args:
        probabilities: (E, N) in [0, 1].
        quality: (E, N) in [0, 1], or None.
        valid: bool (E, N), or None = all.

    Returns:
        (E, N); -inf where not valid or not a number.
    """
    values = probabilities if quality is None else probabilities * quality
    unusable = values.isnan() if valid is None else values.isnan() | ~valid
    return values.masked_fill(unusable, -torch.inf)


def top_k_points(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """
    The k largest values of each row (E, N), descending, and their indices: (E, min(k, N)) each.

    A row with fewer than k valid entries ends in entries of value -inf.

    Raises:
        ValueError: if k is not positive, or there is no point to choose from.
    """
    if k < 1:
        raise ValueError(f"top_k={k}: give a positive number such as 12.")
    if values.shape[-1] == 0:
        raise ValueError("There is no proposal to choose from: give a detector whose grids have points.")
    # topk leaves the order of ties open; a stable sort does not.
    values, index = values.sort(dim=-1, descending=True, stable=True)
    return values[..., :k], index[..., :k]


def box_iou_matrix(boxes: Tensor, others: Tensor | None = None) -> Tensor:
    """IoU of each box (E, k, 4) XYXY with each of `others` (E, n, 4), by default themselves: (E, k, n).

    Boxes without area overlap nothing.
    """
    others = boxes if others is None else others
    area, other_area = (box_area(some.flatten(0, 1)).view(some.shape[:2]) for some in (boxes, others))
    top_left = torch.maximum(boxes[:, :, None, :2], others[:, None, :, :2])
    bottom_right = torch.minimum(boxes[:, :, None, 2:], others[:, None, :, 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=-1)
    return _ratio(intersection, area, other_area)


def mask_iou_matrix(masks: Tensor) -> Tensor:
    """IoU of each binary mask with each of its row, (E, k, h, w) → (E, k, k). Empty masks overlap nothing."""
    flat = masks.flatten(2).float()
    area = flat.sum(dim=-1)
    return _ratio(flat @ flat.transpose(1, 2), area, area)


def _ratio(intersection: Tensor, area: Tensor, other_area: Tensor) -> Tensor:
    union = area[:, :, None] + other_area[:, None, :] - intersection
    return torch.where(union > 0, intersection / union, 0.0)


def select_by_overlap(iou: Tensor, valid: Tensor | None = None) -> Tensor:
    """
    The proposal whose summed IoU with the others is largest (equation 7), the first of equals.

    The proposal's overlap with itself is left out: it adds the same 1 to every sum, except for proposals without area.

    Args:
        iou: (E, k, k), proposals by descending rank.
        valid: bool (E, k), the proposals that exist; others neither vote nor win.

    Returns:
        (E,) index into k; 0 where nothing overlaps or nothing is valid.
    """
    iou = iou * (1 - torch.eye(iou.shape[-1], dtype=iou.dtype, device=iou.device))
    if valid is not None:
        iou = iou * (valid[:, :, None] & valid[:, None, :])
    votes = iou.sum(dim=-1)
    if valid is not None:
        votes = votes.masked_fill(~valid, -1)
    # argmax leaves the order of ties open; the first maximum is the first entry equal to it.
    return (votes == votes.amax(dim=-1, keepdim=True)).int().argmax(dim=-1)
