"""Files in COCO's instances format → typed records: the one reader of such files.

Own data, REFER folders, photographs for composed scenes and the training of detectors read through `read_coco`. Every
record is checked and packed as soon as the parser has read it, and unwanted annotations are dropped there, so that a
full COCO takes little memory. Boxes become XYXY, pixels of the picture. Ids are numbers or text (ReferItGame,
some annotation tools). Knows nothing of pixels and of expressions.
"""

import json
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

from ..images.segmentation import segmentation_extent, segmentation_struct
from .boxes import Box, parse_box

Id = int | str
PackedSegmentation = list["array[float]"] | list[dict[str, Any]] | dict[str, Any]
T = TypeVar("T")
D = TypeVar("D")
_REQUIRED: Any = object()  # stands for "no default"


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
        """
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
        wanted: ids of the annotations to keep; None keeps all.
        problems: filled with what is wrong with which record ("annotation 5", "image 17"); such records are left out.
            None: the first one is an error.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not JSON, not COCO's format, or a record with a missing or impossible field.
    """
    reader = _Reader(path, wanted, problems)
    content = read_json(path, object_hook=reader.pack)
    lists = [content.get(name) for name in ("images", "annotations")] if isinstance(content, dict) else []
    if not lists or not all(isinstance(part, list) for part in (*lists, content.get("categories", []))):
        raise ValueError(
            f"{path} is no COCO instances file: it needs the lists 'images', 'annotations' and 'categories', each "
            "item with an 'id'."
        )
    # What the reader did not recognise while the file was parsed lacks a field.
    packed = [one if isinstance(one, CocoImage) else reader.convert("image", one) for one in content["images"]]
    for record in content["annotations"]:
        reader.convert("annotation", record)
    named = [reader.convert("category", record) for record in content.get("categories", [])]
    return CocoFile(
        images={image.id: image for image in packed if image is not None},
        annotations=reader.annotations,
        categories=dict(category for category in named if category is not None),
    )


def read_json(path: str | PathLike[str], object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """
    The content of a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not JSON in UTF-8.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}: correct the path.")
    try:
        with open(path, encoding="utf-8-sig") as file:
            return json.load(file, object_hook=object_hook)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}): get the file again from where it is from.") from error


class _Reader:
    """Converts the records of a file; keeps the wanted annotations and what is wrong."""

    def __init__(
        self, path: str | PathLike[str], wanted: Collection[Id] | None, problems: dict[str, str] | None
    ) -> None:
        self.path, self.problems = path, problems
        self.wanted = None if wanted is None else frozenset(wanted)
        self.annotations: list[CocoAnnotation] = []

    def pack(self, record: dict[str, Any]) -> dict[str, Any] | CocoImage | None:
        """Called by the parser for every object as soon as it is complete; None drops it."""
        if "file_name" in record:
            image: CocoImage | None = self.convert("image", record)
            return image
        if "image_id" not in record and ("id" not in record or not ("bbox" in record or "segmentation" in record)):
            return record
        if self.wanted is None or (isinstance(record.get("id"), (int, str)) and record["id"] in self.wanted):
            annotation: CocoAnnotation | None = self.convert("annotation", record)
            if annotation is not None:
                self.annotations.append(annotation)
        return None

    def convert(self, kind: str, record: Any) -> Any:
        """A record in its type; None for one that was dropped or is wrong."""
        if record is None:
            return None
        fields = record if isinstance(record, dict) else {}
        try:
            return _CONVERTERS[kind](fields)
        except ValueError as error:
            name, problem = f"{kind} {fields.get('id')}", str(error).rstrip(".")
            if self.problems is None:
                raise ValueError(f"{self.path}, {name}: {problem}.") from error
            self.problems[name] = problem
            return None


def _image(record: Mapping[str, Any]) -> CocoImage:
    return CocoImage(
        id=_field(record, "id", _id),
        file_name=_field(record, "file_name", _text),
        height=_field(record, "height", _integer, None),
        width=_field(record, "width", _integer, None),
        annotated=_field(record, "annotated", bool, True),
        partial_categories=_field(record, "partial_categories", bool, False),
    )


def _annotation(record: Mapping[str, Any]) -> CocoAnnotation:
    segmentation = _field(record, "segmentation", _packed, None)
    if segmentation is None or record.get("bbox") is not None:
        bbox = _field(record, "bbox", _box)
    else:
        bbox = _field({"segmentation": segmentation}, "segmentation", _box_around)
    left, top, right, bottom = bbox
    return CocoAnnotation(
        id=_field(record, "id", _id, None),
        image_id=_field(record, "image_id", _id),
        category_id=_field(record, "category_id", _integer, None),
        bbox=bbox,
        area=_field(record, "area", float, (right - left) * (bottom - top)),
        segmentation=segmentation,
        iscrowd=_field(record, "iscrowd", bool, False),
    )


def _category(record: Mapping[str, Any]) -> tuple[int, str]:
    return _field(record, "id", _integer), _field(record, "name", str)


_CONVERTERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "image": _image,
    "annotation": _annotation,
    "category": _category,
}


@overload
def _field(record: Mapping[str, Any], name: str, parse: Callable[[Any], T]) -> T: ...
@overload
def _field(record: Mapping[str, Any], name: str, parse: Callable[[Any], T], default: D) -> T | D: ...
def _field(record: Mapping[str, Any], name: str, parse: Callable[[Any], T], default: T | None = _REQUIRED) -> T | None:
    """
    A field in its type, or `default` where it is absent or null.

    Raises:
        ValueError: it is absent without a default, or has another form; says what to do.
    """
    value = record.get(name)
    if value is None:
        if default is _REQUIRED:
            raise ValueError(f"it has no {name!r}; add it")
        return default
    try:
        return parse(value)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        text = repr(value)
        raise ValueError(f"{name}={text if len(text) <= 80 else text[:77] + '...'}: {error}") from error


def _id(value: Any) -> Id:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("give a number or a text")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("give a text")
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, float) or value.is_integer():
        try:
            return int(value)
        except (TypeError, ValueError):
            pass
    raise ValueError("give a whole number")


def _box(values: Any) -> Box:
    left, top, right, bottom = box = parse_box(values, "xywh")
    if right < left or bottom < top:
        raise ValueError("the width and height of x, y, width, height cannot be negative")
    return box


def _box_around(segmentation: PackedSegmentation) -> Box:
    """The tight box of a mask; run lengths have a size of their own, polygons need none."""
    first = segmentation[0] if isinstance(segmentation, list) else segmentation
    height, width = first["size"] if isinstance(first, Mapping) else (0, 0)
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
    parts = [segmentation] if isinstance(segmentation[0], Real) else segmentation
    # COCO holds a few parts of one or two points, which cover nothing and which pycocotools takes for boxes.
    return [array("d", part) for part in parts if len(part) >= 6] or None


__all__ = ["CocoAnnotation", "CocoFile", "CocoImage", "Id", "PackedSegmentation", "read_coco", "read_json"]
