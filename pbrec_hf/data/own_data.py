"""Own data → the columns of `schema.py`, checked row by row before anything trains.

Two forms. A table (JSONL, CSV, Parquet) with the columns ``image, expression, bbox[, segmentation]``; or a COCO
instances file plus a table of expressions that name their object by ``ann_id`` or by ``image_id`` and ``bbox``. Every
row is checked, image headers included, and all that is wrong is told at once: line, field, value, remedy. Nothing is
clipped or dropped silently. Knows nothing of the published data sets.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from transformers.utils import logging

from ..images.reading import load_pixels, picture_size
from ..images.segmentation import rasterise, segmentation_area, segmentation_extent
from .image_files import image_path, lacks_end
from .schema import EXPRESSION_COLUMNS, IMAGE_COLUMNS, features, segmentation_struct
from .tables import coco_rows, parse_numbers, read_table

logger = logging.get_logger(__name__)

BBOX_FORMATS = ("xyxy", "xywh")
REQUIRED = ("image", "expression", "bbox")
INTEGERS = ("ref_id", "sent_id", "ann_id", "category_id")
OPTIONAL = ("segmentation", "image_id", "width", "height", "area", "category", *INTEGERS)
TOLERANCE = 0.5  # pixels a rounded coordinate may lie outside the picture; it is then set on the edge
ERRORS_SHOWN = 20


Wrong = Callable[[str, str], None]  # field, remedy


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: ``line`` counts from 1 in the file (a CSV's header is line 1; Parquet: the row)."""

    line: int
    field: str
    value: Any
    remedy: str

    def __str__(self) -> str:
        value = repr(self.value)
        return f"line {self.line}, {self.field}: {value if len(value) <= 80 else value[:77] + '...'}: {self.remedy}"


class OwnDataError(ValueError):
    """Rows are wrong. ``problems`` lists all of them, the message the first ones."""

    def __init__(self, path: str | PathLike, problems: list[Problem]):
        self.problems = problems
        lines = [f"  {problem}" for problem in problems[:ERRORS_SHOWN]]
        if len(problems) > ERRORS_SHOWN:
            lines.append(f"  and {len(problems) - ERRORS_SHOWN} more (see the attribute `problems`)")
        super().__init__(f"{len(problems)} problems in {path}:\n" + "\n".join(lines))


def load_own_data(
    path: str | PathLike | Mapping[str, str | PathLike],
    image_dir: str | PathLike | None = None,
    *,
    instances: str | PathLike | None = None,
    bbox_format: str = "xyxy",
    view: str = "sentence",
) -> Dataset | DatasetDict:
    """Read, check and convert.

    Args:
        path: table (.jsonl, .csv, .parquet) of rows of either view, or of expressions; or a mapping split name →
            table.
        image_dir: folder the image names are relative to and may not leave; default the table's own folder, where
            absolute paths are allowed, too.
        instances: COCO instances file, for a table of expressions with ``ann_id`` (also ``annotation_id``), or with
            ``image_id`` and ``bbox``.
        bbox_format: of the table's boxes, ``"xyxy"`` or ``"xywh"``, pixels of the upright picture. (Boxes inside an
            instances file are XYWH, as COCO has it.)
        view: ``"sentence"`` or ``"image"``, see `schema.py`.

    Raises:
        OwnDataError: rows are wrong; a ValueError that lists line, field, value and remedy.
        ValueError: unknown format or view, missing columns, an empty table.
    """
    if bbox_format not in BBOX_FORMATS:
        raise ValueError(f"bbox_format must be one of {', '.join(BBOX_FORMATS)}, got {bbox_format!r}")
    if isinstance(path, Mapping):
        return DatasetDict(
            {
                split: load_own_data(table, image_dir, instances=instances, bbox_format=bbox_format, view=view)
                for split, table in path.items()
            }
        )
    columns = features(view)
    checker = _RowChecker(Path(image_dir or Path(path).parent), image_dir is None)
    rows = []
    for line, row in _plain_rows(path, instances, bbox_format, checker.problems):
        converted = checker.convert(line, row, len(rows))
        if converted is not None:
            rows.append(converted)
    absent = [name for name in REQUIRED if name not in checker.given]
    if (
        absent
        and checker.given
        and all(problem.field in absent and problem.value is None for problem in checker.problems)
    ):
        remedy = "name the file of its objects in instances" if "ann_id" in checker.given else "rename the columns"
        raise ValueError(
            f"No row of {path} has a value in the column {', '.join(absent)}: needed are {', '.join(REQUIRED)}, found "
            f"were {', '.join(sorted(checker.given))}; {remedy}."
        )
    if checker.problems:
        raise OwnDataError(path, sorted(checker.problems, key=lambda problem: problem.line))
    if not rows:
        raise ValueError(f"{path} has no rows: give at least one with the columns {', '.join(REQUIRED)}")
    if checker.unknown:
        logger.warning(f"{path}: columns {sorted(checker.unknown)} are not known and are left out; known: {OPTIONAL}")
    return Dataset.from_list(rows if view == "sentence" else group_by_image(rows), features=columns)


def group_by_image(rows: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sentence-view rows → image-view rows, images in order of appearance."""
    groups: dict[tuple[str, str | None], dict[str, Any]] = {}
    for row in rows:
        key = (row["image_id"], row["image"] if isinstance(row["image"], str) else None)
        group = groups.setdefault(key, {name: row[name] for name in IMAGE_COLUMNS} | {"expressions": []})
        group["expressions"].append({name: row[name] for name in EXPRESSION_COLUMNS})
    return list(groups.values())


def _plain_rows(
    path: str | PathLike, instances: str | PathLike | None, bbox_format: str, problems: list[Problem]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) with boxes XYXY; what cannot be brought into this form goes to ``problems``."""
    table = read_table(path, lambda line, text, remedy: problems.append(Problem(line, "row", text, remedy)))
    objects = coco_rows(instances) if instances is not None else None
    for line, row in ((line, row) for line, listed in table for row in _sentences(listed)):
        if row.get("expressions") == []:
            problems.append(Problem(line, "expressions", [], "give at least one expression"))
            continue
        try:
            row = row | {"bbox": _xyxy(row.get("bbox"), bbox_format)}
        except ValueError as error:
            problems.append(Problem(line, "bbox", row["bbox"], str(error)))
            continue
        if objects is not None:
            try:
                row = objects.resolve(row)
            except ValueError as error:
                problems.append(Problem(line, "ann_id", row.get("ann_id", row.get("image_id")), str(error)))
                continue
        yield line, row


def _sentences(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row of the image view as rows of the sentence view; any other row as it is."""
    listed = row.get("expressions")
    if not listed or not isinstance(listed, list) or not all(isinstance(sentence, Mapping) for sentence in listed):
        return [row]
    picture = {name: value for name, value in row.items() if name != "expressions"}
    return [picture | sentence for sentence in listed]


def _xyxy(bbox: Any, bbox_format: str) -> list[float] | None:
    if bbox is None:
        return None
    x, y, *rest = parse_numbers(bbox, 4)
    return [x, y, *rest] if bbox_format == "xyxy" else [x, y, x + rest[0], y + rest[1]]


@dataclass
class _RowChecker:
    """Checks rows and remembers picture sizes, problems and unknown columns."""

    image_dir: Path
    absolute_allowed: bool
    problems: list[Problem] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)
    _sizes: dict[str, tuple[int, int] | str] = field(default_factory=dict)

    def convert(self, line: int, row: Mapping[str, Any], index: int) -> dict[str, Any] | None:
        """A row of the schema, or None if something is wrong with it."""
        before = len(self.problems)
        self.unknown |= row.keys() - {*REQUIRED, *OPTIONAL}
        self.given |= {name for name, value in row.items() if value is not None}

        def wrong(name: str, remedy: str) -> None:
            self.problems.append(Problem(line, name, row.get(name), remedy))

        expression = row.get("expression")
        if not isinstance(expression, str) or not expression.strip() or "\0" in expression:
            wrong("expression", "give a text that is not blank")
        image, name, size = self._image(row, wrong)
        box = segmentation = None
        if size is not None:
            box = self._box(row, size, wrong)
            segmentation = self._segmentation(row, size, box, wrong)
        integers = {name: self._integer(row, name, wrong) for name in INTEGERS}
        if not isinstance(row.get("area", 0.0), int | float | None):
            wrong("area", "give a number or leave it out")
        if len(self.problems) > before:
            return None
        height, width = size
        area = row.get("area")
        if area is None:
            area = segmentation_area(segmentation, height, width) if segmentation else _area(box)
        return {
            "image": image,
            "image_id": str(row["image_id"]) if row.get("image_id") is not None else name,
            "width": width,
            "height": height,
            "expression": expression.strip(),
            "bbox": box,
            "segmentation": segmentation,
            "area": float(area),
            "category": None if row.get("category") is None else str(row["category"]),
            **integers,
            "ref_id": index if integers["ref_id"] is None else integers["ref_id"],
            "sent_id": index if integers["sent_id"] is None else integers["sent_id"],
        }

    def _integer(self, row: Mapping[str, Any], name: str, wrong: Wrong) -> int | None:
        value = row.get(name)
        bits = 32 if name == "category_id" else 64
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is None or (whole and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)):
            return value
        wrong(name, f"give an integer of {bits} bits or leave it out")
        return None

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
        try:
            path = name if self.absolute_allowed and Path(name).is_absolute() else image_path(self.image_dir, name)
            if not Path(path).is_file():
                return f"there is no such file in {self.image_dir}: correct the name or image_dir"
            return _whole_size(path)
        except ValueError as error:
            return str(error)

    def _box(self, row: Mapping[str, Any], size: tuple[int, int], wrong: Wrong) -> list[float] | None:
        box, (height, width) = row.get("bbox"), size
        if box is None:
            wrong("bbox", "give four numbers, pixels of the picture")
            return None
        x1, y1, x2, y2 = box
        if x2 <= x1 or y2 <= y1:
            wrong("bbox", "is empty; for boxes of x, y, width, height pass bbox_format='xywh'")
            return None
        if min(x1, y1) < -TOLERANCE or x2 > width + TOLERANCE or y2 > height + TOLERANCE:
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
        self, row: Mapping[str, Any], size: tuple[int, int], box: list[float] | None, wrong: Wrong
    ) -> dict[str, Any] | None:
        height, width = size
        try:
            segmentation = segmentation_struct(row.get("segmentation"), height, width)
            if segmentation is None:
                return None
            if segmentation["counts"] is not None:
                rasterise(segmentation, height, width)  # damaged run lengths show in decoding only
            (left, top), (right, bottom) = extent = segmentation_extent(segmentation)
            # before any rasterising: far points would cost memory without limit
            if not np.isfinite(extent).all() or (
                min(left, top) < -TOLERANCE or right > width + TOLERANCE or bottom > height + TOLERANCE
            ):
                wrong("segmentation", f"leaves the picture of {width}x{height} pixels by more than {TOLERANCE}")
            elif not segmentation_area(segmentation, height, width):
                wrong("segmentation", "covers no pixel of the picture; correct it or leave it out")
            elif box and (left >= box[2] or right <= box[0] or top >= box[3] or bottom <= box[1]):
                wrong("segmentation", f"lies outside the row's bbox {box} (XYXY); one of them is of another object")
            return segmentation
        except (ValueError, TypeError) as error:
            wrong("segmentation", str(error))
            return None


def _whole_size(source: Mapping[str, Any] | str) -> tuple[int, int]:
    """(height, width); only files that look truncated are decoded.

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
