"""Photographs with instance masks, read from COCO-format annotations, for training detectors.

Boxes are tight around the masks, so that both move together under augmentation. Crowds and images that are marked as
not annotated are left out. Classes are matched by name. Knows nothing of canvases and detectors.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.io import ImageReadMode, decode_image
from torchvision.ops import masks_to_boxes


def decode_segmentation(segmentation: list | Mapping, height: int, width: int) -> Tensor:
    """Mask (height, width) bool of a COCO segmentation: polygons of any number of parts, or RLE of either kind."""
    if isinstance(segmentation, Mapping):
        counts = segmentation["counts"]
        rle = coco_mask.frPyObjects(segmentation, height, width) if isinstance(counts, list) else segmentation
    else:
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    # The decoder is column-major: the transposed view is contiguous.
    return torch.from_numpy(coco_mask.decode(rle).T).T.bool()


class CocoInstances(Dataset):
    """Items: {"image" (3, h, w) uint8 RGB, "masks" (G, h, w) bool, "boxes" (G, 4) XYXY, "labels" (G,), "image_id"}.

    Args:
        annotation_files: COCO instance files.
        image_folder: where the `file_name`s are.
        class_names: name of every class, in order.
        exclude: ids of images to leave out.

    Raises:
        ValueError: a category is not among `class_names`, or no image is left.
    """

    def __init__(
        self,
        annotation_files: Sequence[str | Path],
        image_folder: str | Path,
        class_names: Sequence[str],
        exclude: Collection[int] = (),
    ):
        self.image_folder = Path(image_folder)
        self.images: list[dict] = []
        index = {name: label for label, name in enumerate(class_names)}
        for file in annotation_files:
            content = json.loads(Path(file).read_text())
            # Ids mean something within their own file only.
            labels: dict[int, int] = {}
            annotations: dict[int, list[dict]] = defaultdict(list)
            for category in content["categories"]:
                if category["name"] not in index:
                    raise ValueError(
                        f"category {category['name']!r} of {file} is no class of the detector; give it an id2label "
                        f"with all categories (it has {', '.join(class_names[:5])}, …)"
                    )
                labels[category["id"]] = index[category["name"]]
            for annotation in content["annotations"]:
                if not annotation.get("iscrowd") and annotation.get("segmentation"):
                    instance = {
                        "segmentation": annotation["segmentation"],
                        "label": labels[annotation["category_id"]],
                    }
                    annotations[annotation["image_id"]].append(instance)
            self.images += [
                image | {"instances": annotations[image["id"]]}
                for image in content["images"]
                if image.get("annotated", True) and image["id"] not in exclude and annotations[image["id"]]
            ]
        if not self.images:
            raise ValueError(f"no annotated image is left of {', '.join(map(str, annotation_files))}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        image = self.images[index]
        pixels = decode_image(str(self.image_folder / image["file_name"]), ImageReadMode.RGB)
        instances = image["instances"]
        masks = torch.stack([decode_segmentation(one["segmentation"], *pixels.shape[1:]) for one in instances])
        labels = torch.tensor([one["label"] for one in instances])
        return {"image": pixels, "image_id": image["id"], **tidy(masks, labels)}


def tidy(masks: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Instances without empty masks, large ones first, with tight boxes (pixels' outer edges)."""
    areas = masks.flatten(1).sum(1)
    order = areas.argsort(descending=True, stable=True)
    order = order[areas[order] > 0]
    boxes = masks_to_boxes(masks[order]).float() if len(order) else torch.zeros(0, 4)
    boxes[:, 2:] += 1
    return {"masks": masks[order], "boxes": boxes, "labels": labels[order]}


def image_ids(files: Sequence[str | Path]) -> set[int]:
    """The `image_id`s of JSON-lines files, for instance of expressions that are kept for evaluation."""
    return {json.loads(line)["image_id"] for file in files for line in Path(file).read_text().splitlines() if line}


__all__ = ["CocoInstances", "decode_segmentation", "image_ids", "tidy"]
