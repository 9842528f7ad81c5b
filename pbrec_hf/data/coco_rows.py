"""Rows of expressions whose objects are in a COCO instances file → rows with picture, box and mask.

A row names its object by `ann_id` (also `annotation_id`), several by `ann_ids`; or its picture by `image_id` and what
it means by `bbox`, `boxes` or `no_target`. Knows nothing of how rows are stored and whether their values are right.
"""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

from .coco import CocoAnnotation, CocoFile, read_coco
from .values import Id, identifier, shown, whole_number

Row = dict[str, Any]


class CocoObjects:
    """
    Annotations and images of an instances file, to complete rows of expressions.

    Args:
        instances: path of the file.
        rows: those that will be completed; only annotations that they name are kept.

    Raises:
        FileNotFoundError, ValueError: the file is missing or not of COCO's format. A record with a wrong field is an
            error of the rows that need it.
    """

    def __init__(self, instances: str | PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
        wanted = {form for row in rows for given in _named(row) for form in _forms(given)}
        self._problems: dict[str, str] = {}
        self._file: CocoFile = read_coco(instances, wanted=wanted, problems=self._problems)
        self._annotations = {annotation.id: annotation for annotation in self._file.annotations}

    def complete(self, row: Mapping[str, Any]) -> Row:
        """
        A row with ids of annotations, or with `image_id` and XYXY boxes or none, → the row with `image`, its size,
        XYXY `bbox` or `boxes`, masks and category.

        Raises:
            ValueError: there is no such annotation or image, its record is wrong, the annotations are of several
                images, or the row does not say what it means.
        """
        if problem := _problem(row):
            raise ValueError(problem)
        completed = {name: value for name, value in row.items() if name != "annotation_id"}
        keys = [self._find("annotation", given, self._annotations) for given in _named(row)]
        annotations = [self._annotations[key] for key in dict.fromkeys(keys)]
        if annotations:
            images = {annotation.image_id for annotation in annotations}
            if len(images) > 1:
                raise ValueError(f"they are of the images {shown(sorted(images, key=str))}; name those of one image")
            completed |= self._objects(annotations)
        elif row.get("image_id") is None or all(row.get(name) is None for name in ("bbox", "boxes", "no_target")):
            raise ValueError("give ann_id or ann_ids; or image_id and bbox, boxes or no_target")
        image = self._file.images[self._find("image", completed["image_id"], self._file.images)]
        return completed | {"image": image.file_name, "width": image.width, "height": image.height}

    @staticmethod
    def names_object(row: Mapping[str, Any]) -> bool:
        """Whether a row's boxes come from the file."""
        return bool(_named(row))

    def _objects(self, annotations: Sequence[CocoAnnotation]) -> Row:
        """The columns of a row that means these annotations of one image."""
        # A text that is no number has no place in the columns of data sets.
        numbers = [
            next((form for form in _forms(annotation.id) if isinstance(form, int)), None) for annotation in annotations
        ]
        shared: Row = {"image_id": annotations[0].image_id}
        for name, values in (
            ("category_id", {annotation.category_id for annotation in annotations}),
            ("category", {self._file.category_of(annotation) for annotation in annotations}),
        ):
            shared[name] = values.pop() if len(values) == 1 else None
        if len(annotations) == 1:
            (only,) = annotations
            one = {"ann_id": numbers[0], "bbox": list(only.bbox), "segmentation": only.segmentation}
            return shared | one | {"ann_ids": None}
        return shared | {
            "ann_id": None,
            "ann_ids": numbers,
            "boxes": [list(annotation.bbox) for annotation in annotations],
            "segmentations": [annotation.segmentation for annotation in annotations],
        }

    def _find(self, kind: str, wanted: Any, known: Mapping[Any, object]) -> Id:
        """The key of `known` that is meant."""
        for form in _forms(wanted):
            if form in known:
                return form
            if f"{kind} {form}" in self._problems:
                raise ValueError(f"{kind} {form} of the instances file: {self._problems[f'{kind} {form}']}")
        raise ValueError(f"there is no {kind} of id {shown(wanted)} in the instances file")


def _named(row: Mapping[str, Any]) -> list[Any]:
    """The ids of the annotations that a row names."""
    one, several = _ann_id(row), row.get("ann_ids")
    if isinstance(several, list):
        return several
    return [] if one is None else [one]


def _ann_id(row: Mapping[str, Any]) -> Any:
    return row.get("ann_id") if row.get("ann_id") is not None else row.get("annotation_id")


def _problem(row: Mapping[str, Any]) -> str | None:
    """What is wrong with how a row names annotations."""
    several = row.get("ann_ids")
    if isinstance(_ann_id(row), list):
        return "is a list; call this column ann_ids"
    if several is not None and not isinstance(several, list):
        return "give a list of ids"
    if several is not None and _ann_id(row) is not None:
        return "there is an ann_id, too; keep one of the two columns"
    return None


def _forms(value: Any) -> list[Id]:
    """An id, and the other way of writing it: COCO has numbers, a CSV and some annotation tools have text."""
    try:
        given = identifier(value)
    except ValueError:
        return []
    try:
        number = whole_number(given)
    except ValueError:
        return [given]
    return [given, number if isinstance(given, str) else str(number)]


__all__ = ["CocoObjects"]
