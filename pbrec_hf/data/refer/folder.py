"""Reads folders of the REFER format, in which the RefCOCO family, ReferItGame and gRefCOCO are published.

A folder holds the references, which expressions mean which object, in `refs(<split_by>).p` (a pickled list, mostly
written by Python 2) or `grefs(<split_by>).json`; and `instances.json` in COCO's format, with boxes and masks. The
pickle is read by `plain_pickle`, the instances by `data/coco.py`; of them only annotations that references name are
kept. Knows nothing of pictures, counts and Arrow.
"""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..coco import CocoAnnotation, CocoImage, PackedSegmentation, read_coco
from ..json_files import read_json
from ..values import Id, can_be_stored, field_of, identifier, shown, text, whole_number
from .plain_pickle import load_plain_pickle

# A pickle may hold a text or a list once and name it in two bytes wherever it is used, and every sentence gets the
# mask of its object, so small files can claim more than memory holds. How many times the files' bytes may be claimed
# by the texts and ids of all references, and by the masks of all sentences:
_MOST_CLAIMED, _MOST_MASKS = 10, 100


class Sentence(NamedTuple):
    """One expression, as published after cleaning (`sent`)."""

    sent_id: int
    text: str


class Reference(NamedTuple):
    """One object (gRefCOCO: several objects or none) and the expressions for it; ids may be text."""

    ref_id: int
    image_id: Id
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
    reader = _ReferenceReader(_MOST_CLAIMED * path.stat().st_size)
    references: list[Reference] = []
    for index, record in enumerate(records):
        try:
            references.append(reader.read(record))
        except _TooMuchError as error:
            raise ValueError(f"{path} claims far more text than it has bytes: fetch it again.") from error
        except ValueError as error:
            raise ValueError(
                f"{path}, reference {index} is not a REFER record: {str(error).rstrip('.')}. It needs ref_id, ann_id, "
                "image_id, split and sentences with sent_id and sent."
            ) from error
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
    for reference in references:
        for ann_id in reference.ann_ids:
            if str(annotations[ann_id].image_id) != str(reference.image_id):
                raise ValueError(
                    f"{path}, annotation {ann_id} is of image {shown(annotations[ann_id].image_id)}, but reference "
                    f"{reference.ref_id} names it in image {shown(reference.image_id)}: take references and instances "
                    "of the same version."
                )
    weights = {ann_id: _weight(annotation.segmentation) for ann_id, annotation in annotations.items()}
    claimed = sum(len(one.sentences) * sum(weights[ann_id] for ann_id in one.ann_ids) for one in references)
    if claimed > _MOST_MASKS * (path.stat().st_size + references_path(folder, split_by).stat().st_size):
        raise ValueError(
            f"{path} and its references make masks of {claimed} bytes, out of proportion: fetch them again."
        )
    images: dict[Id, CocoImage] = {image.id: image for image in instances.images.values() if image.id in used}
    return ReferFolder(references, images, annotations, instances.categories)


def in_split(split_of_reference: str, split: str) -> bool:
    """Whether a reference belongs to `split`. ReferItGame's "testAB" belongs to "testA" and to "testB"."""
    if split_of_reference.startswith("test") and split.startswith("test") and len(split) == len("testA"):
        return split[-1] in split_of_reference[len("test") :]
    return split_of_reference == split


class _TooMuchError(Exception):
    """The references claim more than their file can hold."""


class _ReferenceReader:
    """Converts records; `left` is how many characters and ids they may still claim."""

    def __init__(self, left: int) -> None:
        self.left = left

    def read(self, record: Any) -> Reference:
        fields = _mapping(record)
        return Reference(
            ref_id=field_of(fields, "ref_id", whole_number),
            image_id=field_of(fields, "image_id", identifier),
            split=field_of(fields, "split", text),
            ann_ids=field_of(fields, "ann_id", self._ann_ids),
            sentences=field_of(fields, "sentences", self._sentences),
        )

    def _ann_ids(self, value: Any) -> tuple[Id, ...]:
        listed = value if isinstance(value, list) else [value]
        self._claim(len(listed))
        named = dict.fromkeys(map(identifier, listed))  # an object that is named twice is still one
        return tuple(ann_id for ann_id in named if ann_id != -1)  # -1: no target

    def _sentences(self, value: Any) -> tuple[Sentence, ...]:
        if not isinstance(value, list):
            raise ValueError("give a list of sentences")
        sentences = []
        for entry in value:
            fields = _mapping(entry)
            sentences.append(Sentence(field_of(fields, "sent_id", whole_number), field_of(fields, "sent", self._sent)))
        return tuple(sentences)

    def _sent(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("give a text")
        self._claim(1 + len(value))
        if not can_be_stored(value):
            raise ValueError("give a text without NUL characters and halves of surrogate pairs")
        return value

    def _claim(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise _TooMuchError


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{shown(value)} is no dictionary")
    return value


def _weight(segmentation: PackedSegmentation | None) -> int:
    """About the bytes of a segmentation."""
    parts = [segmentation] if isinstance(segmentation, dict) else segmentation or []
    return sum(8 * len(part) if isinstance(part, array) else len(part.get("counts") or ()) for part in parts)


def _require(wanted: Iterable[Id | None], known: Mapping[Any, object], what: str, path: Path) -> None:
    missing = [key for key in wanted if key not in known]
    if missing:
        raise ValueError(
            f"{path} lacks {len(missing)} {what} ids that references name, among them {shown(missing[:5])}: take "
            "references and instances of the same version."
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
