"""Files in COCO's instances format → typed records: the one reader of such files.

Own data, REFER folders, photographs for composed scenes and the training of detectors read through `read_coco`. Every
record is checked and packed as soon as the parser has read it, and unwanted annotations are dropped there, so that a
full COCO takes little memory. Boxes become XYXY, pixels of the picture. Ids are numbers or text (ReferItGame,
some annotation tools). Knows nothing of pixels and of expressions.
"""

import math
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any, NamedTuple

from ..images.segmentation import segmentation_extent, segmentation_struct
from .boxes import LARGEST, Box, parse_box
from .json_files import read_json
from .values import Id, field_of, identifier, is_number, shown, text, whole_number

PackedSegmentation = list["array[float]"] | list[dict[str, Any]] | dict[str, Any]


class CocoImage(NamedTuple):
    """
    Attributes:
        id: the file's own.
        file_name: relative to the folder of the pictures.
        height, width: pixels; None where the file does not say.
        annotated: False for a picture that nobody has annotated, as opposed to one without objects.
        partial_categories: not every object of the file's categories is annotated.
    """

    id: Id
    file_name: str
    height: int | None
    width: int | None
    annotated: bool = True
    partial_categories: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """
        (height, width).

        Raises:
            ValueError: the file does not say.
        """
        if self.height is None or self.width is None:
            raise ValueError(f"Image {self.id!r} ({self.file_name}) has no 'height' or no 'width': add them.")
        return self.height, self.width

    def require_size(self, found: tuple[int, int], path: str | PathLike[str]) -> None:
        """
        Check that a picture is the one that was annotated, as far as the file has a size.

        Args:
            found: (height, width) of the picture at `path`, upright.
            path: for the message.

        Raises:
            ValueError: its size is another one.
        """
        if (self.height or found[0], self.width or found[1]) != found:
            raise ValueError(
                f"Image {self.id!r} is annotated at {self.height}×{self.width} pixels (height × width), but {path} "
                f"has {found[0]}×{found[1]} when it is upright: annotate the upright picture, or give the one that "
                "was annotated."
            )


class CocoAnnotation(NamedTuple):
    """
    One object, or a crowd of them.

    Attributes:
        id: None where the file has none.
        image_id: of its picture.
        category_id: None where the file has none.
        bbox: XYXY, pixels; where the file has none, the tight box of the segmentation.
        area: of the file, by default that of the box; pixels.
        segmentation: polygons of at least 3 points, one RLE or several, or None; see `images/segmentation.py`.
        iscrowd: a group that is annotated as one object.
    """

    id: Id | None
    image_id: Id
    category_id: int | None
    bbox: Box
    area: float
    segmentation: PackedSegmentation | None
    iscrowd: bool = False


@dataclass(frozen=True)
class CocoFile:
    """
    What a file holds.

    Attributes:
        images: by id, in the file's order.
        annotations: those that were wanted, in the file's order.
        categories: id → name.
    """

    images: dict[Id, CocoImage]
    annotations: list[CocoAnnotation]
    categories: dict[int, str]

    def category_of(self, annotation: CocoAnnotation) -> str | None:
        """The name of an annotation's category; None where the file has none."""
        return None if annotation.category_id is None else self.categories.get(annotation.category_id)

    def annotated_images(self, exclude: Collection[Id] = ()) -> list[tuple[CocoImage, list[CocoAnnotation]]]:
        """
        The images that are annotated, each with its annotations, which may be none.

        Args:
            exclude: ids of images to leave out; 7 and "7" are the same one, so that the way a file writes its ids
                does not decide what a model is trained on.

        Raises:
            ValueError: there are annotations, but none of an image of the file.
        """
        if self.annotations and not any(annotation.image_id in self.images for annotation in self.annotations):
            raise ValueError(
                f"No annotation names an image of its file: their image_id are such as "
                f"{self.annotations[0].image_id!r}, the ids of the images {[*self.images][:3]}: write both alike."
            )
        left_out = set(map(str, exclude))
        found: dict[Id, list[CocoAnnotation]] = {
            image.id: [] for image in self.images.values() if image.annotated and str(image.id) not in left_out
        }
        for annotation in self.annotations:
            if annotation.image_id in found:
                found[annotation.image_id].append(annotation)
        return [(self.images[image_id], annotations) for image_id, annotations in found.items()]


def read_coco(
    path: str | PathLike[str], *, wanted: Collection[Id] | None = None, problems: dict[str, str] | None = None
) -> CocoFile:
    """
    Read an instances file.

    Args:
        path: of the JSON.
        wanted: ids of the annotations to keep, which must then be unique; None keeps all.
        problems: filled with what is wrong with which record ("annotation 5", "image 17"); such records are left out.
            None: the first one is an error.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not JSON, not COCO's format, or a record with a missing or impossible field, or one whose id is
            another one's, too.
    """
    reader = _Reader(path, wanted, problems)
    content = read_json(path, reader.pack)
    lists = [content.get(name) for name in ("images", "annotations")] if isinstance(content, dict) else []
    if not lists or not all(isinstance(part, list) for part in (*lists, content.get("categories", []))):
        raise ValueError(
            f"{path} is no COCO instances file: it needs the lists 'images', 'annotations' and 'categories', each "
            "item with an 'id'."
        )
    annotations = reader.records("annotation", content["annotations"])
    if wanted is not None:
        annotations = list(reader.by_id("annotation", annotations).values())
    return CocoFile(
        images=reader.by_id("image", reader.records("image", content["images"])),
        annotations=annotations,
        categories={
            category.id: category.name
            for category in reader.by_id(
                "category", reader.records("category", content.get("categories", []))
            ).values()
        },
    )


def read_annotation(record: Mapping[str, Any]) -> CocoAnnotation:
    """
    One annotation that is no file's: id, image_id, bbox (x, y, width, height), segmentation and so on, as COCO's.

    Raises:
        ValueError: a missing or impossible field.
    """
    return _annotation(record)


_DROPPED: Any = object()  # stands for an annotation that nobody wants; null would be a fault


class _Category(NamedTuple):
    id: int
    name: str


class _Faulty(NamedTuple):
    """What stands for a record that is wrong, until it is known whether it is in one of the lists."""

    name: str
    problem: str


class _Reader:
    """Converts the records of a file as the parser reads them, and leaves out what is not wanted."""

    def __init__(
        self, path: str | PathLike[str], wanted: Collection[Id] | None, problems: dict[str, str] | None
    ) -> None:
        self.path, self.problems = path, problems
        self.wanted = None if wanted is None else frozenset(wanted)

    def pack(self, record: dict[str, Any]) -> Any:
        """Called for every object of the file as soon as it is complete."""
        if "image_id" in record or ("id" in record and ("bbox" in record or "segmentation" in record)):
            return _converted("annotation", record) if self._is_wanted(record.get("id")) else _DROPPED
        return _converted("image", record) if "file_name" in record else record

    def _is_wanted(self, key: Any) -> bool:
        return self.wanted is None or (isinstance(key, (int, float, str)) and key in self.wanted)

    def records(self, kind: str, entries: list[Any]) -> list[Any]:
        """The typed records of a list, without what was dropped or is wrong."""
        found = []
        for entry in entries:
            if entry is _DROPPED:
                continue
            # What `pack` did not recognise lacks a field, or is a category.
            record = entry if isinstance(entry, (_RECORDS[kind], _Faulty)) else _converted(kind, entry)
            if isinstance(record, _Faulty):
                self._report(*record)
            else:
                found.append(record)
        return found

    def by_id(self, kind: str, records: list[Any]) -> dict[Any, Any]:
        """The records by their ids, without those whose id another record has, too, unless they are the same."""
        found: dict[Any, Any] = {}
        shared = set()
        for record in records:
            if found.setdefault(record.id, record) != record:
                shared.add(record.id)
        for key in shared:
            del found[key]
            self._report(_name(kind, key), "several differing records have this id; give each one of its own")
        return found

    def _report(self, name: str, problem: str) -> None:
        if self.problems is None:
            raise ValueError(f"{self.path}, {name}: {problem}.")
        self.problems[name] = problem


def _converted(kind: str, record: Any) -> Any:
    """A record in its type."""
    fields = record if isinstance(record, Mapping) else {}
    try:
        return _CONVERTERS[kind](fields)
    except ValueError as error:
        return _Faulty(_name(kind, fields.get("id", getattr(record, "id", None))), str(error).rstrip("."))


def _name(kind: str, key: Any) -> str:
    """How a record is called in messages and among the problems, however its id is written."""
    try:
        known = identifier(key)
        return f"{kind} {known if len(str(known)) <= 80 else shown(known)}"
    except ValueError:
        return f"{kind} {shown(key)}"


def _image(record: Mapping[str, Any]) -> CocoImage:
    return CocoImage(
        id=field_of(record, "id", identifier),
        file_name=field_of(record, "file_name", text),
        height=field_of(record, "height", _side, None),
        width=field_of(record, "width", _side, None),
        annotated=field_of(record, "annotated", _flag, True),
        partial_categories=field_of(record, "partial_categories", _flag, False),
    )


def _annotation(record: Mapping[str, Any]) -> CocoAnnotation:
    segmentation = field_of(record, "segmentation", _packed, None)
    if segmentation is None or record.get("bbox") is not None:
        bbox = field_of(record, "bbox", _box)
    else:
        bbox = field_of({"segmentation": segmentation}, "segmentation", _box_around)
    left, top, right, bottom = bbox
    return CocoAnnotation(
        id=field_of(record, "id", identifier, None),
        image_id=field_of(record, "image_id", identifier),
        category_id=field_of(record, "category_id", _category_id, None),
        bbox=bbox,
        area=field_of(record, "area", _area, (right - left) * (bottom - top)),
        segmentation=segmentation,
        iscrowd=field_of(record, "iscrowd", _flag, False),
    )


def _category(record: Mapping[str, Any]) -> _Category:
    return _Category(field_of(record, "id", _category_id), field_of(record, "name", text))


_category_id = partial(whole_number, bits=32)
_CONVERTERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "image": _image,
    "annotation": _annotation,
    "category": _category,
}
_RECORDS = {"image": CocoImage, "annotation": CocoAnnotation, "category": _Category}


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in (0, 1):
        return bool(value)
    raise ValueError("give 0 or 1")


def _side(value: Any) -> int:
    side = whole_number(value)
    if not 0 < side < LARGEST:
        raise ValueError("give a number of pixels")
    return side


def _area(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not 0 <= number < LARGEST**2:
        raise ValueError("give a number of pixels")
    return number


def _box(values: Any) -> Box:
    left, top, right, bottom = box = parse_box(values, "xywh")
    if right < left or bottom < top:
        raise ValueError("the width and height of x, y, width, height cannot be negative")
    return box


def _box_around(segmentation: PackedSegmentation) -> Box:
    """The tight box of a mask; run lengths have a size of their own, polygons need none."""
    first = segmentation[0] if isinstance(segmentation, list) else segmentation
    height, width = (_side(side) for side in first["size"]) if isinstance(first, Mapping) else (LARGEST, LARGEST)
    struct = segmentation_struct(segmentation, int(height), int(width))
    left, top, right, bottom = segmentation_extent(struct or {}).ravel().tolist()
    return left, top, right, bottom


def _packed(segmentation: Any) -> PackedSegmentation | None:
    """Polygons as arrays, run lengths as they are, None for what covers nothing."""
    if not isinstance(segmentation, (Mapping, Sequence)) or isinstance(segmentation, (str, bytes)):
        raise ValueError("give polygons or an RLE with 'counts' and 'size'")
    if not segmentation:
        return None
    if isinstance(segmentation, Mapping):
        return dict(segmentation)
    if isinstance(segmentation[0], Mapping):
        return list(segmentation)
    parts = [segmentation] if is_number(segmentation[0]) else segmentation
    # COCO holds a few parts of one or two points, which cover nothing and which pycocotools takes for boxes.
    return [_polygon(part) for part in parts if not isinstance(part, list) or len(part) >= 6] or None


def _polygon(part: Any) -> "array[float]":
    # Sums and extremes instead of a look at every coordinate: a full COCO has 50 million.
    if not isinstance(part, list) or not set(map(type, part)) <= {int, float}:
        raise ValueError("a polygon is a list of numbers x, y, x, y, …")
    if len(part) % 2:
        raise ValueError(f"a polygon has {len(part)} coordinates; give an even number")
    packed = array("d", part)
    if not (math.isfinite(sum(packed)) and max(packed) < LARGEST and min(packed) > -LARGEST):
        raise ValueError("a polygon has coordinates that are no pixels of a picture")
    return packed


__all__ = ["CocoAnnotation", "CocoFile", "CocoImage", "Id", "PackedSegmentation", "read_annotation", "read_coco"]
