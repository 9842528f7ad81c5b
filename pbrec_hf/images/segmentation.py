"""Segmentations (the struct of `schema.py`) to pixels and back, by pycocotools, all parts of an object together.

Expects coordinates of the frame that is asked for; to rasterise on another frame (the letterboxed canvas), move the
polygons there first: that is exact, while warping a mask is not. Knows nothing of letterboxes and augmentation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask


def rasterise_polygons(polygons: Sequence[Sequence[float] | np.ndarray], height: int, width: int) -> torch.Tensor:
    """Union of polygon parts as uint8 (height, width), 1 = object.

    Args:
        polygons: parts, each flat ``[x0, y0, x1, y1, ...]`` in pixels of the frame, at least 3 points. What lies
            outside the frame is cut off.
    """
    parts = coco_mask.frPyObjects([np.asarray(part, dtype=np.float64).ravel() for part in polygons], height, width)
    return _pixels(coco_mask.merge(parts))


def rasterise(segmentation: Mapping[str, Any], height: int, width: int) -> torch.Tensor:
    """Mask of a segmentation struct as uint8 (height, width), 1 = object.

    Raises:
        ValueError: neither polygons nor RLE, or an RLE of another size than ``[height, width]``.
    """
    if segmentation.get("polygons"):
        return rasterise_polygons(segmentation["polygons"], height, width)
    if segmentation.get("counts") is None:
        raise ValueError(f"segmentation has neither polygons nor RLE counts: {dict(segmentation)}")
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"RLE size {list(segmentation['size'])} differs from the frame's [{height}, {width}]")
    return _pixels(checked_rle(segmentation["counts"], height, width))


def mask_to_segmentation(mask: torch.Tensor | np.ndarray) -> dict[str, Any]:
    """A binary mask (height, width) → segmentation struct holding its RLE."""
    array = np.asfortranarray(np.asarray(mask, dtype=np.uint8))
    rle = coco_mask.encode(array)
    return {"polygons": None, "counts": rle["counts"].decode("ascii"), "size": list(array.shape)}


def segmentation_area(segmentation: Mapping[str, Any], height: int, width: int) -> float:
    """Number of mask pixels in a frame of ``height`` x ``width``, overlapping parts counted once."""
    if segmentation.get("polygons"):
        return float(coco_mask.area(coco_mask.merge(coco_mask.frPyObjects(segmentation["polygons"], height, width))))
    return float(coco_mask.area(checked_rle(segmentation["counts"], height, width)))


def segmentation_extent(segmentation: Mapping[str, Any]) -> np.ndarray:
    """Corners (left, top), (right, bottom) of a segmentation struct's tight box, float64 (2, 2), pixels."""
    if segmentation.get("polygons"):
        points = np.concatenate(
            [np.asarray(part, dtype=np.float64).reshape(-1, 2) for part in segmentation["polygons"]]
        )
        return np.stack((points.min(axis=0), points.max(axis=0)))
    left, top, width, height = coco_mask.toBbox(checked_rle(segmentation["counts"], *segmentation["size"]))
    return np.array(((left, top), (left + width, top + height)))


def checked_rle(counts: str | bytes, height: int, width: int) -> dict[str, Any]:
    """
    COCO's compressed run lengths as pycocotools takes them, which damaged ones crash or occupy without end.

    Raises:
        ValueError: they do not fill height × width pixels.
    """
    data = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    runs = _run_lengths(data)
    if runs is None or min(runs, default=-1) < 0 or sum(runs) != height * width:
        raise ValueError(f"the run lengths {data[:20]!r} are damaged: they do not fill {height}x{width} pixels")
    return {"counts": data, "size": [height, width]}


def _run_lengths(data: bytes) -> list[int] | None:
    """The numbers in COCO's text: five bits a character, each run as its difference from the last but one."""
    runs, value, shift = [], 0, 0
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


def _pixels(rle: dict[str, Any]) -> torch.Tensor:
    # pycocotools is column-major: the transposed view is contiguous, so this costs no copy
    return torch.from_numpy(coco_mask.decode(rle).T).T
