"""Rows of own data from tables: JSON Lines, JSON arrays, CSV, TSV and Parquet files.

Yields each row unchanged, with its line number, and holds a few rows of a Parquet file at a time: the pages that its
writer made, of which a row group has at least one per column. Knows nothing of what the values mean and whether they
are right.
"""

from collections.abc import Collection, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .delimited import Report, Rows, read_delimited
from .json_files import JsonError, parse_json, read_json, read_text
from .values import shown

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_BATCH_BYTES = 2**24  # of a Parquet file that are held at once, and of its buffers
_BATCH_ROWS = 1000


def read_table(path: str | PathLike[str], report: Report, known: Collection[str]) -> Rows:
    """
    (line, row) of a table; of Parquet and JSON arrays, "line" counts the rows.

    Args:
        path: .jsonl, .json, .csv, .tsv or .parquet.
        report: called with line, text and remedy for what is no row.
        known: names of columns in lower case, which tell a CSV's separator.

    Raises:
        ValueError: missing file, another suffix or content, or not text in UTF-8.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path} ends in none of {', '.join(SUFFIXES)}: convert it to JSON Lines, for example.")
    if not path.is_file():
        raise ValueError(f"There is no file {path}: correct the path.")
    if suffix == ".parquet":
        return read_parquet(path)
    if suffix in (".jsonl", ".json"):
        return _decoded(path, _read_json_lines(path, report))
    return _decoded(path, read_delimited(path, report, known))


def read_parquet(path: str | PathLike[str], columns: Sequence[str] | None = None) -> Rows:
    """
    (number of the row, row) of a Parquet file, from 1 on.

    Args:
        path: of the file.
        columns: those to read; None = all.

    Raises:
        ValueError: no Parquet, damaged, or two columns have one name; says from which row on.
    """
    row = 0
    try:
        # A buffer makes Arrow read page by page. Without, it reads all of a row group's column at once.
        with pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise ValueError(f"{shown(sorted(name for name in set(names) if names.count(name) > 1))} are twice")
            size = sum(file.metadata.row_group(index).total_byte_size for index in range(file.num_row_groups))
            rows = max(min(_BATCH_ROWS, _BATCH_BYTES * file.metadata.num_rows // max(size, 1)), 1)
            for batch in file.iter_batches(batch_size=rows, columns=columns):
                for number in range(len(batch)):
                    (found,) = batch.slice(number, 1).to_pylist()
                    row += 1
                    yield row, found
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is damaged or no Parquet file (row {row + 1}: {reason}): write it again.") from error


def _decoded(path: Path, rows: Rows) -> Rows:
    try:
        yield from rows
    except UnicodeDecodeError:
        read_text(path)  # raises an error with the line
        raise


def _read_json_lines(path: Path, report: Report) -> Rows:
    with open(path, encoding="utf-8-sig") as file:
        for text in file:
            start = text.strip()
            if start.startswith("[") or (start == "{" and path.suffix.lower() == ".json"):
                yield from _read_json_array(path, report)
                return
            if start:
                break
        file.seek(0)
        for line, text in enumerate(file, start=1):
            if text.strip():
                try:
                    row = parse_json(text)
                except JsonError as error:
                    report(line, text.strip(), f"is not JSON ({error})")
                    continue
                yield from _objects(line, row, report)


def _read_json_array(path: Path, report: Report) -> Rows:
    content = read_json(path)
    if not isinstance(content, list):
        raise ValueError(
            f"{path} holds one JSON object, not rows: write a list of them. A COCO instances file goes to instances, "
            "beside a table of expressions."
        )
    for number, row in enumerate(content, start=1):
        yield from _objects(number, row, report)


def _objects(line: int, row: Any, report: Report) -> Rows:
    if isinstance(row, dict):
        yield line, row
    else:
        report(line, shown(row), "must be a JSON object {...}")


__all__ = ["SUFFIXES", "Report", "Rows", "read_parquet", "read_table"]
