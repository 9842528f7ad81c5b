"""Rows of own data from text tables: CSV with any usual separator, and TSV.

Which separator it is follows from the names in the header: the one that makes columns of the package out of them.
Knows nothing of what the values mean and whether they are right.
"""

import csv
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from .json_files import JsonError, parse_json
from .values import shown

Report = Callable[[int, str, str], None]  # line, text, remedy
Rows = Iterator[tuple[int, dict[str, Any]]]  # line, row

SEPARATORS = (",", ";", "\t", "|")
# Cells that hold a number or a list, written as in JSON; all others are text.
_LISTS = ("bbox", "boxes", "segmentation", "segmentations", "ann_ids")
_JSON_CELLS = (
    *_LISTS,
    "area",
    "width",
    "height",
    "ann_id",
    "annotation_id",
    "ref_id",
    "sent_id",
    "category_id",
)


def read_delimited(path: Path, report: Report, known: Collection[str]) -> Rows:
    """
    (line, row) of a .csv or .tsv file; `report` is called for lines that are no rows.

    Args:
        path: text in UTF-8.
        report: takes line, text and remedy.
        known: names of columns in lower case, which tell the separator.

    Raises:
        ValueError: a name is twice in the header, or the separator is not certain.
        UnicodeDecodeError: not UTF-8.
    """
    csv.field_size_limit(2**31 - 1)  # a polygon may be long
    with open(path, encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        separator = "\t" if path.suffix.lower() == ".tsv" else _separator(path, header, known)
        file.seek(0)
        reader = csv.DictReader(file, delimiter=separator, strict=True)
        for line, row in _lines(reader, report):
            if None in row or None in row.values():
                told = f"must have {len(reader.fieldnames or ())} cells, as many as the header"
                report(line, str(row), f"{told}; between them is {separator!r}")
                continue
            cells: dict[str, Any] = {name.strip(): value if value.strip() else None for name, value in row.items()}
            try:
                yield line, cells | dict(_parsed(cells))
            except ValueError as error:
                report(line, str(row), str(error))
        names = [name.strip() for name in reader.fieldnames or () if name.strip()]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{path} has the columns {shown(sorted(twice))} twice: keep one of each.")


def _separator(path: Path, header: str, known: Collection[str]) -> str:
    """The separator with which at least two names of the header are columns of the package."""
    matches = [separator for separator in SEPARATORS if len(_names(header, separator) & set(known)) > 1]
    if len(matches) > 1:
        raise ValueError(f"{path} may be separated by any of {matches}: use one of them alone in the header.")
    # If none does, the columns have other names, and an error names those that most of the header falls into.
    return matches[0] if matches else max(SEPARATORS, key=lambda separator: len(_names(header, separator)))


def _names(header: str, separator: str) -> set[str]:
    return {name.strip().lower() for line in csv.reader([header], delimiter=separator) for name in line}


def _lines(reader: "csv.DictReader[str]", report: Report) -> Iterator[tuple[int, dict[str, str]]]:
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            told = f"is not CSV ({error}): mend the quotes; the lines after it were not read"
            report(reader.line_num + 1, "", told)
            return
        if row is None:
            return
        yield reader.line_num, row


def _parsed(cells: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in _JSON_CELLS:
        if cells.get(name):
            try:
                yield name, parse_json(cells[name])
            except JsonError as error:
                form = "a list such as [10, 20.5, 110, 220]" if name in _LISTS else "a number"
                raise ValueError(f"the cell {name} must hold {form} ({error})") from error


__all__ = ["SEPARATORS", "Report", "Rows", "read_delimited"]
