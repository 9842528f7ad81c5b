"""Segmentations → pixels and back, by pycocotools: the one place that decodes what COCO files hold.

A segmentation is polygons (a list of parts, each flat [x0, y0, x1, y1, …]), one flat polygon, an RLE of COCO
({"size": [height, width], "counts"}, the counts as numbers or as compressed text), a list of such RLEs, as ReferItGame
has them, or a `SegmentationStruct`, the form of the package's data sets. All parts of an object count together.
Coordinates are pixels of the frame that is asked for. To rasterise on another frame (the letterboxed canvas), move the
polygons there first: that is exact, warping a mask is not. Knows nothing of letterboxes and augmentation.
"""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, TypedDict

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

Polygon = Sequence[float] | np.ndarray
Segmentation = Sequence[Any] | Mapping[str, Any]  # any of the forms of the module's docstring


class SegmentationStruct(TypedDict):
    """
    Either polygons or an RLE; what is not there is None.

    Attributes:
        polygons: parts of at least 3 points, each flat [x0, y0, x1, y1, …], pixels.
        counts: COCO's compressed run lengths.
        size: [height, width] of the RLE, pixels.
    """

    polygons: list[list[float]] | None
    counts: str | None
    size: list[int] | None


class Rle(TypedDict):
    """
    A binary mask in COCO's compressed run lengths, fit for JSON.

    Attributes:
        size: [height, width], pixels.
        counts: the run lengths, column by column.
    """

    size: list[int]
    counts: str


def segmentation_struct(segmentation: Segmentation | None, height: int, width: int) -> SegmentationStruct | None:
    """
    The form of the package's data sets: polygons stay polygons, everything else becomes one compressed RLE.

    Args:
        segmentation: any of the forms of the module's docstring; None or an empty list for "no mask".
        height, width: of the picture, pixels.

    Raises:
        ValueError: not a segmentation, a polygon that has not at least 3 points, or run lengths that are damaged or of
            another size than the picture.
    """
    return union_of_segmentations([segmentation], height, width)


def union_of_segmentations(
    segmentations: Iterable[Segmentation | None], height: int, width: int
) -> SegmentationStruct | None:
    """
    The segmentations of several objects as one struct, None if none has any; polygons if all are polygons.

    Args:
        segmentations: of one picture, each as for `segmentation_struct`.
        height, width: of the picture, pixels.

    Raises:
        ValueError: as of `segmentation_struct`.
    """
    present = [
        segmentation
        for segmentation in segmentations
        if isinstance(segmentation, Mapping) or (segmentation is not None and len(segmentation))
    ]
    if not present:
        return None
    polygons = [_polygons(segmentation) for segmentation in present]
    if all(parts is not None for parts in polygons):
        every = [[float(value) for value in part] for parts in polygons for part in parts or ()]
        return {"polygons": every, "counts": None, "size": None}
    merged = _merged([_encoded(segmentation, height, width) for segmentation in present])
    return {"polygons": None, "counts": merged["counts"].decode("ascii"), "size": [height, width]}


def rasterise(segmentation: Segmentation, height: int, width: int) -> Tensor:
    """
    The mask of a segmentation in any form as uint8 (height, width), 1 = object.

    Raises:
        ValueError: as of `segmentation_struct`.
    """
    return _pixels(_encoded(segmentation, height, width))


def rasterise_polygons(polygons: Sequence[Polygon], height: int, width: int) -> Tensor:
    """
    Union of polygons as uint8 (height, width), 1 = object; what is outside the frame is cut off.

    Args:
        polygons: parts of at least 3 points, each flat [x0, y0, x1, y1, …] or (n, 2), pixels of the frame.
        height, width: of the frame, pixels.
    """
    parts = coco_mask.frPyObjects([np.asarray(part, dtype=np.float64).ravel() for part in polygons], height, width)
    return _pixels(_merged(parts))


def segmentation_area(segmentation: Segmentation, height: int, width: int) -> float:
    """Number of mask pixels in a frame of `height` × `width`, overlapping parts counted once."""
    return float(coco_mask.area(_encoded(segmentation, height, width)))


def segmentation_extent(segmentation: SegmentationStruct | Mapping[str, Any]) -> np.ndarray:
    """Corners (left, top), (right, bottom) of the tight box around a segmentation, float64 (2, 2), pixels."""
    if polygons := segmentation.get("polygons"):
        points = np.concatenate([np.asarray(part, dtype=np.float64).reshape(-1, 2) for part in polygons])
        return np.stack((points.min(axis=0), points.max(axis=0)))
    height, width = segmentation["size"] or (0, 0)
    left, top, box_width, box_height = coco_mask.toBbox(_encoded(segmentation, height, width))
    return np.array(((left, top), (left + box_width, top + box_height)))


def mask_to_rle(mask: Tensor | np.ndarray) -> Rle:
    """A binary mask (height, width) → its RLE."""
    encoded = coco_mask.encode(np.asfortranarray(np.asarray(mask, dtype=np.uint8)))
    height, width = encoded["size"]
    return {"size": [int(height), int(width)], "counts": encoded["counts"].decode("ascii")}


def rle_to_mask(rle: Rle | Mapping[str, Any]) -> Tensor:
    """
    An RLE → its mask, bool (height, width).

    Raises:
        ValueError: the run lengths do not fill the size.
    """
    height, width = (int(side) for side in rle["size"])
    return rasterise(rle, height, width).bool()


def mask_to_segmentation(mask: Tensor | np.ndarray) -> SegmentationStruct:
    """A binary mask (height, width) → the struct that holds its RLE."""
    rle = mask_to_rle(mask)
    return {"polygons": None, "counts": rle["counts"], "size": rle["size"]}


def checked_rle(counts: str | bytes, height: int, width: int) -> dict[str, Any]:
    """
    Compressed run lengths in the form that pycocotools takes. Damaged ones crash it or keep it busy without end.

    Raises:
        ValueError: they do not fill `height` × `width` pixels.
    """
    data = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    runs = _run_lengths(data)
    if runs is None or min(runs, default=-1) < 0 or sum(runs) != height * width:
        raise ValueError(
            f"the run lengths {data[:20]!r} are damaged: they do not fill {height}x{width} pixels; write them again."
        )
    return {"counts": data, "size": [height, width]}


def _polygons(segmentation: Segmentation) -> Sequence[Polygon] | None:
    """The parts of a segmentation that holds polygons, None of one that holds run lengths."""
    if isinstance(segmentation, Mapping):
        return _polygons(segmentation["polygons"]) if segmentation.get("polygons") else None
    if isinstance(segmentation, (str, bytes)):
        raise ValueError(f"{segmentation!r} is no segmentation: give polygons or an RLE with 'counts' and 'size'.")
    if isinstance(segmentation[0], Mapping):
        return None
    parts: Sequence[Polygon] = [segmentation] if isinstance(segmentation[0], Real) else segmentation
    for part in parts:
        if len(part) < 6 or len(part) % 2:
            raise ValueError(f"A polygon has {len(part)} coordinates: give an even number of at least 6 (x, y, …).")
    return parts


def _encoded(segmentation: Segmentation, height: int, width: int) -> dict[str, Any]:
    """A segmentation in any form as pycocotools' compressed RLE of a frame of `height` × `width`."""
    polygons = _polygons(segmentation)
    if polygons is not None:
        parts = [np.asarray(part, dtype=np.float64) for part in polygons]
        return _merged(coco_mask.frPyObjects(parts, height, width))
    if isinstance(segmentation, Mapping):
        return _encoded_rle(segmentation, height, width)
    return _merged([_encoded_rle(rle, height, width) for rle in segmentation])


def _encoded_rle(rle: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
    counts, size = rle.get("counts"), rle.get("size")
    if counts is None or size is None:
        raise ValueError(
            f"The segmentation has neither polygons nor RLE counts with a size, but {sorted(rle)}: give either."
        )
    if [int(side) for side in size] != [height, width]:
        raise ValueError(f"RLE size {list(size)} is not the picture's [height, width] = [{height}, {width}].")
    if isinstance(counts, (str, bytes)):
        return checked_rle(counts, height, width)
    if min(counts, default=-1) < 0 or sum(counts) != height * width:
        raise ValueError(
            f"RLE counts sum to {sum(counts)}: give run lengths of at least 0 that sum to height × width = "
            f"{height * width}."
        )
    encoded: dict[str, Any] = coco_mask.frPyObjects({"counts": list(counts), "size": [height, width]}, height, width)
    return encoded


def _merged(rles: Sequence[dict[str, Any]]) -> dict[str, Any]:
    union: dict[str, Any] = rles[0] if len(rles) == 1 else coco_mask.merge(rles)
    return union


def _run_lengths(data: bytes) -> list[int] | None:
    """The numbers in COCO's text: five bits a character, each run as its difference from the last but one."""
    runs: list[int] = []
    value = shift = 0
    for character in data:
        bits = character - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs


def _pixels(rle: dict[str, Any]) -> Tensor:
    # pycocotools is column-major: the transposed view is contiguous, so this costs no copy.
    return torch.from_numpy(coco_mask.decode(rle).T).T


__all__ = [
    "Polygon",
    "Rle",
    "Segmentation",
    "SegmentationStruct",
    "checked_rle",
    "mask_to_rle",
    "mask_to_segmentation",
    "rasterise",
    "rasterise_polygons",
    "rle_to_mask",
    "segmentation_area",
    "segmentation_extent",
    "segmentation_struct",
    "union_of_segmentations",
]
