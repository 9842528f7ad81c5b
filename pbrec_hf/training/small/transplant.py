"""A trained pbrec-mt-small around another NanoDet: step 2 of train_plus.yaml in run.sh.

    python scripts/small/transplant.py --checkpoint CHECKPOINT --detector NANODET --data DATA --out FOLDER

Most channels of the backbone have names, and mean the same whichever detector fills them. Those of the neck do not:
the layers that read them, in the model and in the mask head, are fitted by least squares to what they gave on some
training photographs. FOLDER gets `model` and `masks`, which training goes on from.
"""

import argparse
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel, PreTrainedTokenizerFast

from ...configuration_pbrec import PbrecConfig
from ...hub.writing import replaced_folder
from ...modeling_pbrec import PbrecForReferringExpression
from ...small.backbone import GroundingBackboneConfig
from ...small.nanodet import NanoDetDetector
from ...small.nanodet_masks import MaskHead, NanoDetMasksConfig, NanoDetMasksDetector
from .detector import REFINER_WIDTHS
from .pool import picture_inputs, split_photographs

RIDGE = 1e-4
PHOTOGRAPHS = 40
logger = logging.getLogger(__name__)


class LinearFit:
    """Ridge regression of values (n, B) on values (n, A) that come in parts; float64."""

    def __init__(self) -> None:
        self.count, self.square, self.cross = 0, torch.zeros(()), torch.zeros(())

    def add(self, given: Tensor, wanted: Tensor) -> None:
        """Count in rows (n, A) and what they should become (n, B)."""
        given = F.pad(given.double(), (0, 1), value=1.0)
        self.square = self.square + given.T @ given
        self.cross = self.cross + given.T @ wanted.double()
        self.count += len(given)

    def solve(self) -> tuple[Tensor, Tensor]:
        """Weight (B, A) and bias (B,), float32."""
        shrink = RIDGE * self.count * torch.eye(len(self.square), dtype=torch.float64)
        shrink[-1, -1] = 0
        solution = torch.linalg.solve(self.square + shrink, self.cross).float()
        return solution[:-1].T.contiguous(), solution[-1]


@torch.inference_mode()
def transplanted_model(
    model: PbrecForReferringExpression, detector: NanoDetDetector, canvases: Iterable[Tensor]
) -> PbrecForReferringExpression:
    """
    `model` with `detector` in its backbone.

    Args:
        model: a trained pbrec-mt-small.
        detector: of the same classes.
        canvases: (3, H, W), ImageNet-normalised, on which the neck's columns of the image projection are fitted.

    Raises:
        ValueError: the classes differ.
    """
    backbone: GroundingBackboneConfig = model.model.backbone.config
    if detector.config.class_names != backbone.class_names:
        raise ValueError("The detectors differ in their classes: give one with those of the checkpoint's.")
    fields = model.config.to_dict()
    fields["backbone_config"]["detector_config"] = detector.config.to_dict()
    new = PbrecForReferringExpression(PbrecConfig.from_dict(fields)).eval()
    new.model.backbone.detector.load_state_dict(detector.state_dict())
    own = {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith("model.backbone.") and name != "model.image_projection.weight"
    }
    new.load_state_dict(own, strict=False)
    width = backbone.detector.trunk.neck_channels
    weight = model.model.image_projection.weight.flatten(1)
    fit = LinearFit()
    for canvas in canvases:
        old_neck, _, _, old_points = model.model.backbone.describe(canvas[None])
        new_neck, _, _, new_points = new.model.backbone.describe(canvas[None])
        same = (old_points[0] == new_points[0]).all(-1)  # each detector picks its own places in a cell
        fit.add(new_neck[0].flatten(1).T[same], old_neck[0].flatten(1).T[same] @ weight[:, :width].T)
    columns, bias = fit.solve()
    new.model.image_projection.weight.copy_(torch.cat((columns, weight[:, width:]), dim=1)[:, :, None, None])
    new.model.image_projection.bias.copy_(model.model.image_projection.bias + bias)
    return new


@torch.inference_mode()
def transplanted_masks(
    masks: NanoDetMasksDetector, detector: NanoDetDetector, canvases: Iterable[Tensor]
) -> NanoDetMasksDetector:
    """
    `masks` with `detector` inside, and with a refiner, which is new if there was none.

    Args:
        masks: a trained mask head with its NanoDet.
        detector: of the same classes; a stride that the old one lacks is fitted to the old one's coarsest.
        canvases: as for `transplanted_model`.
    """
    widths = list(masks.config.refiner_widths) or list(REFINER_WIDTHS)
    fields = masks.config.to_dict() | {"detector_config": detector.config.to_dict(), "refiner_widths": widths}
    new = NanoDetMasksDetector(NanoDetMasksConfig.from_dict(fields)).eval()
    new.detector.load_state_dict(detector.state_dict())
    kept = {name: value for name, value in masks.head.state_dict().items() if not name.startswith("lateral.")}
    new.head.load_state_dict(kept, strict=False)
    fits = [LinearFit() for _ in new.head.lateral]
    for canvas in canvases:
        wanted = [conv(maps) for conv, maps in zip(masks.head.lateral, _inputs(masks, canvas), strict=True)]
        for level, (fit, maps) in enumerate(zip(fits, _inputs(new, canvas), strict=True)):
            target = F.adaptive_avg_pool2d(wanted[min(level, len(wanted) - 1)], (maps.shape[-2], maps.shape[-1]))
            fit.add(maps[0].flatten(1).T, target[0].flatten(1).T)
    for conv, fit in zip(new.head.lateral, fits, strict=True):
        weight, bias = fit.solve()
        conv.weight.copy_(weight[:, :, None, None])
        conv.bias.copy_(bias)
    return new


def _inputs(masks: NanoDetMasksDetector, canvas: Tensor) -> list[Tensor]:
    """What the head of `masks` reads of a canvas (3, H, W): a map (1, C, rows, cols) for each stride."""
    read: list[list[Tensor]] = []

    def keep(head: MaskHead, given: tuple[Any, ...]) -> None:
        read.append(given[0])

    handle = masks.head.register_forward_pre_hook(keep)
    try:
        masks(canvas[None])
    finally:
        handle.remove()
    return read[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the parts that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a trained pbrec-mt-small")
    parser.add_argument("--detector", type=Path, required=True, help="folder of a NanoDet")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    detector = NanoDetDetector.from_pretrained(args.detector, dtype=torch.float32).eval()
    train, _ = split_photographs(args.data)
    chosen = train[:: max(1, len(train) // PHOTOGRAPHS)]
    if not (args.out / "model").is_dir():
        model = PbrecForReferringExpression.from_pretrained(args.checkpoint, dtype=torch.float32).eval()
        new = transplanted_model(model, detector, (picture_inputs(scene)[0] for scene in chosen))
        with replaced_folder(args.out / "model") as folder:
            new.save_pretrained(folder)
            PreTrainedTokenizerFast.from_pretrained(args.checkpoint).save_pretrained(folder)
    if not (args.out / "masks").is_dir():
        masks = AutoModel.from_pretrained(args.checkpoint / "mask_detector", dtype=torch.float32).eval()
        renewed = transplanted_masks(masks, detector, (picture_inputs(scene)[0] for scene in chosen))
        with replaced_folder(args.out / "masks") as folder:
            renewed.save_pretrained(folder)
    logger.info("wrote %s", args.out)
