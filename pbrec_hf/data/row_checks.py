"""Checks one row of own data after the other and converts it to the columns of `data/schema.py`.

Expects rows whose boxes are XYXY. Collects everything that is wrong instead of stopping at the first. Knows nothing of
the files that the rows are from.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..images.reading import load_pixels, picture_size
from ..images.segmentation import SegmentationStruct, segmentation_area, segmentation_extent, segmentation_struct
from .box_forms import TOLERANCE, BoxForms, leaves
from .embedded import Embedded
from .image_files import image_path, lacks_end
from .values import can_be_stored, identifier, is_number, shown, whole_number

REQUIRED = ("image", "expression", "bbox")
INTEGERS = ("ref_id", "sent_id", "ann_id", "category_id")
OPTIONAL = ("segmentation", "image_id", "width", "height", "area", "category", *INTEGERS)
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
        return f"line {self.line}, {self.field}: {shown(self.value)}: {self.remedy}"


class OwnDataError(ValueError):
    """
    Rows are wrong.

    Attributes:
        problems: all of them; the message lists the first ones.
    """

    def __init__(self, path: str | PathLike[str], problems: list[Problem], remark: str | None = None) -> None:
        self.problems = problems
        lines = [f"  {problem}" for problem in problems[:ERRORS_SHOWN]]
        if len(problems) > ERRORS_SHOWN:
            lines.append(f"  and {len(problems) - ERRORS_SHOWN} more (see the attribute `problems`)")
        if remark is not None:
            lines.append(remark)
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
        addresses: columns in which some row has the address of a file on the web.
        forms: what all boxes together say of their form.
    """

    image_dir: Path
    absolute_allowed: bool
    problems: list[Problem] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)
    forms: BoxForms = field(default_factory=BoxForms)
    _found: dict[str, tuple[str, tuple[int, int] | str]] = field(default_factory=dict)

    def convert(self, line: int, row: Mapping[str, Any], index: int, bbox_format: str) -> dict[str, Any] | None:
        """
        A row of the schema, or None if something is wrong with it. A picture that is in the row is an `Embedded`.

        Args:
            line: for messages.
            row: its box XYXY, pixels of the upright picture.
            index: stands in for `ref_id` and `sent_id` where the row has none.
            bbox_format: of its box before it was made XYXY.
        """
        before = len(self.problems)
        self.unknown |= row.keys() - {*REQUIRED, *OPTIONAL}
        self.given |= {name for name, value in row.items() if value is not None}

        def wrong(name: str, remedy: str) -> None:
            value = row.get(name)
            # Not the bytes of a picture: there may be as many as there are rows.
            self.problems.append(Problem(line, name, shown(value) if isinstance(value, Mapping) else value, remedy))

        expression = row.get("expression")
        if not isinstance(expression, str) or not _is_visible(expression):
            wrong("expression", "give a text that is not blank")
        elif not can_be_stored(expression):
            wrong("expression", "give a text without NUL characters and halves of surrogate pairs")
        self.addresses |= {name for name, value in row.items() if _is_address(value)}
        image, name, size = self._image(line, row, wrong)
        names = {column: _identifier(row, column, wrong) for column in ("image_id", "category")}
        box, extent, segmentation = None, None, None
        if size is not None:
            box = _box(row, size, wrong)
            segmentation, extent = _segmentation(row, size, box, wrong)
            if row.get("bbox") is not None:
                self.forms.see(row["bbox"], bbox_format, size, extent)
        integers = {name: _integer(row, name, wrong) for name in INTEGERS}
        area = row.get("area")
        if area is not None and not (is_number(area) and area >= 0):
            wrong("area", "give a number of pixels or leave it out")
        if len(self.problems) > before or size is None or box is None:
            return None
        height, width = size
        if area is None:
            area = segmentation_area(segmentation, height, width) if segmentation else _area(box)
        return {
            "image": image,
            "image_id": names["image_id"] or name,
            "width": width,
            "height": height,
            "expression": str(expression).strip(),
            "bbox": box,
            "segmentation": segmentation,
            "area": float(area),
            "category": names["category"],
            **integers,
            "ref_id": index if integers["ref_id"] is None else integers["ref_id"],
            "sent_id": index if integers["sent_id"] is None else integers["sent_id"],
        }

    def _image(self, line: int, row: Mapping[str, Any], wrong: Wrong) -> tuple[Any, str, tuple[int, int] | None]:
        """Image cell, its name, and (height, width) or None."""
        image = row.get("image")
        name = image.get("path") if isinstance(image, Mapping) else image
        data = image.get("bytes") if isinstance(image, Mapping) else None
        if data is not None:
            if not isinstance(data, bytes) or not (name is None or (isinstance(name, str) and can_be_stored(name))):
                wrong("image", "give the name of an image file, or its content as bytes")
                return None, "", None
            digest = hashlib.blake2b(data, digest_size=8).hexdigest()
            cell: str | Embedded = Embedded(line, digest)
            name, size = name or digest, _checked_size({"bytes": data, "path": name})
        elif not isinstance(name, str) or not can_be_stored(name) or not name:
            wrong("image", "give the name of an image file")
            return None, "", None
        elif _is_address(name):
            wrong("image", "is an address: download the pictures, and give the names of their files")
            return None, "", None
        else:
            if name not in self._found:
                self._found[name] = self._file(name)
            cell, size = self._found[name]
        if isinstance(size, str):
            wrong("image", size)
            return None, name, None
        for side, actual in zip(("height", "width"), size, strict=True):
            try:
                if row.get(side) is not None and whole_number(row[side]) != actual:
                    wrong(side, f"the file's is {actual}: the row is about another version of the picture")
            except ValueError as error:
                wrong(side, f"{error} or leave it out")
        return cell, name, size

    def _file(self, name: str) -> tuple[str, tuple[int, int] | str]:
        """Path, and (height, width) or what is wrong."""
        try:
            path = name if self.absolute_allowed and Path(name).is_absolute() else image_path(self.image_dir, name)
            there = Path(path).is_file()
        except ValueError as error:
            return name, str(error)
        except OSError as error:
            return name, f"{(error.strerror or 'cannot be opened').lower()}: correct the name"
        if not there:
            return path, f"there is no such file in {self.image_dir}: correct the name or image_dir"
        return path, _checked_size(path)


def _is_visible(text: str) -> bool:
    """Whether some character of `text` can be seen; a zero-width space cannot."""
    return any(character.isprintable() and not character.isspace() for character in text)


def _is_address(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def _identifier(row: Mapping[str, Any], name: str, wrong: Wrong) -> str | None:
    """A number or a text as text."""
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        return str(identifier(value))
    except ValueError as error:
        wrong(name, f"{error}, without NUL characters and halves of surrogate pairs, or leave it out")
        return None


def _integer(row: Mapping[str, Any], name: str, wrong: Wrong) -> int | None:
    value = row.get(name)
    bits = 32 if name == "category_id" else 64
    if value is None:
        return None
    try:
        return whole_number(value, bits)
    except ValueError:
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
    if leaves(box, size):
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
) -> tuple[SegmentationStruct | None, np.ndarray | None]:
    """The segmentation, and the corners (left, top), (right, bottom) around it."""
    height, width = size
    try:
        segmentation = segmentation_struct(row.get("segmentation"), height, width)
        if segmentation is None:
            return None, None
        (left, top), (right, bottom) = extent = segmentation_extent(segmentation)
        # Before any rasterising: far points would cost memory without limit.
        if not np.isfinite(extent).all() or leaves((left, top, right, bottom), size):
            wrong("segmentation", f"leaves the picture of {width}x{height} pixels by more than {TOLERANCE}")
        elif not segmentation_area(segmentation, height, width):
            wrong("segmentation", "covers no pixel of the picture; correct it or leave it out")
        elif box and (left >= box[2] or right <= box[0] or top >= box[3] or bottom <= box[1]):
            wrong("segmentation", f"is outside the row's bbox {box} (XYXY); one of them is of another object")
        return segmentation, extent
    except (ValueError, TypeError) as error:
        wrong("segmentation", str(error))
        return None, None


def _checked_size(source: Mapping[str, Any] | str) -> tuple[int, int] | str:
    """(height, width), or what is wrong with a picture."""
    try:
        return _whole_size(source)
    except ValueError as error:
        return str(error)


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


def _area(box: list[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


__all__ = ["ERRORS_SHOWN", "INTEGERS", "OPTIONAL", "REQUIRED", "TOLERANCE", "OwnDataError", "Problem", "RowChecker"]
