"""What a set shows, picture by picture → rows of the image view, the same picture once however often it comes.

Collects the rows without the pictures, and what is odd about all of them together. Knows nothing of files and of
networks.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...images.reading import picture_size
from ...images.segmentation import SegmentationStruct, segmentation_area, segmentation_extent, segmentation_struct
from ..box_forms import BoxForms, leaves
from ..boxes import Box
from ..coco import CocoAnnotation, read_annotation
from ..values import can_be_stored, is_visible, shown, whole_number
from .schemas import Depicted, Described

_MOST_LEAVING = 0.01  # of the boxes may leave their pictures; more are of other pictures, or no x, y, width, height
_REMEDY = (
    "The Hub's sets are read with boxes of x, y, width, height: save the rows as a table in the columns of own data, "
    "and give that."
)
_FILLED = 2.0  # pixels that an outline may lack on each side of its box


@dataclass
class PictureRows:
    """
    Rows of the image view, without their `image`, in the order in which the pictures first come.

    Attributes:
        rows: one per picture.
        referents: how many were added, those without a text included.
        expressions: how many.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    referents: int = 0
    expressions: int = 0
    _by_digest: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    _forms: BoxForms = field(default_factory=BoxForms)
    _blank: int = 0
    _leaving: int = 0
    _masks: int = 0
    _parts: int = 0

    def add(self, depicted: Depicted) -> bool:
        """
        Returns:
            Whether the picture is a new one, of which there now is a row.

        Raises:
            ValueError: a value is wrong; names it.
        """
        data = depicted.image.get("bytes") if isinstance(depicted.image, Mapping) else None
        if not isinstance(data, bytes):
            raise ValueError("image: there is no picture in the row")
        digest = hashlib.blake2b(data, digest_size=16).digest()
        row = self._by_digest.get(digest)
        if is_new := row is None:
            height, width = picture_size({"bytes": data, "path": None})
            row = {"image_id": depicted.image_id, "width": width, "height": height, "expressions": []}
        size = row["height"], row["width"]
        for described in depicted.referents:
            row["expressions"] += self._expressions(described, size)
        if not is_new or not row["expressions"]:
            return False
        self._by_digest[digest] = row
        self.rows.append(row)
        return True

    def notes(self) -> list[str]:
        """
        What is odd about the set, for whoever reads its scores.

        Raises:
            ValueError: its boxes are of another form, or not of these pictures.
        """
        if contradiction := self._forms.contradiction():
            raise ValueError(f"{contradiction} {_REMEDY}")
        if self._leaving > _MOST_LEAVING * self.referents:
            remark = self._forms.explain_faults() or "Its pictures are not those that were annotated."
            raise ValueError(f"{self._leaving} of {self.referents} boxes leave their picture. {remark} {_REMEDY}")
        told = []
        if self._blank:
            told.append(f"{self._blank} expressions without a visible character are left out.")
        if self._leaving:
            told.append(f"{self._leaving} boxes leave their picture and count as they are.")
        if 0 < self._masks < self.referents:
            told.append(f"{self.referents - self._masks} referents have no mask, so masks are not scored.")
        if self._parts:
            told.append(
                f"{self._parts} outlines do not fill their boxes: they are a part of an object that others cut up, so "
                "scores of masks are not those of the original masks."
            )
        return told

    def _expressions(self, described: Described, size: tuple[int, int]) -> list[dict[str, Any]]:
        annotation = _annotation(described.annotation, size)
        height, width = size
        segmentation = segmentation_struct(annotation.segmentation, height, width)
        self._look_at(annotation.bbox, segmentation, size)
        left, top, right, bottom = annotation.bbox
        area = segmentation_area(segmentation, height, width) if segmentation else (right - left) * (bottom - top)
        shared = {
            "ref_id": self.referents,
            "ann_id": _number(annotation.id),
            "bbox": list(annotation.bbox),
            "segmentation": segmentation,
            "area": area,
            "category": described.category,
            "category_id": None,
        }
        self.referents += 1
        rows = []
        for sentence in described.sentences:
            if not isinstance(sentence, str) or not can_be_stored(sentence):
                raise ValueError(f"{shown(sentence)} is no expression")
            if is_visible(sentence):
                rows.append({"expression": sentence.strip(), "sent_id": self.expressions, **shared})
            else:
                self._blank += 1
            self.expressions += 1
        return rows

    def _look_at(self, box: Box, segmentation: SegmentationStruct | None, size: tuple[int, int]) -> None:
        extent = segmentation_extent(segmentation) if segmentation else None
        self._forms.see(box, "xywh", size, extent)
        self._leaving += leaves(box, size)
        if extent is not None and segmentation is not None:
            self._masks += 1
            # Run lengths of finer masks than the box was drawn around are another matter.
            is_outline = segmentation["polygons"] is not None
            self._parts += is_outline and bool(np.abs(extent.ravel() - np.asarray(box)).max() > _FILLED)


def _annotation(record: Mapping[str, Any], size: tuple[int, int]) -> CocoAnnotation:
    """
    A record of COCO's, with its segmentation in a form that says what it is.

    Raises:
        ValueError: a field is missing or impossible, or the box is empty.
    """
    counts = record["segmentation"]
    # Of a crowd, COCO holds run lengths, of which a list of numbers has lost the size.
    if record.get("iscrowd") and isinstance(counts, list) and sum(counts) == size[0] * size[1]:
        record = {**record, "segmentation": {"counts": [int(count) for count in counts], "size": list(size)}}
    annotation = read_annotation({"image_id": 0, **record})
    left, top, right, bottom = annotation.bbox
    if right <= left or bottom <= top:
        raise ValueError(f"bbox={shown(record['bbox'])}: is empty; give x, y, width, height")
    return annotation


def _number(value: object) -> int | None:
    try:
        return whole_number(value)
    except ValueError:
        return None


__all__ = ["PictureRows"]
