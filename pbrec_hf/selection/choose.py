"""Selection of proposals from logits: which head ranks which proposals, and by which method (vote, fit or follow).

Boxes come from the box detector and are ranked by the centre head; masks come from the mask detector and are ranked by
the mass head. Works on the canvas; knows nothing of original pixels or words.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..geometry.image_index import image_of_each
from ..geometry.proposals import Proposals
from ..geometry.requested_masks import are_requested
from .fit import fit_boxes
from .follow import masks_at_boxes, masks_of_boxes
from .groups import Group
from .ranking import rank_proposals
from .settings import SelectionSettings
from .vote import choose_boxes, choose_masks

PROPOSALS = {"boxes": "box_proposals", "masks": "mask_proposals"}
_ROUNDING = 1e-3  # of a quality in half precision


def rank_and_choose(
    outputs: Any, inputs: Mapping[str, Any], settings: SelectionSettings, make_masks: bool = True
) -> dict[str, Group]:
    """
    The best proposals of every expression and the answer among them, on the canvas.

    Args:
        outputs: center_logits and/or mass_logits, (E, P) each; if one head is missing, the other ranks both kinds of
            proposals. Optional image_features hold the positions of the points and the mask of the picture.
        inputs: letterbox (I, 6), box_proposals and/or mask_proposals of the I pictures, and image_index (E,), or None
            as for the model.
        settings: how to rank and select.
        make_masks: whether masks that are made on request are made of the chosen boxes, or left out.

    Returns:
        A [`Group`] for each kind of proposals, under "boxes" and/or "masks".

    Raises:
        ValueError: there are no proposals, the numbers of scores, points or pictures do not match, a number is not
            finite, or a quality is not in [0, 1].
    """
    groups: dict[str, Group] = {}
    center, mass = outputs.center_logits, outputs.mass_logits
    if center is None and mass is None:
        raise ValueError("The outputs have neither center_logits nor mass_logits: give those of a model with heads.")
    if not torch.compiler.is_compiling():
        _require_sound(outputs, inputs)
    logits_of = {"boxes": center if center is not None else mass, "masks": mass if mass is not None else center}
    for kind, name in PROPOSALS.items():
        proposals = inputs.get(name)
        if proposals is None:
            continue
        device = proposals.device
        logits = logits_of[kind].to(device).float()
        image_index = pictures_of(inputs, logits.shape[0]).to(device)
        if are_requested(proposals):
            if "boxes" not in groups:
                raise ValueError("The masks are made of chosen boxes, and there are none: add a box detector.")
            if make_masks:
                groups[kind] = masks_of_boxes(groups["boxes"], proposals, image_index)
            continue
        rows = proposals.rows_of(image_index)
        if kind == "masks" and settings.masks_follow_boxes and "boxes" in groups:
            together = same_points(inputs["box_proposals"], proposals)
            groups[kind] = masks_at_boxes(groups["boxes"], proposals, rows, together)
            continue
        grid = _grid(logits.shape[1], proposals.canvas)
        values = rank_proposals(logits, grid, proposals, image_index, inputs["letterbox"].to(device), settings)
        if kind == "boxes" and settings.choose == "fit":
            scored = _scored_points(outputs, device)
            groups[kind] = fit_boxes(values, logits, grid, proposals, image_index, settings, *scored)
        else:
            choose = choose_boxes if kind == "boxes" else choose_masks
            groups[kind] = choose(values, proposals, rows, settings.top_k)
    if not groups:
        raise ValueError(
            "`inputs` holds no proposals: create it with a processor that has a detector, and return_proposals=True. "
            "For further expressions on the same pictures, keep their letterbox and proposals: "
            "{**inputs, **processor(text=…)}."
        )
    return groups


def _require_sound(outputs: Any, inputs: Mapping[str, Any]) -> None:
    """NaN would sort last and look like an answer, or like none; a quality above 1 would give scores above 1."""
    parts = {
        "pixel_values": inputs.get("pixel_values"),
        "image_features": getattr(getattr(outputs, "image_features", None), "features", None),
        "center_logits": outputs.center_logits,
        "mass_logits": outputs.mass_logits,
    }
    for kind, name in PROPOSALS.items():
        proposals = inputs.get(name)
        parts[f"the quality of the proposed {kind}"] = getattr(proposals, "quality", None)
        parts[f"the boxes of the proposed {kind}"] = getattr(proposals, "boxes", None)
    for name, tensor in parts.items():
        if tensor is not None and not _is_finite(tensor):
            raise ValueError(
                f"Not all numbers in {name} are finite: the weights or a config (image_std, layer_norm_eps …) are "
                "damaged, or the precision is too low. Load the checkpoint again, or use float32."
            )
    for kind, name in PROPOSALS.items():
        quality = getattr(inputs.get(name), "quality", None)
        if quality is None or not quality.numel():
            continue
        low, high = (float(value) for value in quality.aminmax())
        if low < -_ROUNDING or high > 1 + _ROUNDING:
            raise ValueError(
                f"The quality of the proposed {kind} runs from {low:g} to {high:g}, "
                "but is a number from 0 to 1: scores are probability × quality. Correct the detector."
            )


def _is_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite, in one pass over the tensor."""
    return not tensor.numel() or bool(torch.stack(tensor.aminmax()).isfinite().all())


def pictures_of(inputs: Mapping[str, Any], expressions: int) -> Tensor:
    """
    The picture (E,) of each expression in `inputs`.

    Raises:
        ValueError: `inputs` holds a different number of expressions.
    """
    image_index = inputs.get("image_index")
    if image_index is not None and image_index.shape[0] != expressions:
        raise ValueError(
            f"`outputs` scores {expressions} expressions, but `inputs` holds {image_index.shape[0]}: pass the inputs "
            "that the outputs were computed from."
        )
    return image_of_each(image_index, expressions, inputs["letterbox"].shape[0])


def same_points(boxes: Proposals, masks: Proposals) -> bool:
    """
    Whether boxes and masks were proposed at the same points, so that the same index is the same object.

    Raises:
        ValueError: they were not, and the masks have no boxes to tell which belongs to which.
    """
    if boxes.points is not None and masks.points is not None and boxes.points.shape == masks.points.shape:
        same = boxes.points is masks.points
        if not same and not torch.compiler.is_compiling():
            same = bool(torch.equal(boxes.points, masks.points))
    else:
        same = masks.points is None and boxes.points is None and masks.grids == boxes.grids
    if not same and masks.boxes is None:
        where = " and ".join(f"grids {p.grids}" if p.points is None else "points of their own" for p in (boxes, masks))
        raise ValueError(
            f"masks_follow_boxes=True, but boxes and masks without boxes were proposed at different points ({where}): "
            "set it to False, or use detectors with the same points."
        )
    return same


def _scored_points(outputs: Any, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
    """Positions (I, P, 2) of the scored points and the mask (I, P) of the picture, if the model returned them."""
    features = getattr(outputs, "image_features", None)
    points, mask = (getattr(features, name, None) for name in ("points", "mask"))
    return None if points is None else points.to(device), None if mask is None else mask.to(device)


def _grid(points: int, canvas: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the model's grid over a canvas (H, W)."""
    rows = round(math.sqrt(points * canvas[0] / canvas[1]))
    cols = points // max(rows, 1)
    if rows * cols != points:
        raise ValueError(
            f"{points} scores per expression do not form a grid over the detector's canvas of {canvas[0]}×{canvas[1]} "
            "pixels: give model and detector the same canvas."
        )
    return rows, cols


__all__ = ["PROPOSALS", "pictures_of", "rank_and_choose", "same_points"]
