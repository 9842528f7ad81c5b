"""What `scripts/paper/reproduce.sh --dry-run` runs on: a generated data set and tiny networks with random weights.

    python scripts/paper/dry_run.py DATASET FOLDER

Stands in for everything that the real command fetches: FOLDER/data holds the data set's annotations in the REFER
format with drawn pictures, FOLDER/parts a configuration, an image backbone, a text encoder and two detectors, and
FOLDER/training.yaml the recipe that names them. So every step runs as it does at full size, in minutes and without a
network. Its figures mean nothing.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image, ImageDraw

from ...data.refer.generated import write_annotations
from ...data.refer.refcoco import CONFIGS
from ...hub.writing import replaced_folder

CANVAS, PICTURES, SIZE = 128, 8, (120, 96)  # pixels, number, (width, height)
CATEGORIES = {"dog": (200, 60, 40), "car": (40, 80, 200), "chair": (60, 170, 70)}  # with colours
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "left", "right", "the", "one", "on", *CATEGORIES)


def write_dry_run(key: str, folder: Path) -> None:
    """
    Write data, parts and recipe, unless they are there.

    Args:
        key: data set and split, such as "refcoco/unc".
        folder: to write.
    """
    if folder.exists():
        return
    with replaced_folder(folder) as partial:
        write_data(key, partial / "data")
        write_parts(partial / "parts")
        recipe = _recipe(key, folder.absolute())
        (partial / "training.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")


def write_data(key: str, root: Path) -> None:
    """Annotations of a data set in the REFER format, and pictures of rectangles in `root`/images."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (root / "images").mkdir(parents=True)
    for number in range(PICTURES):
        name = f"COCO_train2014_{number + 1:012d}.jpg"
        picture = Image.new("RGB", SIZE, (230, 225, 210))
        for place, (category, color) in enumerate(CATEGORIES.items()):
            left, top = 2 + 40 * place, 8 + 9 * ((number + place) % 5)
            right, bottom = left + 34, top + 40
            ImageDraw.Draw(picture).rectangle((left, top, right, bottom), fill=color)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": list(CATEGORIES).index(category) + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": 0,
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                }
            )
        picture.save(root / "images" / name)
        images.append({"id": number + 1, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
    categories = [{"id": number, "name": name} for number, name in enumerate(CATEGORIES, 1)]
    write_annotations(root, key, {"images": images, "annotations": annotations, "categories": categories})


def write_parts(root: Path) -> None:
    """The folders that the recipe names, each as `save_pretrained` writes it."""
    from transformers import BertConfig, BertModel, BertTokenizer, ResNetBackbone, ResNetConfig

    from ...configuration_pbrec import PbrecConfig
    from ...detectors.fcos import FcosConfig, FcosDetector
    from ...detectors.solo import SoloConfig, SoloDetector
    from ...image_processing_pbrec import PbrecImageProcessor

    torch.manual_seed(0)
    shape: dict[str, Any] = {"depths": [1, 1, 1, 1], "embedding_size": 8, "layer_type": "basic"}
    outputs: dict[str, Any] = {"out_features": ["stage4"]}  # the signature that transformers shows leaves it out
    backbone = ResNetConfig(**shape, hidden_sizes=[8, 8, 8, 16], **outputs)
    text = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    sizes: dict[str, Any] = {"d_model": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = PbrecConfig(backbone_config=backbone, text_config=text, image_size=CANVAS, max_text_length=16, **sizes)
    config.save_pretrained(root / "config")
    PbrecImageProcessor(size={"longest_edge": CANVAS}).save_pretrained(root / "config")
    ResNetBackbone(backbone).save_pretrained(root / "backbone")
    BertModel(text).save_pretrained(root / "text")
    BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)}).save_pretrained(root / "text")
    FcosDetector(FcosConfig(depth=18, neck_channels=32, tower_depth=1)).save_pretrained(root / "box_detector")
    trunk = shape | {
        "model_type": "resnet", "hidden_sizes": [8, 8, 8, 8], "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }  # fmt: skip
    solo = SoloConfig(backbone_config=trunk, neck_channels=32, channels=32, stacked_convs=1)
    SoloDetector(solo).save_pretrained(root / "mask_detector")


def _recipe(key: str, folder: Path) -> dict[str, Any]:
    """The published recipe's fields, small."""
    dataset, split_by = key.split("/")
    parts = {
        "model_config": "config",
        "backbone_checkpoint": "backbone",
        "text_checkpoint": "text",
        "box_detector": "box_detector",
        "mask_detector": "mask_detector",
    }
    return {field: str(folder / "parts" / name) for field, name in parts.items()} | {
        "dataset": dataset,
        "split_by": split_by,
        "check_counts": False,
        "epochs": 1,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "num_workers": 0,
        "cpu": True,
        "trackers": ["none"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=sorted(CONFIGS), metavar="DATASET", help="such as refcoco/unc")
    parser.add_argument("folder", type=Path, help="to write; left alone if it is there")
    args = parser.parse_args(arguments)
    write_dry_run(args.dataset, args.folder)


__all__ = ["write_data", "write_dry_run", "write_parts"]
