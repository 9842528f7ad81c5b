"""Own data → the columns of `data/schema.py`, checked row by row before anything trains.

Two forms: a table (JSON, CSV, TSV, Parquet) with the columns `image, expression, bbox[, segmentation]`; or a COCO
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

from .box_columns import BOX_COLUMNS, joined_box
from .boxes import BBOX_FORMATS, parse_box
from .coco_rows import CocoObjects
from .embedded import Embedded, dataset_with_pictures
from .row_checks import OPTIONAL, REQUIRED, OwnDataError, Problem, RowChecker
from .schema import EXPRESSION_COLUMNS, IMAGE_COLUMNS, features
from .tables import Rows, read_table
from .values import shown

logger = logging.get_logger(__name__)


def load_own_data(
    path: str | PathLike[str] | Mapping[str, str | PathLike[str]],
    image_dir: str | PathLike[str] | None = None,
    *,
    instances: str | PathLike[str] | None = None,
    bbox_format: str = "xyxy",
    view: str = "sentence",
    cache_dir: str | PathLike[str] | None = None,
) -> Dataset | DatasetDict:
    """
    Read, check and convert.

    Args:
        path: table (.jsonl, .json, .csv, .tsv, .parquet) of rows of either view, or of expressions; or a mapping split
            name → table. A CSV may be separated by , ; | or tabs, and a box may be in four columns (xmin, ymin, xmax,
            ymax; x1, y1, x2, y2; left, top, right, bottom; x, y, w, h), whose names then say its form.
        image_dir: folder that the image names are relative to and may not leave; by default the table's own folder,
            where absolute paths are allowed, too.
        instances: COCO instances file, for a table of expressions with `ann_id` (also `annotation_id`), or with
            `image_id` and `bbox`.
        bbox_format: of the table's boxes, "xyxy" or "xywh", pixels of the upright picture. (The boxes of an instances
            file are XYWH, as COCO has it.)
        view: "sentence" or "image", see `data/schema.py`.
        cache_dir: where the pictures of a Parquet file that carries them are kept uncompressed; by default the cache
            of `datasets`. They are read a few at a time, now and later.

    Raises:
        OwnDataError: rows are wrong; a ValueError that lists line, field, value and remedy.
        ValueError: unknown format or view, missing or damaged table, missing columns, a table without rows, or one
            whose boxes are shares of the picture or fit their masks only in another form.
        CannotWriteError: no room in `cache_dir`; an OSError.
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
                split: load_own_data(
                    table, image_dir, instances=instances, bbox_format=bbox_format, view=view, cache_dir=cache_dir
                )
                for split, table in path.items()
            }
        )
    columns = features(view)
    checker = RowChecker(Path(image_dir or Path(path).parent), image_dir is None)
    rows: list[dict[str, Any]] = []
    for line, row, form in _plain_rows(path, instances, bbox_format, checker.problems):
        converted = checker.convert(line, row, len(rows), form)
        if converted is not None:
            rows.append(converted)
    _require_columns(path, checker)
    if checker.problems:
        problems = sorted(checker.problems, key=lambda problem: problem.line)
        about_boxes = any(problem.field == "bbox" for problem in problems)
        raise OwnDataError(path, problems, checker.forms.explain_faults() if about_boxes else None)
    if not rows:
        raise ValueError(f"{path} has no rows: give at least one with the columns {', '.join(REQUIRED)}.")
    _require_pixels(path, rows)
    if (contradiction := checker.forms.contradiction()) is not None:
        raise ValueError(f"{path}: {contradiction}")
    if checker.unknown:
        unknown = shown(sorted(checker.unknown))
        logger.warning(f"{path}: unknown columns {unknown} are left out; optional ones: {OPTIONAL}.")
    listed = rows if view == "sentence" else group_by_image(rows)
    if any(isinstance(row["image"], Embedded) for row in listed):
        return dataset_with_pictures(path, listed, columns, cache_dir)
    return Dataset.from_list(listed, features=columns)


def group_by_image(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sentence-view rows → image-view rows, images in order of appearance."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["image_id"], row["image"].digest if isinstance(row["image"], Embedded) else row["image"])
        group = groups.setdefault(key, {name: row[name] for name in IMAGE_COLUMNS} | {"expressions": []})
        group["expressions"].append({name: row[name] for name in EXPRESSION_COLUMNS})
    return list(groups.values())


def _require_pixels(path: str | PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Boxes of the unit square are legal one by one, but not all of them are of objects that are specks."""
    if all(max(row["bbox"]) <= 1 for row in rows):
        raise ValueError(
            f"All boxes of {path} lie between 0 and 1, such as {rows[0]['bbox']} (XYXY), so they are shares of the "
            "picture: multiply x by its width and y by its height."
        )


def _require_columns(path: str | PathLike[str], checker: RowChecker) -> None:
    """One error for a table whose columns have other names, in place of one problem per row."""
    absent = [name for name in REQUIRED if name not in checker.given]
    if not absent or not checker.given:
        return
    if all(problem.field in absent and problem.value is None for problem in checker.problems):
        raise ValueError(
            f"No row of {path} has a value in the column {', '.join(absent)}: needed are {', '.join(REQUIRED)}, found "
            f"were {shown(sorted(checker.given))}; {_remedy(absent, checker)}."
        )


def _remedy(absent: list[str], checker: RowChecker) -> str:
    if "ann_id" in checker.given:
        return "name the file of its objects in instances"
    if "image" in absent and checker.addresses:
        columns = ", ".join(map(shown, sorted(checker.addresses)))
        return f"download the pictures whose addresses are in {columns}, and give the names of their files as image"
    if {"images", "annotations"} <= checker.given:
        return "a COCO instances file goes to instances, beside a table of expressions"
    return "rename the columns"


def _plain_rows(
    path: str | PathLike[str], instances: str | PathLike[str] | None, bbox_format: str, problems: list[Problem]
) -> Iterator[tuple[int, dict[str, Any], str]]:
    """(line, row, form of its box) with boxes XYXY; what cannot be brought into this form goes to `problems`."""
    known = {*REQUIRED, *OPTIONAL, *BOX_COLUMNS, "annotation_id", "expressions"}
    table = read_table(path, lambda line, text, remedy: problems.append(Problem(line, "row", text, remedy)), known)
    rows = _boxed_rows(table, bbox_format, problems)
    if instances is None:
        yield from rows
        return
    listed = list(rows)
    objects = CocoObjects(instances, (row for _, row, _ in listed))
    for line, row, form in listed:
        try:
            yield line, objects.complete(row), "xywh" if objects.names_object(row) else form
        except ValueError as error:
            problems.append(Problem(line, "ann_id", row.get("ann_id", row.get("image_id")), str(error)))


def _boxed_rows(table: Rows, bbox_format: str, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any], str]]:
    for line, listed in table:
        for row in _sentences(listed):
            if row.get("expressions") == []:
                problems.append(Problem(line, "expressions", [], "give at least one expression"))
                continue
            box = row.get("bbox")
            try:
                joined, form = joined_box(row, bbox_format)
                box = joined.get("bbox")
                parsed = None if box is None else list(parse_box(box, form))
            except ValueError as error:
                problems.append(Problem(line, "bbox", box, str(error)))
                continue
            yield line, {**joined, "bbox": parsed}, form


def _sentences(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row of the image view as rows of the sentence view; any other row as it is."""
    listed = row.get("expressions")
    if not listed or not isinstance(listed, list) or not all(isinstance(sentence, Mapping) for sentence in listed):
        yield row
        return
    picture = {name: value for name, value in row.items() if name != "expressions"}
    yield from (picture | sentence for sentence in listed)
