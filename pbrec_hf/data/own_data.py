"""Own data → the columns of `data/schema.py`, checked row by row before anything trains.

Two forms: a table (JSON, CSV, TSV, Parquet) with the columns `image, expression, bbox[, segmentation]`; or a COCO
instances file with a table of expressions that name their object by `ann_id` or by `image_id` and `bbox`. An
expression for several objects has `boxes[, segmentations]` or `ann_ids`; one for nothing says `no_target: true`. Every
row is checked, image headers included, and everything that is wrong is reported at once: line, field, value, remedy.
Nothing is clipped or dropped silently. Knows nothing of the published data sets.
"""

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, Features
from transformers.utils import logging

from .box_columns import BOX_COLUMNS, joined_box
from .boxes import BBOX_FORMATS, parse_box
from .coco_rows import CocoObjects
from .embedded import Embedded, dataset_with_pictures
from .row_checks import OPTIONAL, REFERENTS, REQUIRED, OwnDataError, Problem, RowChecker
from .schema import IMAGE_COLUMNS, features
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
            ymax; x1, y1, x2, y2; left, top, right, bottom; x, y, w, h), whose names then say its form. If an
            expression of any split means several objects or none, all have the columns of such data.
        image_dir: folder that the image names are relative to and may not leave; by default the table's own folder,
            where absolute paths are allowed, too.
        instances: COCO instances file, for a table of expressions with `ann_id` (also `annotation_id`) or `ann_ids`,
            or with `image_id` and `bbox`, `boxes` or `no_target`.
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
    features(view)  # refuses an unknown view before anything is read
    tables = dict(path) if isinstance(path, Mapping) else {"": path}
    read = {split: _read(table, image_dir, instances, bbox_format) for split, table in tables.items()}
    # A split of few rows may have one box in each; it has the columns of the others.
    generalized = any(len(row["boxes"]) != 1 for rows in read.values() for row in rows)
    columns = features(view, generalized)
    splits = {split: _dataset(tables[split], rows, view, columns, cache_dir) for split, rows in read.items()}
    return DatasetDict(splits) if isinstance(path, Mapping) else splits[""]


def _read(
    path: str | PathLike[str],
    image_dir: str | PathLike[str] | None,
    instances: str | PathLike[str] | None,
    bbox_format: str,
) -> list[dict[str, Any]]:
    """The checked rows of a table, in the sentence view, with the columns of several referents."""
    checker = RowChecker(Path(image_dir or Path(path).parent), image_dir is None)
    rows: list[dict[str, Any]] = []
    for line, row, form in _plain_rows(path, instances, bbox_format, checker.problems):
        converted = checker.convert(line, row, len(rows), form)
        if converted is not None:
            rows.append(converted)
    _require_columns(path, checker)
    if checker.problems:
        problems = sorted(checker.problems, key=lambda problem: problem.line)
        about_boxes = any(problem.field in ("bbox", "boxes") for problem in problems)
        raise OwnDataError(path, problems, checker.forms.explain_faults() if about_boxes else None)
    if not rows:
        raise ValueError(f"{path} has no rows: give at least one with the columns {', '.join(REQUIRED)}.")
    _require_pixels(path, rows)
    if (contradiction := checker.forms.contradiction()) is not None:
        raise ValueError(f"{path}: {contradiction}")
    if checker.unknown:
        unknown = shown(sorted(checker.unknown))
        logger.warning(f"{path}: unknown columns {unknown} are left out; optional ones: {OPTIONAL}.")
    return rows


def _dataset(
    path: str | PathLike[str],
    rows: Sequence[Mapping[str, Any]],
    view: str,
    columns: Features,
    cache_dir: str | PathLike[str] | None,
) -> Dataset:
    if view == "image":
        listed = group_by_image(rows, list(columns["expressions"].feature))
    else:
        listed = [{name: row[name] for name in columns} for row in rows]
    if any(isinstance(row["image"], Embedded) for row in listed):
        return dataset_with_pictures(path, listed, columns, cache_dir)
    return Dataset.from_list(listed, features=columns)


def group_by_image(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Sentence-view rows → image-view rows with `columns` of each expression, images in order of appearance."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["image_id"], row["image"].digest if isinstance(row["image"], Embedded) else row["image"])
        group = groups.setdefault(key, {name: row[name] for name in IMAGE_COLUMNS} | {"expressions": []})
        group["expressions"].append({name: row[name] for name in columns})
    return list(groups.values())


def _require_pixels(path: str | PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Boxes of the unit square are legal one by one, but not all of them are of objects that are specks."""
    boxes = [box for row in rows for box in row["boxes"]]
    if boxes and all(max(box) <= 1 for box in boxes):
        raise ValueError(
            f"All boxes of {path} lie between 0 and 1, such as {boxes[0]} (XYXY), so they are shares of the picture: "
            "multiply x by its width and y by its height."
        )


def _require_columns(path: str | PathLike[str], checker: RowChecker) -> None:
    """One error for a table whose columns have other names, in place of one problem per row."""
    given = checker.given | ({"bbox"} if checker.given & set(REFERENTS) else set())
    absent = [name for name in REQUIRED if name not in given]
    if not absent or not checker.given:
        return
    if all(problem.field in absent and problem.value is None for problem in checker.problems):
        raise ValueError(
            f"No row of {path} has a value in the column {', '.join(absent)}: needed are {', '.join(REQUIRED)}, found "
            f"were {shown(sorted(checker.given))}; {_remedy(absent, checker)}."
        )


def _remedy(absent: list[str], checker: RowChecker) -> str:
    if checker.given & {"ann_id", "ann_ids"}:
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
            name = next(
                (name for name in ("ann_ids", "ann_id", "annotation_id") if row.get(name) is not None), "ann_id"
            )
            problems.append(Problem(line, name, row.get(name, row.get("image_id")), str(error)))


def _boxed_rows(table: Rows, bbox_format: str, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any], str]]:
    for line, listed in table:
        for row in _sentences(listed):
            if row.get("expressions") == []:
                problems.append(Problem(line, "expressions", [], "give at least one expression"))
                continue
            name, box = "bbox", row.get("bbox")
            try:
                joined, form = joined_box(row, bbox_format)
                box = joined.get("bbox")
                parsed: dict[str, Any] = {"bbox": None if box is None else list(parse_box(box, form))}
                if row.get("boxes") is not None:
                    name, box = "boxes", row["boxes"]
                    parsed["boxes"] = _parsed_boxes(box, bbox_format)
            except ValueError as error:
                problems.append(Problem(line, name, box, str(error)))
                continue
            yield line, {**joined, **parsed}, form


def _parsed_boxes(boxes: Any, bbox_format: str) -> list[list[float]]:
    if not isinstance(boxes, list):
        raise ValueError("give a list of boxes, each a list of 4 finite numbers")
    parsed = []
    for number, box in enumerate(boxes, start=1):
        try:
            parsed.append(list(parse_box(box, bbox_format)))
        except ValueError as error:
            raise ValueError(f"number {number} is {shown(box)}; {error}") from error
    return parsed


def _sentences(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row of the image view as rows of the sentence view; any other row as it is."""
    listed = row.get("expressions")
    if not listed or not isinstance(listed, list) or not all(isinstance(sentence, Mapping) for sentence in listed):
        yield row
        return
    picture = {name: value for name, value in row.items() if name != "expressions"}
    yield from (picture | sentence for sentence in listed)
