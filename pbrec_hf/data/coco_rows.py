"""Rows of expressions whose objects are in a COCO instances file → rows with picture, box and mask.

A row names its object by `ann_id` (also `annotation_id`), or its picture by `image_id` and the object by `bbox`. Knows
nothing of how the rows are stored and whether their values are right.
"""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

from .coco import CocoFile, read_coco
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
        wanted = {form for row in rows for form in _forms(_ann_id(row))}
        self._problems: dict[str, str] = {}
        self._file: CocoFile = read_coco(instances, wanted=wanted, problems=self._problems)
        self._annotations = {annotation.id: annotation for annotation in self._file.annotations}

    def complete(self, row: Mapping[str, Any]) -> Row:
        """
        A row with `ann_id`, or with `image_id` and XYXY `bbox`, → the row with `image`, its size, XYXY `bbox`,
        `segmentation` and category.

        Raises:
            ValueError: there is no such annotation or image, its record is wrong, or the row names neither.
        """
        completed = {name: value for name, value in row.items() if name != "annotation_id"}
        ann_id = _ann_id(row)
        if ann_id is not None:
            annotation = self._annotations[self._find("annotation", ann_id, self._annotations)]
            # A text that is no number has no place in the columns of data sets.
            completed["ann_id"] = next((form for form in _forms(ann_id) if isinstance(form, int)), None)
            completed |= {
                "image_id": annotation.image_id,
                "bbox": list(annotation.bbox),
                "segmentation": annotation.segmentation,
                "category_id": annotation.category_id,
                "category": self._file.category_of(annotation),
            }
        elif row.get("image_id") is None or row.get("bbox") is None:
            raise ValueError("give ann_id, or image_id and bbox")
        image = self._file.images[self._find("image", completed["image_id"], self._file.images)]
        return completed | {"image": image.file_name, "width": image.width, "height": image.height}

    @staticmethod
    def names_object(row: Mapping[str, Any]) -> bool:
        """Whether a row's box comes from the file."""
        return _ann_id(row) is not None

    def _find(self, kind: str, wanted: Any, known: Mapping[Any, object]) -> Id:
        """The key of `known` that is meant."""
        for form in _forms(wanted):
            if form in known:
                return form
            if f"{kind} {form}" in self._problems:
                raise ValueError(f"{kind} {form} of the instances file: {self._problems[f'{kind} {form}']}")
        raise ValueError(f"there is no {kind} of id {shown(wanted)} in the instances file")


def _ann_id(row: Mapping[str, Any]) -> Any:
    return row.get("ann_id") if row.get("ann_id") is not None else row.get("annotation_id")


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
