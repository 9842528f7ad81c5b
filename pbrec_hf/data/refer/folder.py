"""Reads folders of the REFER format, in which the RefCOCO family, ReferItGame and gRefCOCO are published.

A folder holds `refs(<split_by>).p` (a pickled list, mostly written by Python 2) or `grefs(<split_by>).json`, which say
who refers to what in which words, and `instances.json` in COCO's format with boxes and masks. The pickle is read by
`plain_pickle`; of the annotations only those that some expression refers to are kept, packed, so that a full RefCOCO
takes little memory. Boxes become XYXY, pixels of the picture as published. Knows nothing of images, counts and Arrow.
"""

import json
import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .plain_pickle import load_plain_pickle


class Sentence(NamedTuple):
    sent_id: int
    text: str


class Reference(NamedTuple):
    """One object (gRefCOCO: several objects or none) and the expressions for it."""

    ref_id: int
    image_id: int
    split: str
    ann_ids: tuple[int | str, ...]  # strings in ReferItGame
    sentences: tuple[Sentence, ...]


class Annotation(NamedTuple):
    bbox: tuple[float, float, float, float]  # XYXY, pixels
    area: float
    category_id: int
    segmentation: list[array] | list[dict] | dict | None  # polygons of at least 3 points, RLEs, or one RLE


class ImageRecord(NamedTuple):
    file_name: str
    width: int
    height: int


@dataclass(frozen=True)
class ReferFolder:
    """What a REFER folder says. Every `ann_id` and `image_id` of a reference is a key of the mappings."""

    references: list[Reference]
    images: Mapping[int, ImageRecord]
    annotations: Mapping[int | str, Annotation]
    categories: Mapping[int, str]


def references_path(folder: str | Path, split_by: str) -> Path:
    """The file of `folder` that holds the references: the pickle, or gRefCOCO's JSON.

    Raises:
        FileNotFoundError: neither file is there; the message lists what is.
    """
    candidates = [Path(folder) / f"refs({split_by}).p", Path(folder) / f"grefs({split_by}).json"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    found = sorted(path.name for path in Path(folder).glob("*refs(*"))
    raise FileNotFoundError(
        f"neither {candidates[0].name} nor {candidates[1].name} is in {folder}; it holds {found or 'no references'}."
    )


def read_references(folder: str | Path, split_by: str) -> list[Reference]:
    """The references alone, in the order of the file: enough for counts and for questions about images.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, is not plain data, or is not a list of references.
    """
    path = references_path(folder, split_by)
    records = _load_json(path) if path.suffix == ".json" else load_plain_pickle(path)
    if not isinstance(records, list):
        raise ValueError(f"{path} holds a {type(records).__name__}, not a list of references.")
    references, size, sentences = [], path.stat().st_size, 0
    for index, record in enumerate(records):
        references.append(_reference(record, f"{path}, reference {index}"))
        sentences += len(references[-1].sentences)
        if sentences > size:  # one list shared by all references can claim more sentences than memory holds
            raise ValueError(f"{path} claims more sentences than it has bytes.")
    return references


def read_refer_folder(folder: str | Path, split_by: str) -> ReferFolder:
    """References, and of `instances.json` the images, categories and all annotations that are referred to.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or a reference names an image, annotation or category that is not there.
    """
    references = read_references(folder, split_by)
    path = Path(folder) / "instances.json"
    if not path.is_file():
        raise FileNotFoundError(f"instances.json is not in {folder}.")
    wanted = {ann_id for reference in references for ann_id in reference.ann_ids}
    annotations: dict[int | str, Annotation] = {}

    def keep(record: dict) -> dict | None:
        """Called by the parser for every object as soon as it is complete: unwanted annotations never pile up."""
        if "bbox" not in record or not isinstance(record.get("id"), (int, str)):
            return record
        if record["id"] in wanted:
            annotations[record["id"]] = _annotation(record, f"{path}, annotation {record['id']}")
        return None

    instances = _load_json(path, object_hook=keep)
    used = {reference.image_id for reference in references}
    try:
        images = {record["id"]: _image(record) for record in instances["images"] if record["id"] in used}
        categories = {record["id"]: str(record["name"]) for record in instances["categories"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not in COCO's format ({type(error).__name__} {error}): it needs the lists 'images' (id, "
            "file_name, width, height), 'annotations' and 'categories' (id, name)."
        ) from error
    _require(used, images, "image", path)
    _require(wanted, annotations, "annotation", path)
    _require({annotation.category_id for annotation in annotations.values()}, categories, "category", path)
    return ReferFolder(references, images, annotations, categories)


def in_split(split_of_reference: str, split: str) -> bool:
    """Whether a reference belongs to `split`. ReferItGame's "testAB" belongs to "testA" and to "testB"."""
    if split_of_reference.startswith("test") and split.startswith("test") and len(split) == len("testA"):
        return split[-1] in split_of_reference[len("test") :]
    return split_of_reference == split


def _reference(record: Any, where: str) -> Reference:
    try:
        ann_ids = record["ann_id"]
        ann_ids = ann_ids if isinstance(ann_ids, list) else [ann_ids]
        if not all(isinstance(ann_id, (int, str)) for ann_id in ann_ids):
            raise TypeError(f"ann_id {ann_ids!r}")
        return Reference(
            ref_id=int(record["ref_id"]),
            image_id=int(record["image_id"]),
            split=str(record["split"]),
            ann_ids=tuple(ann_id for ann_id in ann_ids if ann_id != -1),  # -1: no target
            sentences=tuple(Sentence(int(s["sent_id"]), _text(s["sent"])) for s in record["sentences"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{where} is not a REFER record: {type(error).__name__} {error}. It needs ref_id, ann_id, image_id, split "
            "and sentences with sent_id and sent."
        ) from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"sent {value!r}")
    value.encode()  # a lone surrogate is no text that can be stored
    return value


def _annotation(record: dict, where: str) -> Annotation:
    try:
        x, y, width, height = (float(value) for value in record["bbox"])
        if not all(map(math.isfinite, (x, y, width, height))) or min(width, height) < 0:
            raise ValueError(f"bbox {record['bbox']}")
        return Annotation(
            bbox=(x, y, x + width, y + height),
            area=float(record.get("area", width * height)),
            category_id=int(record["category_id"]),
            segmentation=_pack(record.get("segmentation")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} is not a COCO annotation: {type(error).__name__} {error}.") from error


def _pack(segmentation: Sequence | dict | None) -> list[array] | list[dict] | dict | None:
    if not segmentation or isinstance(segmentation, dict) or isinstance(segmentation[0], dict):
        return segmentation or None
    # COCO holds a few parts of one or two points, which cover nothing and which pycocotools takes for boxes.
    return [array("d", part) for part in segmentation if len(part) >= 6] or None


def _image(record: dict) -> ImageRecord:
    return ImageRecord(str(record["file_name"]), int(record["width"]), int(record["height"]))


def _load_json(path: Path, **options: Any) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file, **options)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}. Download it again from its publisher.") from error


def _require(wanted: Iterable, known: Mapping, what: str, path: Path) -> None:
    missing = [key for key in wanted if key not in known]
    if missing:
        raise ValueError(
            f"{path} lacks {len(missing)} {what} ids that references name, among them {missing[:5]}; the references "
            "and the instances come from different versions."
        )
