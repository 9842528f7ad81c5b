"""Segmentations → pixels and back, by pycocotools: the one place that decodes what COCO files hold.

A segmentation is polygons (a list of parts, each flat [x0, y0, x1, y1, …]), one flat polygon, an RLE of COCO
({"size": [height, width], "counts"}, the counts as numbers or as compressed text), a list of such RLEs, as ReferItGame
has them, or a `SegmentationStruct`, the form of the package's data sets. All parts of an object count together.
Coordinates are pixels of the frame that is asked for. To rasterise on another frame (the letterboxed canvas), move the
polygons there first: that is exact, warping a mask is not. Knows nothing of letterboxes and augmentation.
"""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, TypedDict, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

Polygon = Sequence[float] | np.ndarray
Segmentation = Sequence[Any] | Mapping[str, Any]  # any of the forms of the module's docstring

_MOST_SIDES = 100  # of the frame: outlines that are longer, or further away, are damage


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
        ValueError: not a segmentation, a polygon that has not at least 3 points or that is far larger than the
            picture, or run lengths that are damaged or of another size than the picture.
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
    present = [segmentation for segmentation in segmentations if _says_something(segmentation)]
    if not present:
        return None
    polygons = [_polygons(segmentation) for segmentation in present]
    if all(parts is not None for parts in polygons):
        every = [part.tolist() for parts in polygons for part in _drawable(parts or (), height, width)]
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


def _says_something(segmentation: Any) -> TypeGuard[Segmentation]:
    """Whether there is a segmentation, which may be wrong; None and an empty list are none."""
    if segmentation is None or isinstance(segmentation, Mapping):
        return segmentation is not None
    if isinstance(segmentation, (str, bytes)) or not isinstance(segmentation, (Sequence, np.ndarray)):
        raise ValueError(
            f"A {type(segmentation).__name__} is no segmentation: give polygons or an RLE with 'counts' and 'size'."
        )
    return len(segmentation) > 0


def _polygons(segmentation: Segmentation) -> Sequence[Polygon] | None:
    """The parts of a segmentation that holds polygons, None of one that holds run lengths."""
    if isinstance(segmentation, Mapping):
        parts = segmentation.get("polygons")
        return _polygons(parts) if not isinstance(parts, Mapping) and _says_something(parts) else None
    if isinstance(segmentation[0], Mapping):
        return None
    return [segmentation] if isinstance(segmentation[0], Real) else segmentation


def _drawable(parts: Sequence[Polygon], height: int, width: int) -> list[NDArray[np.float64]]:
    """
    The parts as flat arrays, of outlines that can be drawn.

    pycocotools allocates memory for every pixel along an outline, in the picture or not, before it cuts.

    Raises:
        ValueError: not at least 3 points, not numbers, or outlines that are out of proportion.
    """
    most = _MOST_SIDES * (height + width)
    length = 0.0
    arrays = []
    for part in parts:
        points = _coordinates(part)
        xy = points.reshape(-1, 2)
        near = bool(np.abs(xy).max() <= most)  # NaN compares false
        length += float(np.abs(xy - np.roll(xy, 1, axis=0)).sum()) if near else 0.0
        if not near or length > most:
            raise ValueError(
                f"A polygon from {xy.min(axis=0).tolist()} to {xy.max(axis=0).tolist()} (x, y) leaves its picture of "
                f"{width}x{height}, or its outline is {length:g} pixels long: give pixels of the picture."
            )
        arrays.append(points)
    return arrays


def _coordinates(part: Any) -> NDArray[np.float64]:
    try:
        points = np.asarray(part)
    except (TypeError, ValueError):
        points = np.empty(0, object)
    flags = isinstance(part, Sequence) and bool in set(map(type, part))  # which NumPy takes for 0 and 1
    if flags or points.dtype.kind not in "iuf" or points.ndim != 1:
        raise ValueError("A polygon holds something else than numbers: give x, y, x, y, …")
    if len(points) < 6 or len(points) % 2:
        raise ValueError(f"A polygon has {len(points)} coordinates: give an even number of at least 6 (x, y, …).")
    return points.astype(np.float64)


def _encoded(segmentation: Segmentation, height: int, width: int) -> dict[str, Any]:
    """A segmentation in any form as pycocotools' compressed RLE of a frame of `height` × `width`."""
    polygons = _polygons(segmentation)
    if polygons is not None:
        return _merged(coco_mask.frPyObjects(_drawable(polygons, height, width), height, width))
    if isinstance(segmentation, Mapping):
        return _encoded_rle(segmentation, height, width)
    return _merged([_encoded_rle(rle, height, width) for rle in segmentation])


def _encoded_rle(rle: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
    counts, size = (rle.get(name) if isinstance(rle, Mapping) else None for name in ("counts", "size"))
    if counts is None or size is None:
        raise ValueError("The segmentation has neither polygons nor RLE counts with a size: give either.")
    if not (
        isinstance(size, (Sequence, np.ndarray)) and len(size) == 2 and all(isinstance(side, Real) for side in size)
    ):
        raise ValueError(f"The RLE's size is no [height, width]: give [{height}, {width}].")
    if list(size) != [height, width]:
        raise ValueError(f"RLE size {list(size)} is not the picture's [height, width] = [{height}, {width}].")
    if isinstance(counts, (str, bytes)):
        return checked_rle(counts, height, width)
    counts = counts.tolist() if isinstance(counts, np.ndarray) else counts
    if not isinstance(counts, Sequence) or not set(map(type, counts)) <= {int}:
        raise ValueError("The RLE's counts are neither text nor a list of whole numbers: give either.")
    if min(counts, default=-1) < 0 or sum(counts) != height * width:
        raise ValueError(
            f"RLE counts sum to {min(sum(counts), 10**12)}: give run lengths of at least 0 that sum to height × width "
            f"= {height * width}."
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
