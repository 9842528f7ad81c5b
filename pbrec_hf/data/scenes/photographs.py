"""Annotated photographs → scenes: a file in COCO's format with masks, and the folder of its pictures.

Pictures are read upright, by the same reader as everywhere else, and scaled down to training resolution. Knows nothing
of expressions.
"""

from collections.abc import Collection, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...images.reading import load_picture
from ...images.segmentation import rasterise
from ..coco import CocoAnnotation, CocoFile, CocoImage, Id, read_coco
from .objects import SceneObject, with_colors
from .scene import Scene

_LEAST_PIXELS = 12  # of a mask; an object with fewer is vague


def read_photographs(
    annotations: str | PathLike[str],
    images: str | PathLike[str],
    exclude: Collection[Id] = (),
    longest_edge: int = 512,
) -> list[Scene]:
    """
    The annotated photographs of a file in COCO's format.

    Images marked `"annotated": false` and images without objects are left out; `"partial_categories": true` makes a
    scene incomplete. Crowds become vague objects.

    Args:
        annotations: path of the instances file, with masks.
        images: folder of the pictures.
        exclude: ids of images to leave out.
        longest_edge: pixels to which larger pictures are scaled down.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the annotations are not of COCO's format, lack masks or are for a picture of another size; or a
            picture cannot be read.
    """
    file = read_coco(annotations)
    try:
        return [
            _scene(file, image, found, Path(images) / image.file_name, longest_edge)
            for image, found in file.annotated_images(exclude)
            if found
        ]
    except ValueError as error:
        raise ValueError(f"{annotations}: {error}") from error


def _scene(
    file: CocoFile, image: CocoImage, annotations: Sequence[CocoAnnotation], path: Path, longest_edge: int
) -> Scene:
    picture = load_picture(path)
    height, width = picture.height, picture.width
    image.require_size((height, width), path)
    scale = min(1.0, longest_edge / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
    objects = []
    for annotation in annotations:
        category = file.category_of(annotation)
        if category is None or annotation.segmentation is None:
            lack = "category of the file" if category is None else "segmentation"
            raise ValueError(f"Annotation {annotation.id!r} of image {image.id!r} has no {lack}: add it.")
        mask = _mask(annotation, (height, width), size)
        left, top, right, bottom = (value * scale for value in annotation.bbox)
        vague = annotation.iscrowd or bool(mask.sum() < _LEAST_PIXELS)
        objects.append(with_colors(SceneObject(category, (left, top, right, bottom), mask, vague=vague), pixels))
    return Scene(pixels, tuple(objects), complete=not image.partial_categories, name=str(image.id))


def _mask(annotation: CocoAnnotation, frame: tuple[int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """bool (H, W) at `size` (width, height) of an annotation in a `frame` of (height, width)."""
    full = Image.fromarray(rasterise(annotation.segmentation or [], *frame).numpy() * 255)
    return np.asarray(full.resize(size, Image.Resampling.BILINEAR)) > 127


__all__ = ["read_photographs"]
