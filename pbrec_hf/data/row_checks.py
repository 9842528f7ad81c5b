"""Checks one row of own data after the other and converts it to the columns of `data/schema.py`.

Expects rows whose boxes are XYXY. Collects everything that is wrong instead of stopping at the first. Knows nothing of
the files that the rows are from.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from ..images.reading import load_pixels, picture_size
from ..images.sources import local_path
from .box_forms import BoxForms
from .boxes import LARGEST
from .embedded import Embedded
from .image_files import image_path, lacks_end
from .referent_checks import Wrong, area_of, check_referents
from .values import can_be_stored, identifier, is_number, is_visible, shown, whole_number

REQUIRED = ("image", "expression", "bbox")
INTEGERS = ("ref_id", "sent_id", "ann_id", "category_id")
REFERENTS = ("boxes", "segmentations", "ann_ids", "no_target")  # of several referents, or none
OPTIONAL = ("segmentation", "image_id", "width", "height", "area", "category", *INTEGERS, *REFERENTS)
ERRORS_SHOWN = 20


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
        A row of the schema with the columns of several referents, or None if something is wrong with it. A picture
        that is in the row is an `Embedded`.

        Args:
            line: for messages.
            row: its boxes XYXY, pixels of the upright picture.
            index: stands in for `ref_id` and `sent_id` where the row has none.
            bbox_format: of its boxes before they were made XYXY.
        """
        before = len(self.problems)
        self.unknown |= row.keys() - {*REQUIRED, *OPTIONAL}
        self.given |= {name for name, value in row.items() if value is not None}

        def wrong(name: str, remedy: str, value: Any = None) -> None:
            value = row.get(name) if value is None else value
            # Not the bytes of a picture: there may be as many as there are rows.
            self.problems.append(Problem(line, name, shown(value) if isinstance(value, Mapping) else value, remedy))

        expression = row.get("expression")
        if not isinstance(expression, str) or not is_visible(expression):
            wrong("expression", "give a text that is not blank")
        elif not can_be_stored(expression):
            wrong("expression", "give a text without NUL characters and halves of surrogate pairs")
        self.addresses |= {name for name, value in row.items() if _is_address(value)}
        image, name, size = self._image(line, row, wrong)
        names = {column: _identifier(row, column, wrong) for column in ("image_id", "category")}
        referents = {} if size is None else check_referents(row, size, bbox_format, self.forms, wrong)
        integers = {name: _integer(row, name, wrong) for name in INTEGERS}
        ann_ids = _ann_ids(row, len(referents["boxes"]), integers["ann_id"], wrong) if referents else []
        area = row.get("area")
        if area is not None and not (is_number(area) and 0 <= area < LARGEST**2):
            wrong("area", "give a number of pixels or leave it out")
        if len(self.problems) > before or size is None:
            return None
        height, width = size
        if area is None:
            area = area_of(referents, size)
        return {
            "image": image,
            "image_id": names["image_id"] or name,
            "width": width,
            "height": height,
            "expression": str(expression).strip(),
            **referents,
            "area": None if area is None else float(area),
            "category": names["category"],
            **integers,
            "ann_id": ann_ids[0] if len(ann_ids) == 1 else None,
            "ann_ids": ann_ids,
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
            given = local_path(name) if self.absolute_allowed else name
            path = given if self.absolute_allowed and Path(given).is_absolute() else image_path(self.image_dir, name)
            there = Path(path).is_file()
        except ValueError as error:
            return name, str(error)
        except OSError as error:
            return name, f"{(error.strerror or 'cannot be opened').lower()}: correct the name"
        if not there:
            return path, f"there is no such file in {self.image_dir}: correct the name or image_dir"
        return path, _checked_size(path)


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


def _ann_ids(row: Mapping[str, Any], count: int, ann_id: int | None, wrong: Wrong) -> list[int | None]:
    """The id of each referent, None where the row does not say."""
    listed = row.get("ann_ids")
    if listed is None:
        if ann_id is not None and count != 1:
            wrong("ann_id", f"is one id for {count} boxes; give ann_ids, a list of one for each, or leave it out")
        return [ann_id] * count
    try:
        if not isinstance(listed, list) or len(listed) != count:
            raise ValueError
        found = [None if value is None else whole_number(value) for value in listed]
    except ValueError:
        wrong("ann_ids", f"give a list of integers of 64 bits, one for each of the {count} boxes, or leave it out")
        return [None] * count
    if ann_id is not None and found != [ann_id]:
        wrong("ann_id", "there are ann_ids, too; keep one of the two columns")
    return found


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


__all__ = ["ERRORS_SHOWN", "INTEGERS", "OPTIONAL", "REFERENTS", "REQUIRED", "OwnDataError", "Problem", "RowChecker"]
