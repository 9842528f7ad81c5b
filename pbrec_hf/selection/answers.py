"""The last step: the chosen proposals on the canvas become answers in pixels of the original pictures.

With one detector missing, its part is derived from the other's (a mask's bounding box, a box filled), and the answer
says so.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..geometry.letterbox import Letterbox
from ..geometry.masks import bounding_boxes, filled
from .choose import pictures_of
from .groups import Group
from .settings import require_threshold


def answers(
    groups: Mapping[str, Group],
    inputs: Mapping[str, Any],
    threshold: float = 0.0,
    mask_threshold: float = 0.5,
    return_masks: bool = True,
    target_sizes: Tensor | list[tuple[int, int]] | None = None,
) -> list[dict[str, Any]]:
    """
    Answers in original pixels, one dict per expression; see `PbrecProcessor.post_process_referring_expression`.

    Args:
        groups: of `rank_and_choose`.
        inputs: the same inputs.
        threshold: an answer with a lower score is left out; its dict holds empty tensors.
        mask_threshold: see [`SelectionSettings`].
        return_masks: whether to make masks; they have as many pixels as the pictures.
        target_sizes: (height, width) of each picture in which to answer, instead of its own size.

    Raises:
        ValueError: `threshold` is no number from 0 to 1; sizes of another number of pictures.
    """
    require_threshold(threshold)
    boxes_on = [Letterbox.of(row) for row in inputs["letterbox"].cpu()]
    if target_sizes is not None:
        if len(target_sizes) != len(boxes_on):
            raise ValueError(f"{len(target_sizes)} target_sizes for {len(boxes_on)} pictures: give one for each.")
        boxes_on = [
            box._replace(height=int(height), width=int(width))
            for box, (height, width) in zip(boxes_on, target_sizes, strict=True)
        ]
    first = next(iter(groups.values()))
    scores = groups["boxes" if "boxes" in groups else "masks"].score.tolist()
    chosen = {kind: group.chosen(kind).cpu() for kind, group in groups.items()}
    expressions = inputs.get("expressions")
    results = []
    for row, picture in enumerate(pictures_of(inputs, len(first.winner)).tolist()):
        letterbox = boxes_on[picture]
        found = scores[row] > -math.inf and scores[row] >= threshold
        box = mask = None
        if found and "boxes" in chosen:
            box = letterbox.boxes_to_original(chosen["boxes"][row][None])[0]
        if found and "masks" in chosen and (return_masks or box is None):
            mask = letterbox.mask_to_original(chosen["masks"][row], inputs["mask_proposals"].canvas, mask_threshold)
            found = box is not None or bool(mask.any())
        label = None if expressions is None else expressions[row]
        result = _answer(letterbox, scores[row], box, mask, return_masks) if found else _nothing(letterbox)
        results.append(
            {
                "scores": result["scores"],
                "labels": torch.zeros(len(result["scores"]), dtype=torch.int64),
                "text_labels": [] if label is None else [label] * len(result["scores"]),
                "boxes": result["boxes"],
                **({"masks": result["masks"]} if return_masks else {}),
                "box_source": "detector" if "boxes" in groups else "mask",
                "mask_source": "detector" if "masks" in groups else "box",
            }
        )
    return results


def _answer(
    letterbox: Letterbox, score: float, box: Tensor | None, mask: Tensor | None, return_masks: bool
) -> dict[str, Tensor]:
    if box is None:
        box = bounding_boxes(mask[None])[0]
    if mask is None and return_masks:
        mask = filled(box, letterbox.height, letterbox.width)
    masks = {"masks": mask[None, None]} if return_masks else {}
    return {"scores": torch.tensor([score]), "boxes": box[None], **masks}


def _nothing(letterbox: Letterbox) -> dict[str, Tensor]:
    masks = torch.zeros(0, 1, letterbox.height, letterbox.width, dtype=torch.bool)
    return {"scores": torch.zeros(0), "boxes": torch.zeros(0, 4), "masks": masks}


__all__ = ["answers"]
