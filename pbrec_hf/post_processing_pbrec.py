"""The last step: logits and proposals on the canvas become one answer per expression in original pixels.

Pure functions over tensors. A box comes from the box detector and a mask from the mask detector, each by its own head;
with one of them missing it is derived from the other (a mask's bounding box, a box filled), and the answer says so.
"""

import math
from numbers import Real

import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes

from .answers_pbrec import (
    Group,
    SelectionSettings,
    choose_boxes,
    choose_masks,
    fit_boxes,
    masks_at_boxes,
    rank_proposals,
)
from .image_index_pbrec import image_of_each
from .image_processing_pbrec import boxes_to_original, masks_to_original


def rank_and_choose(outputs, inputs, settings: SelectionSettings) -> dict[str, Group]:
    """
    The best proposals of every expression and the answer among them, on the canvas.

    Args:
        outputs: with center_logits and/or mass_logits, (E, P) each. Where a head is missing, the other's scores rank.
            Its image_features, where it has them, say where the points stand and which lie in the picture.
        inputs: with letterbox (I, 6), box_proposals and/or mask_proposals of the I images, and image_index (E,) (None
            as for the model).
        settings: how to rank.

    Returns:
        [`Group`] under "boxes" and/or "masks", for each kind of proposals.

    Raises:
        ValueError: without proposals, or if scores and images do not fit.
    """
    groups = {}
    center, mass = outputs.center_logits, outputs.mass_logits
    kinds = (("boxes", center if center is not None else mass), ("masks", mass if mass is not None else center))
    for kind, logits in kinds:
        proposals = inputs.get("box_proposals" if kind == "boxes" else "mask_proposals")
        if proposals is None:
            continue
        device = (proposals.quality if proposals.masks is None else proposals.masks.features).device
        logits = logits.to(device).float()
        image_index = _image_index(inputs, len(logits)).to(device)
        if kind == "masks" and settings.masks_follow_boxes and "boxes" in groups:
            same_points = proposals.grids == inputs["box_proposals"].grids
            if not same_points and proposals.boxes is None:
                raise ValueError(
                    f"masks_follow_boxes=True, but boxes were proposed on grids {inputs['box_proposals'].grids} and "
                    f"masks without boxes on {proposals.grids}: set it to False, or use detectors on the same points."
                )
            groups[kind] = masks_at_boxes(groups["boxes"], proposals, image_index, same_points)
            continue
        grid = _grid(logits.shape[1], proposals.canvas)
        letterbox = inputs["letterbox"].to(device)
        values = rank_proposals(logits, grid, proposals, image_index, letterbox, settings)
        if kind == "boxes" and settings.choose == "fit":
            groups[kind] = fit_boxes(values, logits, grid, proposals, image_index, settings, *_scored(outputs, device))
        else:
            choose = choose_boxes if kind == "boxes" else choose_masks
            groups[kind] = choose(values, proposals, image_index, settings.top_k)
    if not groups:
        raise ValueError(
            "`inputs` holds no proposals: make it with a processor that has a detector and return_proposals=True."
        )
    return groups


def _image_index(inputs, expressions: int) -> Tensor:
    image_index = inputs.get("image_index")
    if image_index is not None and len(image_index) != expressions:
        raise ValueError(
            f"{expressions} expressions were scored, but `inputs` holds {len(image_index)}: give the inputs that the "
            "outputs were computed from."
        )
    return image_of_each(image_index, expressions, len(inputs["letterbox"]))


def _scored(outputs, device) -> tuple[Tensor | None, Tensor | None]:
    """Where the scored points stand, and which of them lie in the picture, as far as the model said so."""
    image = getattr(outputs, "image_features", None)
    parts = (getattr(image, "points", None), getattr(image, "mask", None))
    return tuple(None if part is None else part.to(device) for part in parts)


def answers(groups: dict[str, Group], inputs, threshold: float, mask_threshold: float = 0.5) -> list[dict]:
    """
    Answers in original pixels, one dict per expression; see `PbrecProcessor.post_process_referring_expression`.

    Args:
        groups: of `rank_and_choose`.
        inputs: the same inputs.
        threshold: an answer with a lower score is left out; its dict holds empty tensors.
        mask_threshold: see [`SelectionSettings`].

    Raises:
        ValueError: `threshold` is no number from 0 to 1.
    """
    require_threshold(threshold)
    letterbox = inputs["letterbox"].cpu()
    results = []
    expressions = len(next(iter(groups.values())).winner)
    for row, image in enumerate(_image_index(inputs, expressions).tolist()):
        box = mask = None
        if "boxes" in groups:
            box = boxes_to_original(_chosen(groups["boxes"], "boxes", row)[None], letterbox[image])[0]
        if "masks" in groups:
            canvas = inputs["mask_proposals"].canvas
            mask = masks_to_original(_chosen(groups["masks"], "masks", row), letterbox[image], canvas, mask_threshold)
        score = groups["boxes" if "boxes" in groups else "masks"].score[row].item()
        found = score > -math.inf and score >= threshold and not (box is None and not mask.any())
        results.append(_result(inputs, row, letterbox[image], score if found else None, box, mask))
    return results


def require_threshold(threshold: float) -> None:
    """
    Raises:
        ValueError: `threshold` is no number from 0 to 1.
    """
    if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold!r}: give a number from 0 to 1.")


def _chosen(group: Group, kind: str, row: int) -> Tensor:
    """The chosen box (4,) or mask (h, w) of expression `row`, on the canvas."""
    return getattr(group, kind)[row, group.winner[row]].cpu()


def _result(inputs, row: int, letterbox: Tensor, score: float | None, box: Tensor | None, mask: Tensor | None) -> dict:
    height, width = letterbox[:2].tolist()
    sources = {
        "box_source": "detector" if box is not None else "mask",
        "mask_source": "detector" if mask is not None else "box",
    }
    if score is None:
        boxes, masks = torch.zeros(0, 4), torch.zeros(0, 1, height, width, dtype=torch.bool)
    else:
        box = _bounding_box(mask) if box is None else box
        mask = _filled(box, height, width) if mask is None else mask
        boxes, masks = box[None], mask[None, None]
    count = len(boxes)
    expressions = inputs.get("expressions")
    return {
        "scores": torch.full((count,), score or 0.0),
        "labels": torch.zeros(count, dtype=torch.int64),
        "text_labels": [expressions[row]] * count if expressions is not None else [],
        "boxes": boxes,
        "masks": masks,
        **sources,
    }


def _bounding_box(mask: Tensor) -> Tensor:
    box = masks_to_boxes(mask[None])[0]
    return box + box.new_tensor([0, 0, 1, 1])  # pixel indices to edges


def _filled(box: Tensor, height: int, width: int) -> Tensor:
    mask = torch.zeros(height, width, dtype=torch.bool)
    left, top = box[:2].floor().int().tolist()
    right, bottom = box[2:].ceil().int().tolist()
    mask[max(top, 0) : bottom, max(left, 0) : right] = True
    return mask


def _grid(points: int, canvas: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the model's grid over a canvas (H, W)."""
    rows = round(math.sqrt(points * canvas[0] / canvas[1]))
    cols = points // max(rows, 1)
    if rows * cols != points:
        raise ValueError(
            f"{points} scores per expression form no grid over the detector's canvas of {canvas[0]}×{canvas[1]}: "
            "model and detector must see the same canvas."
        )
    return rows, cols
