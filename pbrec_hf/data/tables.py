"""Rows of own data from files: JSONL, CSV, Parquet, and COCO instances looked up by expressions.

Gives rows as they stand with their line numbers; what their values mean and whether they are right is not known here.
"""

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Report = Callable[[int, str, str], None]  # line, text, remedy

# Cells of a CSV that hold a number or a list, written as in JSON; all others are text.
_JSON_CELLS = (
    "bbox",
    "segmentation",
    "area",
    "width",
    "height",
    "ann_id",
    "annotation_id",
    "ref_id",
    "sent_id",
    "category_id",
)
_MOST_DIGITS = 1e7  # pixels; beyond is damage


def read_table(path: str | PathLike, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) of a .jsonl, .csv or .parquet file; lines that are no rows go to ``report``.

    Raises:
        ValueError: missing file or another suffix.
    """
    path = Path(path)
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path} must end in one of {', '.join(readers)}; convert it to JSON Lines, for example")
    if not path.is_file():
        raise ValueError(f"there is no file {path}: correct the path")
    return _decoded(path, readers[path.suffix.lower()](path, report))


def _decoded(path: Path, rows: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        yield from rows
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from error


def parse_numbers(values: Any, count: int) -> list[float]:
    """``count`` finite numbers out of a list or array.

    Raises:
        ValueError: something else.
    """
    if isinstance(values, Sequence) and not isinstance(values, str | bytes) and len(values) == count:
        try:
            numbers = [float(value) for value in values]
        except (TypeError, ValueError):
            numbers = [math.nan]
        if all(abs(number) < _MOST_DIGITS for number in numbers):  # NaN compares false
            return numbers
    raise ValueError(f"give a list of {count} finite numbers")


class CocoObjects:
    """Annotations and images of a COCO instances file, to complete rows of expressions."""

    def __init__(self, annotations: Mapping[int, Mapping], images: Mapping[int, Mapping], names: Mapping[int, str]):
        self.annotations, self.images, self.names = annotations, images, names

    def resolve(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row with ``ann_id``, or with ``image_id`` and ``bbox``, → the row with ``image`` and its size, XYXY
        ``bbox``, ``segmentation`` and category.

        Raises:
            ValueError: no such annotation or image, or neither is given.
        """
        row = dict(row)
        if "annotation_id" in row:
            row["ann_id"] = row.pop("annotation_id")
        if row.get("ann_id") is not None:
            annotation = self.annotations.get(_number(row["ann_id"]))
            if annotation is None:
                raise ValueError("there is no annotation of this id in the instances file")
            x, y, width, height = parse_numbers(annotation["bbox"], 4)
            row |= {
                "image_id": annotation["image_id"],
                "bbox": [x, y, x + width, y + height],
                "segmentation": annotation.get("segmentation"),
                "category_id": annotation.get("category_id"),
                "category": self.names.get(annotation.get("category_id")),
            }
        elif row.get("image_id") is None or row.get("bbox") is None:
            raise ValueError("give ann_id, or image_id and bbox")
        image = self.images.get(_number(row["image_id"]))
        if image is None:
            raise ValueError(f"there is no image of id {row['image_id']} in the instances file")
        return row | {"image": image["file_name"], "width": image.get("width"), "height": image.get("height")}


def coco_rows(path: str | PathLike) -> CocoObjects:
    """Read a COCO instances file.

    Raises:
        ValueError: missing file, or not of COCO's form.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        return CocoObjects(
            {annotation["id"]: annotation for annotation in content["annotations"]},
            {image["id"]: image for image in content["images"]},
            {category["id"]: category["name"] for category in content.get("categories", [])},
        )
    except OSError as error:
        raise ValueError(f"cannot read the instances file {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is no COCO instances file ({type(error).__name__}: {error}): it needs the lists 'images', "
            "'annotations' and 'categories', each item with an 'id'"
        ) from error


def _read_jsonl(path: Path, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    first = True
    with open(path, encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            if first and text.lstrip().startswith("["):
                raise ValueError(f"{path} is a JSON array, not JSON Lines: write one object {{...}} per line")
            first = False
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                report(line, text.strip(), f"is no JSON ({error.msg} at column {error.colno})")
                continue
            if isinstance(row, dict):
                yield line, row
            else:
                report(line, text.strip(), "must be a JSON object {...}")


def _read_csv(path: Path, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(2**31 - 1)  # a polygon may be long
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                report(reader.line_num + 1, "", f"is no CSV ({error}): mend the quotes; what follows was not read")
                return
            if row is None:
                return
            line = reader.line_num
            if None in row or None in row.values():
                report(line, str(row), f"must have {len(reader.fieldnames)} cells, as the header has")
                continue
            row = {name: value if value.strip() else None for name, value in row.items()}
            try:
                row |= {name: json.loads(row[name]) for name in _JSON_CELLS if row.get(name)}
            except json.JSONDecodeError as error:
                report(line, str(row), f"cells of {', '.join(_JSON_CELLS)} must hold numbers or lists ({error.msg})")
                continue
            yield line, row


def _read_parquet(path: Path, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    line = 0
    for batch in pq.ParquetFile(path).iter_batches(batch_size=1000):
        for row in batch.to_pylist():
            line += 1
            yield line, row


def _number(value: Any) -> Any:
    """Ids are integers in COCO and may be text in a CSV."""
    return int(value) if isinstance(value, str) and value.isdigit() else value
