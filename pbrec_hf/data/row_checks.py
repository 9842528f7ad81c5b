"""Checks one row of own data after the other and converts it to the columns of `data/schema.py`.

Expects rows whose boxes are XYXY. Collects everything that is wrong instead of stopping at the first. Knows nothing of
the files that the rows are from.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from ..images.reading import load_pixels, picture_size
from ..images.segmentation import SegmentationStruct, segmentation_area, segmentation_extent, segmentation_struct
from .image_files import image_path, lacks_end

REQUIRED = ("image", "expression", "bbox")
INTEGERS = ("ref_id", "sent_id", "ann_id", "category_id")
OPTIONAL = ("segmentation", "image_id", "width", "height", "area", "category", *INTEGERS)
TOLERANCE = 0.5  # pixels by which a rounded coordinate may be outside the picture; it is then set on the edge
ERRORS_SHOWN = 20

Wrong = Callable[[str, str], None]  # field, remedy


@dataclass(frozen=True)
class Problem:
    """
    One thing that is wrong.

    Attributes:
        line: counts from 1 in the file (a CSV's header is line 1; Parquet: the row).
        field: name of the column, or "row".
        value: what is there.
        remedy: what to do.
    """

    line: int
    field: str
    value: Any
    remedy: str

    def __str__(self) -> str:
        value = repr(self.value)
        return f"line {self.line}, {self.field}: {value if len(value) <= 80 else value[:77] + '...'}: {self.remedy}"


class OwnDataError(ValueError):
    """
    Rows are wrong.

    Attributes:
        problems: all of them; the message lists the first ones.
    """

    def __init__(self, path: str | PathLike[str], problems: list[Problem]) -> None:
        self.problems = problems
        lines = [f"  {problem}" for problem in problems[:ERRORS_SHOWN]]
        if len(problems) > ERRORS_SHOWN:
            lines.append(f"  and {len(problems) - ERRORS_SHOWN} more (see the attribute `problems`)")
        super().__init__(f"{len(problems)} problems in {path}:\n" + "\n".join(lines))


@dataclass
class RowChecker:
    """
    Checks rows; remembers the sizes of pictures, problems and columns.

    Attributes:
        image_dir: folder that image names are relative to.
        absolute_allowed: whether an image name may be an absolute path.
        problems: what was wrong so far.
        unknown: columns that the package does not know.
        given: columns in which some row has a value.
    """

    image_dir: Path
    absolute_allowed: bool
    problems: list[Problem] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)
    _sizes: dict[str, tuple[int, int] | str] = field(default_factory=dict)

    def convert(self, line: int, row: Mapping[str, Any], index: int) -> dict[str, Any] | None:
        """
        A row of the schema, or None if something is wrong with it.

        Args:
            line: for messages.
            row: its box XYXY, pixels of the upright picture.
            index: stands in for `ref_id` and `sent_id` where the row has none.
        """
        before = len(self.problems)
        self.unknown |= row.keys() - {*REQUIRED, *OPTIONAL}
        self.given |= {name for name, value in row.items() if value is not None}

        def wrong(name: str, remedy: str) -> None:
            self.problems.append(Problem(line, name, row.get(name), remedy))

        expression = row.get("expression")
        if not isinstance(expression, str) or not _is_visible(expression):
            wrong("expression", "give a text that is not blank")
        for column in ("expression", "category", "image_id"):
            if not _can_be_stored(str(row.get(column))):
                wrong(column, "give a text without NUL characters and halves of surrogate pairs")
        image, name, size = self._image(row, wrong)
        box = None if size is None else _box(row, size, wrong)
        segmentation = None if size is None else _segmentation(row, size, box, wrong)
        integers = {name: _integer(row, name, wrong) for name in INTEGERS}
        area = row.get("area")
        if area is not None and not (_is_number(area) and 0 <= area < math.inf):
            wrong("area", "give a number of pixels or leave it out")
        if len(self.problems) > before or size is None or box is None:
            return None
        height, width = size
        if area is None:
            area = segmentation_area(segmentation, height, width) if segmentation else _area(box)
        return {
            "image": image,
            "image_id": str(row["image_id"]) if row.get("image_id") is not None else name,
            "width": width,
            "height": height,
            "expression": str(expression).strip(),
            "bbox": box,
            "segmentation": segmentation,
            "area": float(area),
            "category": None if row.get("category") is None else str(row["category"]),
            **integers,
            "ref_id": index if integers["ref_id"] is None else integers["ref_id"],
            "sent_id": index if integers["sent_id"] is None else integers["sent_id"],
        }

    def _image(self, row: Mapping[str, Any], wrong: Wrong) -> tuple[Any, str, tuple[int, int] | None]:
        """Image cell, its name, and (height, width) or None."""
        image = row.get("image")
        if isinstance(image, Mapping) and image.get("bytes") is not None:
            try:
                if not isinstance(image["bytes"], bytes):
                    raise ValueError("give the name of an image file, or its content as bytes")
                return dict(image), str(image.get("path") or _digest(image["bytes"])), _whole_size(image)
            except ValueError as error:
                wrong("image", str(error))
                return None, "", None
        name = image.get("path") if isinstance(image, Mapping) else image
        if not isinstance(name, str) or not name:
            wrong("image", "give the name of an image file")
            return None, "", None
        if name not in self._sizes:
            self._sizes[name] = self._size(name)
        size = self._sizes[name]
        if isinstance(size, str):
            wrong("image", size)
            return None, name, None
        for side, actual in zip(("height", "width"), size, strict=True):
            if row.get(side) is not None and row[side] != actual:
                wrong(side, f"the file's is {actual}: the row is about another version of the picture")
        return str(self.image_dir / name), name, size

    def _size(self, name: str) -> tuple[int, int] | str:
        """(height, width), or what is wrong."""
        try:
            path = name if self.absolute_allowed and Path(name).is_absolute() else image_path(self.image_dir, name)
            if not Path(path).is_file():
                return f"there is no such file in {self.image_dir}: correct the name or image_dir"
            return _whole_size(path)
        except ValueError as error:
            return str(error)


def _is_visible(text: str) -> bool:
    """Whether some character of `text` can be seen; a zero-width space cannot."""
    return any(character.isprintable() and not character.isspace() for character in text)


def _can_be_stored(text: str) -> bool:
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _integer(row: Mapping[str, Any], name: str, wrong: Wrong) -> int | None:
    value = row.get(name)
    bits = 32 if name == "category_id" else 64
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        return value
    wrong(name, f"give an integer of {bits} bits or leave it out")
    return None


def _box(row: Mapping[str, Any], size: tuple[int, int], wrong: Wrong) -> list[float] | None:
    box, (height, width) = row.get("bbox"), size
    if box is None:
        wrong("bbox", "give four numbers, pixels of the picture")
        return None
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        wrong("bbox", "is empty; for boxes of x, y, width, height pass bbox_format='xywh'")
        return None
    if _leaves(box, size):
        wrong(
            "bbox",
            f"leaves the picture of {width}x{height} pixels by more than {TOLERANCE}; correct it, or bbox_format, "
            "or the annotations of a picture that was scaled or turned",
        )
        return None
    x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if x2 <= x1 or y2 <= y1:
        wrong("bbox", "has no area inside the picture")
        return None
    return [x1, y1, x2, y2]


def _segmentation(
    row: Mapping[str, Any], size: tuple[int, int], box: list[float] | None, wrong: Wrong
) -> SegmentationStruct | None:
    height, width = size
    try:
        segmentation = segmentation_struct(row.get("segmentation"), height, width)
        if segmentation is None:
            return None
        (left, top), (right, bottom) = extent = segmentation_extent(segmentation)
        # Before any rasterising: far points would cost memory without limit.
        if not np.isfinite(extent).all() or _leaves((left, top, right, bottom), size):
            wrong("segmentation", f"leaves the picture of {width}x{height} pixels by more than {TOLERANCE}")
        elif not segmentation_area(segmentation, height, width):
            wrong("segmentation", "covers no pixel of the picture; correct it or leave it out")
        elif box and (left >= box[2] or right <= box[0] or top >= box[3] or bottom <= box[1]):
            wrong("segmentation", f"is outside the row's bbox {box} (XYXY); one of them is of another object")
        return segmentation
    except (ValueError, TypeError) as error:
        wrong("segmentation", str(error))
        return None


def _leaves(box: tuple[float, float, float, float] | list[float], size: tuple[int, int]) -> bool:
    """Whether an XYXY box is outside a picture of (height, width) by more than the tolerance."""
    left, top, right, bottom = box
    return min(left, top) < -TOLERANCE or right > size[1] + TOLERANCE or bottom > size[0] + TOLERANCE


def _whole_size(source: Mapping[str, Any] | str) -> tuple[int, int]:
    """
    (height, width); only files that look truncated are decoded.

    Raises:
        ValueError: the picture cannot be read.
    """
    size = picture_size(source)
    if lacks_end(source["bytes"] if isinstance(source, Mapping) else source):
        load_pixels(source)
    return size


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _area(box: list[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


__all__ = ["ERRORS_SHOWN", "INTEGERS", "OPTIONAL", "REQUIRED", "TOLERANCE", "OwnDataError", "Problem", "RowChecker"]
