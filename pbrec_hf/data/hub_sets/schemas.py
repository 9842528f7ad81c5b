"""The two forms in which evaluation sets lie on the Hub, recognised from their columns.

*Referents*: a row per referent, with its picture (lmms-lab's RefCOCO, RefCOCOplus and RefCOCOg). *Pictures*: a row per
picture, with its referents (moondream's refcoco-m). Either becomes a `Depicted`. Boxes are x, y, width, height in
pixels. Knows nothing of files and of whether values are right.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from datasets import Features, LargeList, List

_COCO_NAME = re.compile(r"COCO_[a-z]+\d{4}_(\d{12})(?:_\d+)?", re.ASCII)


class Described(NamedTuple):
    """
    A referent and what is said of it.

    Attributes:
        annotation: a record of COCO's: id, bbox (x, y, width, height), segmentation, iscrowd.
        category: its name, if there is one.
        sentences: the expressions.
    """

    annotation: dict[str, Any]
    category: str | None
    sentences: list[str]


class Depicted(NamedTuple):
    """
    A picture and its referents.

    Attributes:
        image: {"bytes", "path"}.
        image_id: COCO's number where the file's name tells it.
        referents: one in the first form, any number in the second.
    """

    image: Mapping[str, Any]
    image_id: str
    referents: list[Described]


class Schema(NamedTuple):
    """
    One of the two forms.

    Attributes:
        name: of the form.
        columns: those it is recognised by, written as in `column_names`.
        read: a row → what it shows.
    """

    name: str
    columns: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], Depicted]


def recognised(features: Features) -> Schema:
    """
    The form of a data set with these features.

    Raises:
        ValueError: neither of the two; names the columns found and needed.
    """
    found = column_names(features)
    for schema in SCHEMAS:
        if set(schema.columns) <= set(found):
            return schema
    needed = "; or ".join(f"{', '.join(schema.columns)} ({schema.name})" for schema in SCHEMAS)
    raise ValueError(f"its columns are {', '.join(found) or 'unknown'}; needed are {needed}")


def column_names(features: Any, prefix: str = "") -> list[str]:
    """Names of all columns; what a list holds is `list[]`, a field of a struct `struct.field`."""
    if isinstance(features, (List, LargeList)):
        return column_names(features.feature, f"{prefix}[]")
    if isinstance(features, Mapping) and features.keys() != {"bytes", "path"}:  # which is a picture without its type
        start = f"{prefix}." if prefix else ""
        return [name for key, value in features.items() for name in column_names(value, f"{start}{key}")]
    return [prefix]


def _referent(row: Mapping[str, Any]) -> Depicted:
    annotation = {
        "id": row["question_id"],
        "bbox": row["bbox"],
        "segmentation": row["segmentation"] or None,
        "iscrowd": row.get("iscrowd"),
    }
    return Depicted(row["image"], _image_id(row["file_name"]), [Described(annotation, None, row["answer"] or [])])


def _picture(row: Mapping[str, Any]) -> Depicted:
    return Depicted(row["image"], str(row["image_id"]), list(_samples(row)))


def _samples(row: Mapping[str, Any]) -> Iterator[Described]:
    for sample in row["samples"] or []:
        mask = sample["mask"]
        is_there = mask is not None and mask["counts"] is not None
        annotation = {"id": sample["id"], "bbox": sample["bbox"], "segmentation": mask if is_there else None}
        yield Described(annotation, sample.get("category"), sample["sentences"] or [])


def _image_id(file_name: str) -> str:
    """REFER writes COCO_train2014_000000581857_16.jpg for the picture 581857."""
    stem = PurePosixPath(str(file_name)).stem
    match = _COCO_NAME.fullmatch(stem)
    return str(int(match[1])) if match else stem


SCHEMAS = (
    Schema(
        "a row per referent",
        ("image", "question_id", "answer[]", "segmentation[]", "bbox[]", "file_name"),
        _referent,
    ),
    Schema(
        "a row per picture",
        (
            "image", "image_id", "samples[].id", "samples[].sentences[]", "samples[].bbox[]", "samples[].mask.counts",
            "samples[].mask.size[]",
        ),
        _picture,
    ),
)  # fmt: skip

__all__ = ["SCHEMAS", "Depicted", "Described", "Schema", "column_names", "recognised"]
