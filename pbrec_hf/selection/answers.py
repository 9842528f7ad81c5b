"""The last step: selected proposals on the canvas are mapped to answers in pixels of the original pictures.

If there is only one detector, the missing part is derived from the other (the bounding box of a mask, or the filled
box as a mask), and the answer reports that.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..geometry.letterbox import Letterbox, boxes_to_originals
from ..geometry.masks import bounding_boxes, rasterized_box
from .choose import pictures_of
from .referents import Referents

_MASKS_KEPT = 8  # in pixels of pictures, for expressions that mean the same object


def answers(
    found: Referents,
    inputs: Mapping[str, Any],
    mask_threshold: float = 0.5,
    return_masks: bool = True,
    target_sizes: Tensor | list[tuple[int, int]] | None = None,
) -> list[dict[str, Any]]:
    """
    Answers in original pixels, one dict per expression; see `PbrecProcessor.post_process_referring_expression`.

    Args:
        found, inputs, mask_threshold, return_masks, target_sizes: as for `each_answer`, and so are the errors.
    """
    return list(each_answer(found, inputs, mask_threshold, return_masks, target_sizes))


def each_answer(
    found: Referents,
    inputs: Mapping[str, Any],
    mask_threshold: float = 0.5,
    return_masks: bool = True,
    target_sizes: Tensor | list[tuple[int, int]] | None = None,
) -> Iterator[dict[str, Any]]:
    """
    The same one after the other, for whoever cannot hold the masks of all: they have as many pixels as the pictures.

    Args:
        found: what was selected; a dict without answers holds empty tensors.
        inputs: the inputs it was computed from.
        mask_threshold: see [`SelectionSettings`].
        return_masks: whether to compute masks.
        target_sizes: (height, width) of each picture, replacing its own size; None = original sizes.

    Yields:
        Per expression, with n answers: `scores`, `raw_scores` (n,), `labels` int64 (n,), `text_labels` (n strings),
        `boxes` (n, 4) XYXY in pixels of the original (or of `target_sizes`), `masks` bool (n, 1, height, width),
        `exists`, `unread`, `box_source` and `mask_source`. An expression of which no word was read has no answer.

    Raises:
        ValueError: the number of `target_sizes` is wrong, or one is no size.
    """
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
    found = found.cpu()
    pictures = pictures_of(inputs, found.expressions).cpu()
    owners = pictures[found.expression]
    boxes, mask_of = _in_pixels(found, inputs, letterboxes, owners, mask_threshold, return_masks)
    members: list[list[int]] = [[] for _ in range(found.expressions)]
    for row, number in enumerate(found.expression.tolist()):
        members[number].append(row)
    sources = {
        "box_source": "mask" if found.boxes is None else "detector",
        "mask_source": "box" if found.masks is None else found.mask_source,
    }
    expressions, readable = inputs.get("expressions"), inputs.get("readable")
    unread = inputs.get("unread") or [[]] * found.expressions
    for number, (rows, picture) in enumerate(zip(members, pictures.tolist(), strict=True)):
        letterbox = letterboxes[picture]
        if readable is not None and not readable[number]:
            rows = []
        shown = _shown(rows, boxes, mask_of)
        rows = [row for row, _, _ in shown]
        result: dict[str, Any] = {
            "scores": found.scores[rows].float(),
            "raw_scores": found.raw_scores[rows].float(),
            "labels": torch.full((len(rows),), int((pictures[:number] == picture).sum()), dtype=torch.int64),
            "text_labels": [] if expressions is None else [expressions[number]] * len(rows),
            "boxes": torch.stack([box for _, box, _ in shown]) if shown else torch.zeros(0, 4, dtype=torch.float32),
        }
        if return_masks:
            empty = torch.zeros(0, letterbox.height, letterbox.width, dtype=torch.bool)
            masks = [
                rasterized_box(box, letterbox.height, letterbox.width) if mask is None else mask
                for _, box, mask in shown
            ]
            result["masks"] = (torch.stack(masks) if masks else empty)[:, None]
        result["exists"] = None if found.exists is None else found.exists[number].item()
        yield result | {"unread": unread[number]} | sources


def _in_pixels(
    found: Referents,
    inputs: Mapping[str, Any],
    letterboxes: Sequence[Letterbox],
    pictures: Tensor,
    mask_threshold: float,
    return_masks: bool,
) -> tuple[Tensor | None, Callable[[int], Tensor] | None]:
    """
    The boxes (A, 4) of all answers, or None, and what draws the mask (H, W) of one of them, or None if none is wanted.

    Args:
        found, inputs, mask_threshold, return_masks: as for `each_answer`; without boxes, masks are always wanted.
        letterboxes: of the pictures.
        pictures: int64 (A,), the picture of each answer.
    """
    boxes = None
    if found.boxes is not None:
        places = torch.tensor(letterboxes, dtype=torch.int64).view(-1, len(Letterbox._fields))
        boxes = boxes_to_originals(found.boxes, places[pictures])
    masks = found.masks
    if masks is None or not (return_masks or boxes is None):
        return boxes, None
    owners, canvas = pictures.tolist(), inputs["mask_proposals"].canvas
    alike = _first_alike(masks, owners)

    @lru_cache(maxsize=_MASKS_KEPT)
    def drawn(row: int) -> Tensor:
        return letterboxes[owners[row]].mask_to_original(masks[row], canvas, mask_threshold)

    return boxes, lambda row: drawn(alike[row])


def _first_alike(masks: Tensor, pictures: Sequence[int]) -> list[int]:
    """For each of the masks (A, h, w) of pictures (A,), the first one of its picture that is equal, by its row."""
    first: dict[tuple[int, float], int] = {}
    rows = []
    for row, key in enumerate(zip(pictures, masks.sum((1, 2)).tolist(), strict=True)):
        other = first.setdefault(key, row)
        rows.append(other if torch.equal(masks[other], masks[row]) else row)
    return rows


def _shown(
    rows: list[int], boxes: Tensor | None, mask_of: Callable[[int], Tensor] | None
) -> list[tuple[int, Tensor, Tensor | None]]:
    """Row, box (4,) and mask (H, W), or None, of the answers at `rows`, without those that would show no pixel."""
    shown = []
    for row in rows:
        mask = None if mask_of is None else mask_of(row)
        if boxes is None:
            assert mask is not None, "an answer has a box or a mask"
            if not mask.any():
                continue
            box = bounding_boxes(mask)
        else:
            box = boxes[row]
        shown.append((row, box, mask))
    return shown


def _whole(size: Any) -> tuple[int, int]:
    """A target size as whole numbers."""
    try:
        height, width = map(float, size)
    except (TypeError, ValueError):
        height = width = math.nan
    if not (height.is_integer() and width.is_integer() and min(height, width) > 0):
        raise ValueError(f"target_sizes has the entry {size!r}: give (height, width) in whole pixels.")
    return int(height), int(width)


__all__ = ["answers", "each_answer"]
