"""Rows of the shared columns out of what a REFER folder says.

Expects references joined with their image and annotations; gives shards of them and, per shard, the rows of either
view of `schema`. Knows nothing of files.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from pycocotools import mask as coco_mask

from ..schema import segmentation_struct
from .folder import Annotation, ImageRecord, Reference

# At least so many shards (for num_proc and streaming), and at most so many references or images in one.
SHARDS, SHARD_SIZE = 16, 512


class ReferItem(NamedTuple):
    """A reference with all that its rows need, so that shards can travel to other processes."""

    reference: Reference
    image: ImageRecord
    path: str | None
    referents: list[tuple[int | str, Annotation, str]]  # ann_id, annotation, name of the category


def shards(items: list[ReferItem], by_image: bool) -> list[list[ReferItem]]:
    """Shards of `items` in their order; `by_image` keeps all of an image together."""
    if by_image:
        grouped: dict[int, list[ReferItem]] = {}
        for item in items:
            grouped.setdefault(item.reference.image_id, []).append(item)
        groups = list(grouped.values())
    else:
        groups = [[item] for item in items]
    size = max(1, min(SHARD_SIZE, len(groups) // SHARDS))
    return [[item for group in groups[i : i + size] for item in group] for i in range(0, len(groups), size)]


def sentence_rows(items: list[ReferItem]) -> list[dict[str, Any]]:
    return [_image_columns(item) | row for item in items for row in _expressions(item)]


def image_rows(items: list[ReferItem]) -> list[dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    for item in items:
        row = rows.setdefault(item.reference.image_id, _image_columns(item) | {"expressions": []})
        row["expressions"] += _expressions(item)
    return list(rows.values())


def _image_columns(item: ReferItem) -> dict[str, Any]:
    return {
        "image": None if item.path is None else {"path": item.path, "bytes": None},
        "image_id": str(item.reference.image_id),
        "width": item.image.width,
        "height": item.image.height,
    }


def _expressions(item: ReferItem) -> list[dict[str, Any]]:
    """One row per sentence. Columns beyond the schema of the view (`boxes`, `ann_ids`) are ignored by Arrow."""
    ids, annotations, names = zip(*item.referents, strict=True) if item.referents else ((), (), ())
    boxes = [annotation.bbox for annotation in annotations]
    numbers = [_ann_number(ann_id) for ann_id in ids]
    referent = {
        "ref_id": item.reference.ref_id,
        "ann_id": _only(numbers),
        "bbox": _hull(boxes),
        "segmentation": _segmentation(item, annotations),
        "area": sum(annotation.area for annotation in annotations) if annotations else None,
        "category": _only(names),
        "category_id": _only([annotation.category_id for annotation in annotations]),
        "ann_ids": numbers,
        "boxes": boxes,
    }
    return [{"expression": text, "sent_id": sent_id, **referent} for sent_id, text in item.reference.sentences]


def _segmentation(item: ReferItem, annotations: Sequence[Annotation]) -> dict[str, Any] | None:
    try:
        return _union([a.segmentation for a in annotations], item.image.height, item.image.width)
    except (KeyError, TypeError, ValueError) as error:
        ids = ", ".join(str(ann_id) for ann_id, _, _ in item.referents)
        raise ValueError(f"the segmentation of annotation {ids} (ref_id {item.reference.ref_id}): {error}") from error


def _ann_number(ann_id: int | str) -> int | None:
    """ReferItGame numbers the objects within an image, "8756_2": here 8756 * 1000 + 2. Other strings: None."""
    if isinstance(ann_id, int):
        return ann_id
    match = re.fullmatch(r"(\d+)_(\d{1,3})", ann_id)
    return int(match[1]) * 1000 + int(match[2]) if match else None


def _only(values: tuple | list) -> Any:
    """The value all share, None if they differ or there are none."""
    return values[0] if len(set(values)) == 1 else None


def _hull(boxes: list[tuple[float, float, float, float]]) -> list[float] | None:
    if not boxes:
        return None
    left, top, right, bottom = zip(*boxes, strict=True)
    return [min(left), min(top), max(right), max(bottom)]


def _union(segmentations: list, height: int, width: int) -> dict[str, Any] | None:
    """All parts of all referents as one struct of the schema."""
    present = [segmentation for segmentation in segmentations if segmentation]
    if not any(isinstance(s, dict) or isinstance(s[0], dict) for s in present):
        return segmentation_struct([part for polygons in present for part in polygons], height, width)
    rles = []
    for segmentation in present:
        if isinstance(segmentation, list) and not isinstance(segmentation[0], dict):
            rles += coco_mask.frPyObjects([list(part) for part in segmentation], height, width)
        else:
            for rle in segmentation if isinstance(segmentation, list) else [segmentation]:
                struct = segmentation_struct(rle, height, width)
                rles.append({"size": struct["size"], "counts": struct["counts"]})
    return segmentation_struct(rles[0] if len(rles) == 1 else coco_mask.merge(rles), height, width)
