"""A REFER folder's references → rows of the shared columns.

Expects references joined with their image and annotations; makes shards of them and, per shard, the rows of either
view of `data/schema.py`. Knows nothing of files.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from ..coco import CocoAnnotation, CocoImage
from ..referents import referent_columns
from ..values import Id
from .folder import Reference

T = TypeVar("T")

# At least so many shards (for num_proc and streaming), and at most so many references or images in one.
SHARDS, SHARD_SIZE = 16, 512


class Annotated(NamedTuple):
    """An annotated object and the name of its category."""

    ann_id: Id
    annotation: CocoAnnotation
    category: str


class ReferItem(NamedTuple):
    """A reference with all that its rows need, so that shards can travel to other processes."""

    reference: Reference
    image: CocoImage
    path: str | None
    objects: list[Annotated]


def shards(items: list[ReferItem], by_image: bool) -> list[list[ReferItem]]:
    """Shards of `items` in their order; `by_image` keeps all of an image together."""
    if by_image:
        grouped: dict[Id, list[ReferItem]] = {}
        for item in items:
            grouped.setdefault(item.reference.image_id, []).append(item)
        groups = list(grouped.values())
    else:
        groups = [[item] for item in items]
    size = max(1, min(SHARD_SIZE, len(groups) // SHARDS))
    return [[item for group in groups[i : i + size] for item in group] for i in range(0, len(groups), size)]


def sentence_rows(items: list[ReferItem]) -> list[dict[str, Any]]:
    """Rows of the sentence view, one per expression."""
    return [_image_columns(item) | row for item in items for row in _expressions(item)]


def image_rows(items: list[ReferItem]) -> list[dict[str, Any]]:
    """Rows of the image view, one per image with all its expressions."""
    rows: dict[Id, dict[str, Any]] = {}
    for item in items:
        row = rows.setdefault(item.reference.image_id, _image_columns(item) | {"expressions": []})
        row["expressions"] += _expressions(item)
    return list(rows.values())


def _image_columns(item: ReferItem) -> dict[str, Any]:
    height, width = item.image.size
    return {
        "image": None if item.path is None else {"path": item.path, "bytes": None},
        "image_id": str(item.reference.image_id),
        "width": width,
        "height": height,
    }


def _expressions(item: ReferItem) -> list[dict[str, Any]]:
    """One row per sentence. Arrow ignores the columns that the view does not have (`boxes`, `ann_ids` …)."""
    annotations = [one.annotation for one in item.objects]
    numbers = [_ann_number(one.ann_id) for one in item.objects]
    shared = {
        "ref_id": item.reference.ref_id,
        "ann_id": _only(numbers),
        "area": sum(annotation.area for annotation in annotations) if annotations else None,
        "category": _only([one.category for one in item.objects]),
        "category_id": _only([annotation.category_id for annotation in annotations]),
        "ann_ids": numbers,
        **_referents(item),
    }
    return [{"expression": text, "sent_id": sent_id, **shared} for sent_id, text in item.reference.sentences]


def _referents(item: ReferItem) -> dict[str, Any]:
    annotations = [one.annotation for one in item.objects]
    boxes = [annotation.bbox for annotation in annotations]
    try:
        return referent_columns(boxes, [annotation.segmentation for annotation in annotations], *item.image.size)
    except (KeyError, TypeError, ValueError) as error:
        ids = ", ".join(str(one.ann_id) for one in item.objects)
        raise ValueError(f"The segmentation of annotation {ids} (ref_id {item.reference.ref_id}): {error}") from error


def _ann_number(ann_id: Id) -> int | None:
    """ReferItGame numbers the objects within an image, "8756_2": here 8756 · 1000 + 2. Other texts: None."""
    if isinstance(ann_id, int):
        return ann_id
    match = re.fullmatch(r"(\d{1,15})_(\d{1,3})", ann_id, re.ASCII)
    return int(match[1]) * 1000 + int(match[2]) if match else None


def _only(values: Sequence[T]) -> T | None:
    """The value that all share; None if they differ or there are none."""
    return values[0] if len(set(values)) == 1 else None


__all__ = ["SHARDS", "SHARD_SIZE", "Annotated", "ReferItem", "image_rows", "sentence_rows", "shards"]
