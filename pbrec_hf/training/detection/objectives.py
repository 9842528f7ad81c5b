"""Which targets and losses train which detector.

An objective maps the detector's output, a batch and the detector's config to named losses, whose sum is minimised.
Knows nothing of where batches come from.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from ...detectors.fcos import STRIDE as FCOS_STRIDE
from ...detectors.fcos import FcosConfig, FcosOutput
from ...detectors.solo import SoloConfig, SoloOutput
from ...geometry.points import grid_points
from ...small.nanodet import NanoDetConfig, strides_of_points
from ...small.nanodet_masks import NanoDetMasksConfig, NanoDetMasksOutput
from ...small.nanodet_outputs import NanoDetOutput
from .box_losses import fcos_losses, nanodet_losses
from .instance_augmentation import DetectorInputs
from .nanodet_masks_losses import nanodet_masks_losses
from .solo_losses import solo_losses
from .solo_targets import solo_targets


class DetectorBatch(TypedDict):
    """
    I canvases of one size with their objects.

    Attributes:
        pixel_values: float32 (I, 3, H, W).
        boxes: per image (G, 4) XYXY canvas pixels.
        labels: per image (G,).
        masks: per image bool (G, H, W).
    """

    pixel_values: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]
    masks: list[Tensor]


Objective = Callable[[Any, DetectorBatch, Any], dict[str, Tensor]]


def collate(items: Sequence[DetectorInputs]) -> DetectorBatch:
    """Canvases of one size → a batch."""
    return {
        "pixel_values": torch.stack([item["pixel_values"] for item in items]),
        "boxes": [item["boxes"] for item in items],
        "labels": [item["labels"] for item in items],
        "masks": [item["masks"] for item in items],
    }


def objective_of(config: PreTrainedConfig) -> Objective:
    """
    The objective of a detector's config.

    Raises:
        ValueError: no objective is known for this kind of detector.
    """
    if config.model_type not in OBJECTIVES:
        raise ValueError(
            f"A detector of model_type={config.model_type!r} cannot be trained: give one of "
            f"{', '.join(sorted(OBJECTIVES))}."
        )
    return OBJECTIVES[config.model_type]


def _solo(output: SoloOutput, batch: DetectorBatch, config: SoloConfig) -> dict[str, Tensor]:
    levels = config.strides, config.num_grids, config.scale_ranges
    targets = [
        solo_targets(*objects, len(config.class_names), *levels, config.center_region)
        for objects in zip(batch["boxes"], batch["labels"], batch["masks"], strict=True)
    ]
    assert output.mask_logits is not None and output.class_logits is not None
    return solo_losses(output.mask_logits, output.class_logits, targets)


def _nanodet_masks(output: NanoDetMasksOutput, batch: DetectorBatch, config: NanoDetMasksConfig) -> dict[str, Tensor]:
    return nanodet_masks_losses(output, batch["boxes"], batch["masks"], config.refiner_form)


def _fcos(output: FcosOutput, batch: DetectorBatch, config: FcosConfig) -> dict[str, Tensor]:
    height, width = batch["pixel_values"].shape[-2:]
    points = grid_points(height // FCOS_STRIDE, width // FCOS_STRIDE, FCOS_STRIDE, device=batch["pixel_values"].device)
    if config.points == "corner":
        points = points - FCOS_STRIDE / 2
    return fcos_losses(output, points, FCOS_STRIDE, batch["boxes"], batch["labels"])


def _nanodet(output: NanoDetOutput, batch: DetectorBatch, config: NanoDetConfig) -> dict[str, Tensor]:
    strides = strides_of_points(config, output.grids, output.points.device)
    return nanodet_losses(output, output.points, strides, batch["boxes"], batch["labels"])


OBJECTIVES: dict[str, Objective] = {
    "pbrec_fcos": _fcos,
    "pbrec_nanodet": _nanodet,
    "pbrec_nanodet_masks": _nanodet_masks,
    "pbrec_solo": _solo,
}

__all__ = ["OBJECTIVES", "Objective", "collate", "objective_of"]
