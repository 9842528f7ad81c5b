"""The last step: selected proposals on the canvas are mapped to answers in pixels of the original pictures.

If there is only one detector, the missing part is derived from the other (the bounding box of a mask, or the filled
box as a mask), and the answer reports that.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..geometry.letterbox import Letterbox
from ..geometry.masks import bounding_boxes, rasterized_box
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
        groups: the output of `rank_and_choose`.
        inputs: the inputs it was computed from.
        threshold: an answer with a lower score is omitted; its dict holds empty tensors.
        mask_threshold: see [`SelectionSettings`].
        return_masks: whether to compute masks; they have as many pixels as the pictures.
        target_sizes: (height, width) of each picture, replacing its own size; None = original sizes.

    Returns:
        Per expression `scores` (n,), `labels` int64 (n,), `text_labels` (n strings), `boxes` (n, 4) XYXY in pixels of
        the original (or of `target_sizes`), `masks` bool (n, 1, height, width), `box_source` and `mask_source`, with n
        = 1, or 0 without an answer.

    Raises:
        ValueError: `threshold` is not a number from 0 to 1, or the number of `target_sizes` is wrong.
    """
    require_threshold(threshold)
    letterboxes = [Letterbox.of(row) for row in inputs["letterbox"].cpu()]
    if target_sizes is not None:
        if len(target_sizes) != len(letterboxes):
            raise ValueError(
                f"target_sizes has {len(target_sizes)} entries for {len(letterboxes)} pictures: give one (height, "
                "width) per picture."
            )
        sizes = map(_whole, target_sizes)
        letterboxes = [
            box._replace(height=height, width=width) for box, (height, width) in zip(letterboxes, sizes, strict=True)
        ]
    first = next(iter(groups.values()))
    scores = groups["boxes" if "boxes" in groups else "masks"].score.tolist()
    chosen = {kind: group.chosen(kind).cpu() for kind, group in groups.items()}
    expressions = inputs.get("expressions")
    results = []
    for row, picture in enumerate(pictures_of(inputs, len(first.winner)).tolist()):
        letterbox = letterboxes[picture]
        found = scores[row] > -math.inf and scores[row] >= threshold
        box = mask = None
        if found and "boxes" in chosen:
            box = letterbox.boxes_to_original(chosen["boxes"][row][None])[0]
        if found and "masks" in chosen and (return_masks or box is None):
            mask = letterbox.mask_to_original(chosen["masks"][row], inputs["mask_proposals"].canvas, mask_threshold)
            found = box is not None or bool(mask.any())
        label = None if expressions is None else expressions[row]
        result = _answer(letterbox, scores[row], box, mask, return_masks) if found else _no_answer(letterbox)
        results.append(
            {
                "scores": result["scores"],
                "labels": torch.zeros(len(result["scores"]), dtype=torch.int64),
                "text_labels": [] if label is None else [label] * len(result["scores"]),
                "boxes": result["boxes"],
                **({"masks": result["masks"]} if return_masks else {}),
                "box_source": "detector" if "boxes" in groups else "mask",
                "mask_source": groups["masks"].source if "masks" in groups else "box",
            }
        )
    return results


def _whole(size: Any) -> tuple[int, int]:
    """A target size as whole numbers."""
    try:
        height, width = map(float, size)
    except (TypeError, ValueError):
        height = width = math.nan
    if not (height.is_integer() and width.is_integer() and min(height, width) > 0):
        raise ValueError(f"target_sizes has the entry {size!r}: give (height, width) in whole pixels.")
    return int(height), int(width)


def _answer(
    letterbox: Letterbox, score: float, box: Tensor | None, mask: Tensor | None, return_masks: bool
) -> dict[str, Tensor]:
    if box is None:
        assert mask is not None, "an answer has a box or a mask"
        box = bounding_boxes(mask[None])[0]
    answer = {"scores": torch.tensor([score], dtype=torch.float32), "boxes": box[None]}
    if return_masks:
        mask = rasterized_box(box, letterbox.height, letterbox.width) if mask is None else mask
        answer["masks"] = mask[None, None]
    return answer


def _no_answer(letterbox: Letterbox) -> dict[str, Tensor]:
    masks = torch.zeros(0, 1, letterbox.height, letterbox.width, dtype=torch.bool)
    scores, boxes = torch.zeros(0, dtype=torch.float32), torch.zeros(0, 4, dtype=torch.float32)
    return {"scores": scores, "boxes": boxes, "masks": masks}


__all__ = ["answers"]
