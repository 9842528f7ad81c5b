"""Checks what a row of own data refers to: its boxes and masks, one, several or none.

A row has `bbox` with `segmentation`, or `boxes` with `segmentations`; what refers to nothing says `no_target: true`,
so that a box that is only missing never means that. Expects boxes XYXY, pixels of the upright picture. Knows nothing
of files and of the other columns.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..images.segmentation import SegmentationStruct, segmentation_area, segmentation_extent, segmentation_struct
from .box_forms import TOLERANCE, BoxForms, leaves
from .referents import referent_columns

Size = tuple[int, int]  # (height, width) of a picture
Report = Callable[[str], None]
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}  # as tables write them


class Wrong(Protocol):
    """Notes something that is wrong with a row."""

    def __call__(self, name: str, remedy: str, value: Any = None) -> None:
        """
        Args:
            name: of the column.
            remedy: what to do.
            value: what is wrong; None = all that the row has in the column.
        """


def check_referents(row: Mapping[str, Any], size: Size, form: str, forms: BoxForms, wrong: Wrong) -> dict[str, Any]:
    """
    The columns that say what a row refers to; see `referent_columns`.

    Args:
        row: with XYXY `bbox` or `boxes`.
        size: of its picture.
        form: of its boxes before they were made XYXY.
        forms: sees all boxes.
        wrong: called for what is wrong; then the columns are incomplete.
    """
    absent = _flag(row, "no_target", wrong)
    name = "bbox" if row.get("boxes") is None else "boxes"
    given = _boxes(row, absent, wrong)
    masks = _masks(row, len(given), absent, wrong)
    column = "segmentation" if row.get("segmentations") is None else "segmentations"
    boxes, segmentations = [], []
    for number, (written, mask) in enumerate(zip(given, masks, strict=True), start=1):
        which = f"number {number} " if len(given) > 1 else ""
        box = _box(written, size, _about(wrong, name, which, written))
        segmentation, extent = _segmentation(mask, size, box, _about(wrong, column, which))
        forms.see(list(written), form, size, extent)
        boxes.append(box)
        segmentations.append(segmentation)
    if any(box is None for box in boxes):
        return {}
    _check_repeats(boxes, segmentations, wrong)
    columns = referent_columns([box for box in boxes if box is not None], segmentations, *size)
    _check_union(row, columns["segmentation"], size, wrong)
    return columns


def _about(wrong: Wrong, name: str, which: str, value: Any = None) -> Report:
    """Notes what is wrong with one of the values of a column."""
    return lambda remedy: wrong(name, which + remedy, value)


def area_of(columns: Mapping[str, Any], size: Size) -> float | None:
    """Pixels of the masks together, else of the boxes; None of what refers to nothing."""
    if columns["segmentation"] is not None:
        return segmentation_area(columns["segmentation"], *size)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in columns["boxes"]]
    return float(sum(areas)) if areas else None


def _boxes(row: Mapping[str, Any], absent: bool, wrong: Wrong) -> Sequence[Sequence[float]]:
    bbox, boxes = row.get("bbox"), row.get("boxes")
    if boxes is None:
        found = [] if bbox is None else [bbox]
    else:
        found = boxes
        if bbox is not None and not _is_hull(bbox, boxes):
            wrong("bbox", "there are boxes, too, and this is not the box around them; keep one of the two columns")
    if found and absent:
        wrong("no_target", "there are boxes in this row; leave them out, or no_target")
    elif not found and not absent:
        remedy = "or no_target: true if the expression refers to nothing in the picture"
        if boxes is None:
            wrong("bbox", f"give four numbers, pixels of the picture, {remedy}")
        else:
            wrong("boxes", f"is empty; give boxes, {remedy}", boxes)
    return found


def _is_hull(bbox: Sequence[float], boxes: Sequence[Sequence[float]]) -> bool:
    """Whether `bbox` is the box around all, as in tables that this package wrote."""
    if not boxes:
        return False
    corners = np.asarray(boxes, dtype=np.float64)
    hull = np.concatenate((corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)))
    return bool(np.abs(hull - bbox).max() <= TOLERANCE)


def _masks(row: Mapping[str, Any], count: int, absent: bool, wrong: Wrong) -> Sequence[Any]:
    """A segmentation, or None, for each box."""
    single, several = row.get("segmentation"), row.get("segmentations")
    nothing = [None] * count
    if several is not None:
        if not isinstance(several, list):
            wrong("segmentations", "give a list with the mask of each box")
        elif len(several) != count:
            wrong("segmentations", f"are {len(several)} for {count} boxes; give one for each, or null in its place")
        else:
            return several
        return nothing
    if single is None or count == 1:
        return nothing if single is None else [single]
    if count:
        wrong("segmentation", f"is one mask for {count} boxes; give segmentations, a list with the mask of each")
    elif absent:
        wrong("segmentation", "is the mask of something, but no_target says that there is nothing; keep one of them")
    return nothing


def _check_union(row: Mapping[str, Any], union: SegmentationStruct | None, size: Size, wrong: Wrong) -> None:
    """A `segmentation` beside `segmentations` must be their union, as in tables that this package wrote."""
    single = row.get("segmentation")
    if single is None or row.get("segmentations") is None:
        return
    try:
        agrees = segmentation_struct(single, *size) == union
    except (ValueError, TypeError):
        agrees = False
    if not agrees:
        wrong("segmentation", "is not the union of segmentations; leave it out")


def _check_repeats(boxes: Sequence[Any], segmentations: Sequence[Any], wrong: Wrong) -> None:
    """An object that is given twice would count twice."""
    first: dict[tuple[str, str], int] = {}
    for number, (box, segmentation) in enumerate(zip(boxes, segmentations, strict=True), start=1):
        # Two small objects may have one box, to the pixel, but not one mask.
        earlier = number if segmentation is None else first.setdefault((str(box), str(segmentation)), number)
        if earlier != number:
            wrong("boxes", f"number {number} and its mask are those of number {earlier}; keep one of them", box)


def _flag(row: Mapping[str, Any], name: str, wrong: Wrong) -> bool:
    value = row.get(name)
    if value is None:
        return False
    if isinstance(value, str):
        value = _TRUTHS.get(value.strip().lower())
    if not isinstance(value, (int, float)) or value not in (0, 1):
        wrong(name, "give true or false, or leave it out")
        return False
    return bool(value)


def _box(box: Sequence[float], size: Size, wrong: Report) -> list[float] | None:
    height, width = size
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        wrong("is empty; for boxes of x, y, width, height pass bbox_format='xywh'")
        return None
    if leaves(list(box), size):
        wrong(
            f"leaves the picture of {width}x{height} pixels by more than {TOLERANCE}; correct it, or bbox_format, "
            "or the annotations of a picture that was scaled or turned"
        )
        return None
    x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if x2 <= x1 or y2 <= y1:
        wrong("has no area inside the picture")
        return None
    return [x1, y1, x2, y2]


def _segmentation(
    value: Any, size: Size, box: list[float] | None, wrong: Report
) -> tuple[SegmentationStruct | None, np.ndarray | None]:
    """The segmentation, and the corners (left, top), (right, bottom) around it."""
    height, width = size
    try:
        segmentation = segmentation_struct(value, height, width)
        if segmentation is None:
            return None, None
        (left, top), (right, bottom) = extent = segmentation_extent(segmentation)
        # Before any rasterising: far points would cost memory without limit.
        if not np.isfinite(extent).all() or leaves((left, top, right, bottom), size):
            wrong(f"leaves the picture of {width}x{height} pixels by more than {TOLERANCE}")
        elif not segmentation_area(segmentation, height, width):
            wrong("covers no pixel of the picture; correct it or leave it out")
        elif box and (left >= box[2] or right <= box[0] or top >= box[3] or bottom <= box[1]):
            wrong(f"is outside the row's bbox {box} (XYXY); one of them is of another object")
        return segmentation, extent
    except (ValueError, TypeError) as error:
        wrong(str(error))
        return None, None


__all__ = ["Size", "Wrong", "area_of", "check_referents"]
