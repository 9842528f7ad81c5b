"""Photographs with instance masks, from files in COCO's format, for training detectors.

Pictures are read upright, by the same reader as everywhere else. Boxes are tight around the masks, so that both move
together under augmentation. Crowds, objects without a mask and images marked as not annotated are left out. Classes
are matched by name. Knows nothing of canvases and detectors.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...data.coco import CocoAnnotation, CocoFile, CocoImage, Id, read_coco
from ...geometry.masks import bounding_boxes
from ...images.reading import load_pixels
from ...images.segmentation import rasterise


class Instances(TypedDict):
    """
    The G objects of a picture or canvas.

    Attributes:
        masks: bool (G, h, w).
        boxes: float (G, 4) XYXY, tight around the masks.
        labels: int64 (G,), classes from 0.
    """

    masks: Tensor
    boxes: Tensor
    labels: Tensor


class Photograph(Instances):
    """
    A picture and its objects.

    Attributes:
        image: uint8 (3, h, w) RGB, upright.
        image_id: of the annotation file.
    """

    image: Tensor
    image_id: Id


class _Annotated(NamedTuple):
    image: CocoImage
    annotations: list[CocoAnnotation]
    labels: list[int]


class CocoInstances(Dataset[Photograph]):
    """
    Items are `Photograph`s.

    Args:
        annotation_files: COCO instance files.
        image_folder: folder that the `file_name`s are relative to.
        class_names: name of every class, in order.
        exclude: ids of images to leave out.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not of COCO's format, a category is not among `class_names`, or no image is left.
    """

    def __init__(
        self,
        annotation_files: Sequence[str | PathLike[str]],
        image_folder: str | PathLike[str],
        class_names: Sequence[str],
        exclude: Collection[Id] = (),
    ) -> None:
        self.image_folder = Path(image_folder)
        index = {name: label for label, name in enumerate(class_names)}
        # Ids mean something within their own file only.
        self._images = [one for path in annotation_files for one in _annotated(path, index, exclude)]
        if not self._images:
            raise ValueError(
                f"No annotated image is left of {', '.join(map(str, annotation_files))}: give files with masks, or "
                "exclude less."
            )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Photograph:
        """
        One photograph.

        Raises:
            FileNotFoundError, ValueError: the picture cannot be read, or is not of its annotations' size.
        """
        image, annotations, labels = self._images[index]
        path = self.image_folder / image.file_name
        pixels = load_pixels(path)
        height, width = pixels.shape[1:]
        image.require_size((height, width), path)
        masks = [rasterise(annotation.segmentation or (), height, width).bool() for annotation in annotations]
        return {"image": pixels, "image_id": image.id, **tidy(torch.stack(masks), torch.tensor(labels))}


def tidy(masks: Tensor, labels: Tensor) -> Instances:
    """
    Objects without those whose mask is empty, large ones first.

    Args:
        masks: bool (G, h, w).
        labels: (G,).
    """
    areas = masks.flatten(1).sum(1)
    order = areas.argsort(descending=True, stable=True)
    order = order[areas[order] > 0]
    return {"masks": masks[order], "boxes": bounding_boxes(masks[order]), "labels": labels[order]}


def image_ids(files: Sequence[str | PathLike[str]]) -> set[Id]:
    """
    The `image_id`s of JSON-lines files, for instance of expressions that are kept for evaluation.

    Raises:
        OSError: a file cannot be read.
        ValueError: a line has none.
    """
    return {image_id for file in files for image_id in _image_ids(Path(file))}


def _image_ids(file: Path) -> Iterator[Id]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)["image_id"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{file}, line {number} has no image_id: give JSON objects with one, one per line."
                ) from error


def _annotated(path: str | PathLike[str], index: Mapping[str, int], exclude: Collection[Id]) -> Iterator[_Annotated]:
    """The images of a file that have objects to learn from, with the class of each object."""
    file = read_coco(path)
    for name in file.categories.values():
        if name not in index:
            raise ValueError(
                f"Category {name!r} of {path} is not a class of the detector: give it an id2label with all categories "
                f"(it has {', '.join(list(index)[:5])}, …)."
            )
    for image, annotations in file.annotated_images(exclude):
        kept = [one for one in annotations if one.segmentation is not None and not one.iscrowd]
        if kept:
            yield _Annotated(image, kept, [_label(file, one, index, path) for one in kept])


def _label(file: CocoFile, annotation: CocoAnnotation, index: Mapping[str, int], path: str | PathLike[str]) -> int:
    name = file.category_of(annotation)
    if name is None:
        raise ValueError(
            f"{path}, annotation {annotation.id}: category_id={annotation.category_id} is not a category of the file: "
            "add it to 'categories'."
        )
    return index[name]


__all__ = ["CocoInstances", "Instances", "Photograph", "image_ids", "tidy"]
