"""Reads folders of the REFER format, in which the RefCOCO family, ReferItGame and gRefCOCO are published.

A folder holds the references, which expressions mean which object, in `refs(<split_by>).p` (a pickled list, mostly
written by Python 2) or `grefs(<split_by>).json`; and `instances.json` in COCO's format, with boxes and masks. The
pickle is read by `plain_pickle`, the instances by `data/coco.py`; of them only annotations that references name are
kept. Knows nothing of pictures, counts and Arrow.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..coco import CocoAnnotation, CocoImage, Id, read_coco, read_json
from .plain_pickle import load_plain_pickle


class Sentence(NamedTuple):
    """One expression, as published after cleaning (`sent`)."""

    sent_id: int
    text: str


class Reference(NamedTuple):
    """One object (gRefCOCO: several objects or none) and the expressions for it; ids of objects may be text."""

    ref_id: int
    image_id: int
    split: str
    ann_ids: tuple[Id, ...]
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True)
class ReferFolder:
    """A REFER folder in memory. Every `ann_id` and `image_id` of a reference is a key of the mappings."""

    references: list[Reference]
    images: Mapping[Id, CocoImage]
    annotations: Mapping[Id, CocoAnnotation]
    categories: Mapping[int, str]

    def category(self, annotation: CocoAnnotation) -> str:
        """The name of an annotation's category."""
        assert annotation.category_id is not None  # `read_refer_folder` has seen to it
        return self.categories[annotation.category_id]


def references_path(folder: str | Path, split_by: str) -> Path:
    """
    The file of `folder` that holds the references: the pickle, or gRefCOCO's JSON.

    Raises:
        FileNotFoundError: neither file is there; the message lists what is.
    """
    candidates = [Path(folder) / f"refs({split_by}).p", Path(folder) / f"grefs({split_by}).json"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    found = sorted(path.name for path in Path(folder).glob("*refs(*"))
    raise FileNotFoundError(
        f"Neither {candidates[0].name} nor {candidates[1].name} is in {folder}, which holds "
        f"{found or 'no references'}: choose another split_by, or fetch the file."
    )


def read_references(folder: str | Path, split_by: str) -> list[Reference]:
    """
    The references alone, in the order of the file: enough for counts and for questions about images.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, is not plain data, or is not a list of references.
    """
    path = references_path(folder, split_by)
    records = read_json(path) if path.suffix == ".json" else load_plain_pickle(path)
    if not isinstance(records, list):
        raise ValueError(f"{path} holds a {type(records).__name__}, not a list of references: fetch it again.")
    references: list[Reference] = []
    size, sentences = path.stat().st_size, 0
    for index, record in enumerate(records):
        references.append(_reference(record, f"{path}, reference {index}"))
        sentences += len(references[-1].sentences)
        if sentences > size:  # one list shared by all references can claim more sentences than memory holds
            raise ValueError(f"{path} claims more sentences than it has bytes: fetch it again.")
    return references


def read_refer_folder(folder: str | Path, split_by: str) -> ReferFolder:
    """
    References, and of `instances.json` the images, categories and all annotations that are referred to.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or a reference names an image, annotation or category that is not there.
    """
    references = read_references(folder, split_by)
    path = Path(folder) / "instances.json"
    wanted = {ann_id for reference in references for ann_id in reference.ann_ids}
    instances = read_coco(path, wanted=wanted)
    used = {reference.image_id for reference in references}
    annotations = {annotation.id: annotation for annotation in instances.annotations if annotation.id is not None}
    _require(used, instances.images, "image", path)
    _require(wanted, annotations, "annotation", path)
    _require({annotation.category_id for annotation in annotations.values()}, instances.categories, "category", path)
    images: dict[Id, CocoImage] = {image.id: image for image in instances.images.values() if image.id in used}
    return ReferFolder(references, images, annotations, instances.categories)


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
            f"{where} is not a REFER record ({type(error).__name__}: {error}): it needs ref_id, ann_id, image_id, "
            "split and sentences with sent_id and sent."
        ) from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"sent {value!r}")
    value.encode()  # a lone surrogate is no text that can be stored
    return value


def _require(wanted: Iterable[Id | None], known: Mapping[Any, object], what: str, path: Path) -> None:
    missing = [key for key in wanted if key not in known]
    if missing:
        raise ValueError(
            f"{path} lacks {len(missing)} {what} ids that references name, among them {missing[:5]}: take references "
            "and instances of the same version."
        )


__all__ = [
    "ReferFolder",
    "Reference",
    "Sentence",
    "in_split",
    "read_refer_folder",
    "read_references",
    "references_path",
]
