"""A detector with a large box at each of 4 × 4 points, and REFER folders whose referents are often such boxes."""

import json
import random
from pathlib import Path

import torch
from checkpoints import tiny_mask_detector, tiny_model, tiny_processor
from huggingface_hub.dataclasses import strict
from refer_folders import write_refer_folder
from torch import Tensor, nn

from pbrec_hf.data.refer.refcoco import CONFIGS
from pbrec_hf.detectors.base import Detector, DetectorConfig, register_detector
from pbrec_hf.geometry.letterbox import Letterbox
from pbrec_hf.geometry.proposals import Proposals

SIDE, CELL = 128, 32


def tiles() -> list[list[float]]:
    """XYXY in canvas pixels, point after point."""
    boxes = []
    for point in range(16):
        x, y = (point % 4 + 0.5) * CELL, (point // 4 + 0.5) * CELL
        width, height = 18 + 7 * point % 23, 16 + 11 * point % 19
        boxes.append([x - width, y - height, x + width, y + height])
    return boxes


def qualities() -> list[float]:
    return [0.3 + 0.65 * (5 * point % 16) / 16 for point in range(16)]


@strict
class TilesConfig(DetectorConfig):
    model_type = "own_tiles"
    default_classes = ("tile",)


@register_detector
class TilesDetector(Detector):
    config: TilesConfig

    def __init__(self, config: TilesConfig):
        super().__init__(config)
        self.unused = nn.Linear(1, 1)
        self.calls = 0  # pictures that it has seen
        self.post_init()

    def forward(self, pixel_values: Tensor) -> Tensor:
        return pixel_values.new_tensor(qualities()).expand(len(pixel_values), -1)

    @torch.no_grad()
    def propose(self, pixel_values, pixel_mask=None, output=None) -> Proposals:
        self.calls += len(pixel_values)
        boxes = pixel_values.new_tensor(tiles()).expand(len(pixel_values), -1, -1)
        quality = self(pixel_values) if output is None else output
        return Proposals(((4, 4),), (SIDE, SIDE), quality=quality, boxes=boxes)


def save_tiles_checkpoint(folder: Path, seed: int = 0, detectors=("boxes", "masks"), **fields) -> None:
    """A tiny model of random weights with this detector, and a tiny SOLO."""
    tiny_model(seed, **fields).save_pretrained(folder)
    held = {"box_detector": TilesDetector(TilesConfig())} if "boxes" in detectors else {}
    if "masks" in detectors:
        held["mask_detector"] = tiny_mask_detector()
    tiny_processor(**held).save_pretrained(folder)


def write_tiles_folder(
    root: Path, keys=("refcoco/unc", "refcoco+/unc", "refcocog/umd"), seed: int = 0
) -> tuple[Path, Path]:
    """REFER folders of `keys`; the referents are boxes of the detector, moved by a few pixels, with masks as boxes."""
    for key in keys:
        refer_dir, image_dir = write_refer_folder(root, key)
        path = root / CONFIGS[key]["folder"] / "instances.json"
        instances = json.loads(path.read_text())
        sizes = {image["id"]: (image["height"], image["width"]) for image in instances["images"]}
        draws = random.Random(seed)
        for annotation in instances["annotations"]:
            height, width = sizes[annotation["image_id"]]
            tile = torch.tensor([tiles()[draws.randrange(16)]]) + torch.tensor(
                [draws.uniform(-3, 3) for _ in range(4)]
            )
            x1, y1, x2, y2 = Letterbox.fit(height, width, SIDE).boxes_to_original(tile)[0].tolist()
            annotation["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            annotation["segmentation"] = [[x1, y1, x2, y1, x2, y2, x1, y2]]
            annotation["area"] = (x2 - x1) * (y2 - y1)
        path.write_text(json.dumps(instances))
    return refer_dir, image_dir
