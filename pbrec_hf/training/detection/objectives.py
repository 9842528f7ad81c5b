"""Which targets and losses train which detector.

An objective is a function of the detector's output, a batch and the detector's config, and gives named losses whose
sum is minimised. A batch holds "pixel_values" (I, 3, H, W) and, per image in lists, "boxes" (G, 4) XYXY canvas pixels,
"labels" (G,) and "masks" (G, H, W) bool.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from ...detectors.fcos import STRIDE as FCOS_STRIDE
from ...geometry.points import grid_points
from ...small.nanodet import STRIDES as NANODET_STRIDES
from .box_losses import fcos_losses, nanodet_losses
from .nanodet_masks_losses import nanodet_masks_losses
from .solo_losses import solo_losses
from .solo_targets import solo_targets

Objective = Callable[[object, dict, PreTrainedConfig], dict[str, Tensor]]


def collate(items: list[dict]) -> dict:
    """Canvases of one size to a batch."""
    batch = {name: [item[name] for item in items] for name in ("boxes", "labels", "masks")}
    return {"pixel_values": torch.stack([item["pixel_values"] for item in items]), **batch}


def objective_of(config: PreTrainedConfig) -> Objective:
    """The objective of a detector's config.

    Raises:
        ValueError: no objective is known for this kind of detector.
    """
    if config.model_type not in OBJECTIVES:
        raise ValueError(f"{config.model_type!r} cannot be trained; only {', '.join(sorted(OBJECTIVES))} can")
    return OBJECTIVES[config.model_type]


def _solo(output, batch: dict, config: PreTrainedConfig) -> dict[str, Tensor]:
    targets = [
        solo_targets(
            *objects, config.num_labels, config.strides, config.num_grids, config.scale_ranges, config.center_region
        )
        for objects in zip(batch["boxes"], batch["labels"], batch["masks"], strict=True)
    ]
    return solo_losses(output.mask_logits, output.class_logits, targets)


def _nanodet_masks(output, batch: dict, config: PreTrainedConfig) -> dict[str, Tensor]:
    return nanodet_masks_losses(output, batch["boxes"], batch["masks"])


def _fcos(output, batch: dict, config: PreTrainedConfig) -> dict[str, Tensor]:
    points, _ = _points(batch["pixel_values"], (FCOS_STRIDE,))
    if config.points == "corner":
        points = points - FCOS_STRIDE / 2
    return fcos_losses(output, points, FCOS_STRIDE, batch["boxes"], batch["labels"])


def _nanodet(output, batch: dict, config: PreTrainedConfig) -> dict[str, Tensor]:
    points, strides = _points(batch["pixel_values"], NANODET_STRIDES)
    return nanodet_losses(output, points, strides, batch["boxes"], batch["labels"])


def _points(pixel_values: Tensor, strides: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Points (N, 2) of a canvas at each stride in turn, and the stride (N,) of each."""
    height, width = pixel_values.shape[-2:]
    grids = [grid_points(height // s, width // s, s, device=pixel_values.device) for s in strides]
    points = torch.cat(grids)
    return points, torch.cat([points.new_full((len(grid),), s) for grid, s in zip(grids, strides, strict=True)])


OBJECTIVES: dict[str, Objective] = {
    "pbrec_fcos": _fcos,
    "pbrec_nanodet": _nanodet,
    "pbrec_nanodet_masks": _nanodet_masks,
    "pbrec_solo": _solo,
}

__all__ = ["OBJECTIVES", "Objective", "collate", "objective_of"]
