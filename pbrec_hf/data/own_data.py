"""Own data → the columns of `data/schema.py`, checked row by row before anything trains.

Two forms: a table (JSONL, CSV, Parquet) with the columns `image, expression, bbox[, segmentation]`; or a COCO
instances file with a table of expressions that name their object by `ann_id` or by `image_id` and `bbox`. Every row is
checked, image headers included, and everything that is wrong is reported at once: line, field, value, remedy. Nothing
is clipped or dropped silently. Knows nothing of the published data sets.
"""

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from transformers.utils import logging

from .boxes import BBOX_FORMATS, parse_box
from .coco_rows import CocoObjects
from .row_checks import OPTIONAL, REQUIRED, OwnDataError, Problem, RowChecker
from .schema import EXPRESSION_COLUMNS, IMAGE_COLUMNS, features
from .tables import Rows, read_table

logger = logging.get_logger(__name__)


def load_own_data(
    path: str | PathLike[str] | Mapping[str, str | PathLike[str]],
    image_dir: str | PathLike[str] | None = None,
    *,
    instances: str | PathLike[str] | None = None,
    bbox_format: str = "xyxy",
    view: str = "sentence",
) -> Dataset | DatasetDict:
    """
    Read, check and convert.

    Args:
        path: table (.jsonl, .csv, .parquet) of rows of either view, or of expressions; or a mapping split name →
            table.
        image_dir: folder that the image names are relative to and may not leave; by default the table's own folder,
            where absolute paths are allowed, too.
        instances: COCO instances file, for a table of expressions with `ann_id` (also `annotation_id`), or with
            `image_id` and `bbox`.
        bbox_format: of the table's boxes, "xyxy" or "xywh", pixels of the upright picture. (The boxes of an instances
            file are XYWH, as COCO has it.)
        view: "sentence" or "image", see `data/schema.py`.

    Raises:
        OwnDataError: rows are wrong; a ValueError that lists line, field, value and remedy.
        ValueError: unknown format or view, missing table, missing columns, a table without rows, or one whose boxes
            are shares of the picture.
        FileNotFoundError: missing instances file.
    """
    if bbox_format not in BBOX_FORMATS:
        raise ValueError(f"bbox_format={bbox_format!r} is unknown: choose one of {', '.join(BBOX_FORMATS)}.")
    if not isinstance(path, (str, PathLike, Mapping)):
        raise TypeError(
            f"{type(path).__name__} is no path of a table: give one of a file (.jsonl, .csv, .parquet), or a dict of "
            "paths by split."
        )
    if isinstance(path, Mapping):
        return DatasetDict(
            {
                split: load_own_data(table, image_dir, instances=instances, bbox_format=bbox_format, view=view)
                for split, table in path.items()
            }
        )
    columns = features(view)
    checker = RowChecker(Path(image_dir or Path(path).parent), image_dir is None)
    rows: list[dict[str, Any]] = []
    for line, row in _plain_rows(path, instances, bbox_format, checker.problems):
        converted = checker.convert(line, row, len(rows))
        if converted is not None:
            rows.append(converted)
    _require_columns(path, checker)
    if checker.problems:
        raise OwnDataError(path, sorted(checker.problems, key=lambda problem: problem.line))
    if not rows:
        raise ValueError(f"{path} has no rows: give at least one with the columns {', '.join(REQUIRED)}.")
    if all(max(row["bbox"]) <= 1 for row in rows):
        raise ValueError(
            f"All boxes of {path} lie between 0 and 1, such as {rows[0]['bbox']} (XYXY), so they are shares of the "
            "picture: multiply x by its width and y by its height."
        )
    if checker.unknown:
        logger.warning(f"{path}: unknown columns {sorted(checker.unknown)} are left out; optional ones: {OPTIONAL}.")
    return Dataset.from_list(rows if view == "sentence" else group_by_image(rows), features=columns)


def group_by_image(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sentence-view rows → image-view rows, images in order of appearance."""
    groups: dict[tuple[str, str | None], dict[str, Any]] = {}
    for row in rows:
        key = (row["image_id"], row["image"] if isinstance(row["image"], str) else None)
        group = groups.setdefault(key, {name: row[name] for name in IMAGE_COLUMNS} | {"expressions": []})
        group["expressions"].append({name: row[name] for name in EXPRESSION_COLUMNS})
    return list(groups.values())


def _require_columns(path: str | PathLike[str], checker: RowChecker) -> None:
    """One error for a table whose columns have other names, in place of one problem per row."""
    absent = [name for name in REQUIRED if name not in checker.given]
    if not absent or not checker.given:
        return
    if all(problem.field in absent and problem.value is None for problem in checker.problems):
        remedy = "name the file of its objects in instances" if "ann_id" in checker.given else "rename the columns"
        raise ValueError(
            f"No row of {path} has a value in the column {', '.join(absent)}: needed are {', '.join(REQUIRED)}, found "
            f"were {', '.join(sorted(checker.given))}; {remedy}."
        )


def _plain_rows(
    path: str | PathLike[str], instances: str | PathLike[str] | None, bbox_format: str, problems: list[Problem]
) -> Rows:
    """(line, row) with boxes XYXY; what cannot be brought into this form goes to `problems`."""
    table = read_table(path, lambda line, text, remedy: problems.append(Problem(line, "row", text, remedy)))
    rows = _boxed_rows(table, bbox_format, problems)
    if instances is None:
        yield from rows
        return
    listed = list(rows)
    objects = CocoObjects(instances, (row for _, row in listed))
    for line, row in listed:
        try:
            yield line, objects.complete(row)
        except ValueError as error:
            problems.append(Problem(line, "ann_id", row.get("ann_id", row.get("image_id")), str(error)))


def _boxed_rows(table: Rows, bbox_format: str, problems: list[Problem]) -> Rows:
    for line, listed in table:
        for row in _sentences(listed):
            if row.get("expressions") == []:
                problems.append(Problem(line, "expressions", [], "give at least one expression"))
                continue
            try:
                box = None if row.get("bbox") is None else list(parse_box(row["bbox"], bbox_format))
            except ValueError as error:
                problems.append(Problem(line, "bbox", row["bbox"], str(error)))
                continue
            yield line, row | {"bbox": box}


def _sentences(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row of the image view as rows of the sentence view; any other row as it is."""
    listed = row.get("expressions")
    if not listed or not isinstance(listed, list) or not all(isinstance(sentence, Mapping) for sentence in listed):
        yield row
        return
    picture = {name: value for name, value in row.items() if name != "expressions"}
    yield from (picture | sentence for sentence in listed)


__all__ = ["BBOX_FORMATS", "OwnDataError", "Problem", "group_by_image", "load_own_data"]
