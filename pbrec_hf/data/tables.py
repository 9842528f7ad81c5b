"""Rows of own data from tables: JSONL, CSV and Parquet files.

Yields each row unchanged, with its line number. Knows nothing of what the values mean and whether they are right.
"""

import csv
import json
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Report = Callable[[int, str, str], None]  # line, text, remedy
Rows = Iterator[tuple[int, dict[str, Any]]]  # line, row

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


def read_table(path: str | PathLike[str], report: Report) -> Rows:
    """
    (line, row) of a .jsonl, .csv or .parquet file; `report` is called for lines that are no rows.

    Raises:
        ValueError: missing file, another suffix, or not text in UTF-8.
    """
    path = Path(path)
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path} does not end in one of {', '.join(readers)}: convert it to JSON Lines, for example.")
    if not path.is_file():
        raise ValueError(f"There is no file {path}: correct the path.")
    return _decoded(path, readers[path.suffix.lower()](path, report))


def _decoded(path: Path, rows: Rows) -> Rows:
    try:
        yield from rows
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8."
        ) from error


def _read_jsonl(path: Path, report: Report) -> Rows:
    first = True
    with open(path, encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            if first and text.lstrip().startswith("["):
                raise ValueError(f"{path} is a JSON array, not JSON Lines: write one object {{...}} per line.")
            first = False
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                report(line, text.strip(), f"is not JSON ({error.msg} at column {error.colno})")
                continue
            if isinstance(row, dict):
                yield line, row
            else:
                report(line, text.strip(), "must be a JSON object {...}")


def _read_csv(path: Path, report: Report) -> Rows:
    csv.field_size_limit(2**31 - 1)  # a polygon may be long
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                report(
                    reader.line_num + 1, "", f"is not CSV ({error}): mend the quotes; the lines after it were not read"
                )
                return
            if row is None:
                return
            line = reader.line_num
            if None in row or None in row.values():
                report(line, str(row), f"must have {len(reader.fieldnames or ())} cells, as many as the header")
                continue
            cells: dict[str, Any] = {name: value if value.strip() else None for name, value in row.items()}
            try:
                cells |= {name: json.loads(cells[name]) for name in _JSON_CELLS if cells.get(name)}
            except json.JSONDecodeError as error:
                report(line, str(row), f"cells of {', '.join(_JSON_CELLS)} must hold numbers or lists ({error.msg})")
                continue
            yield line, cells


def _read_parquet(path: Path, report: Report) -> Rows:
    line = 0
    for batch in pq.ParquetFile(path).iter_batches(batch_size=1000):
        for row in batch.to_pylist():
            line += 1
            yield line, row


__all__ = ["Report", "Rows", "read_table"]
