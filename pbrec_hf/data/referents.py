"""What an expression of a row means: one object, several or none, from either kind of row of `data/schema.py`.

`referents_of` is the only way from a row to its referents: collator, oracles, recall and metrics take it.
`referent_columns` is the way back, from referents to the columns of a row. Coordinates are pixels of the upright
picture. Knows nothing of files, canvases and models.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..images.segmentation import Segmentation, SegmentationStruct, segmentation_struct, union_of_segmentations


class Referent(NamedTuple):
    """
    One of the objects that an expression means.

    Attributes:
        box: XYXY, pixels.
        segmentation: its mask; None where the data have none.
    """

    box: Sequence[float]
    segmentation: SegmentationStruct | None


def referents_of(sentence: Mapping[str, Any]) -> list[Referent]:
    """
    The referents of an expression; [] if it refers to nothing in its picture.

    Args:
        sentence: a row of the sentence view, or an entry of `expressions` of the image view; with `boxes` (several or
            none), or with `bbox` alone (one, or None for none).

    Raises:
        ValueError: there are no boxes at all, or columns of the row contradict each other.
    """
    boxes = sentence.get("boxes")
    if boxes is None:
        if "bbox" not in sentence:
            raise ValueError(
                f"{_named(sentence)} has neither bbox nor boxes: give one of them, bbox=None if it refers to nothing."
            )
        box = sentence["bbox"]
        return [] if box is None else [Referent(box, sentence.get("segmentation"))]
    segmentations = sentence.get("segmentations")
    if segmentations is None:  # caches of 0.1.0 have the union alone
        segmentations = [sentence.get("segmentation")] if len(boxes) == 1 else [None] * len(boxes)
    if len(segmentations) != len(boxes):
        raise ValueError(
            f"{_named(sentence)} has {len(boxes)} boxes and {len(segmentations)} segmentations: give one for each box."
        )
    if not boxes and sentence.get("bbox") is not None:
        raise ValueError(
            f"{_named(sentence)} has a bbox, but boxes=[], which means that it refers to nothing: keep one."
        )
    return [Referent(*pair) for pair in zip(boxes, segmentations, strict=True)]


class FlatReferents(NamedTuple):
    """
    The R referents of several expressions, one after the other.

    Attributes:
        boxes: float32 (R, 4) XYXY, pixels.
        referent_index: int64 (R,), the expression of each.
        segmentations: R masks; None where there is none.
    """

    boxes: Tensor
    referent_index: Tensor
    segmentations: list[SegmentationStruct | None]


def flat_referents(referents: Sequence[Sequence[Referent]]) -> FlatReferents:
    """The referents of E expressions in one list."""
    listed = [one for group in referents for one in group]
    boxes = torch.tensor([list(one.box) for one in listed], dtype=torch.float32).reshape(len(listed), 4)
    owners = torch.tensor([number for number, group in enumerate(referents) for _ in group], dtype=torch.int64)
    return FlatReferents(boxes, owners, [one.segmentation for one in listed])


def require_masks(
    sentences: Sequence[Mapping[str, Any]],
    referents: Sequence[Sequence[Referent]],
    tasks: Sequence[str],
    image_id: Any,
) -> None:
    """
    Check that every referent has the mask that the task "segmentation" needs.

    Args:
        sentences: expressions of one picture.
        referents: of each of them.
        tasks: that targets are made for.
        image_id: for the message.

    Raises:
        ValueError: one has none; names the expression.
    """
    for sentence, group in zip(sentences, referents, strict=True) if "segmentation" in tasks else ():
        if any(one.segmentation is None for one in group):
            what = "no segmentation" if len(group) == 1 else "a referent without a segmentation"
            raise ValueError(
                f"{sentence['expression']!r} (image {image_id!r}) has {what}, but tasks={list(tasks)}: give masks, "
                "drop the row, or train the task grounding alone."
            )


def referent_columns(
    boxes: Sequence[Sequence[float]], segmentations: Sequence[Segmentation | None], height: int, width: int
) -> dict[str, Any]:
    """
    The columns that say what an expression refers to.

    Args:
        boxes: XYXY of the referents, pixels; [] for none.
        segmentations: as many, in any form of `images/segmentation.py`; None where there is no mask.
        height, width: of the picture, pixels.

    Returns:
        `bbox` (the hull), `segmentation` (the union, None unless every referent has a mask), `boxes`,
        `segmentations` and `no_target`.

    Raises:
        ValueError: as of `segmentation_struct`, or the numbers of boxes and segmentations differ.
    """
    if len(boxes) != len(segmentations):
        raise ValueError(f"{len(boxes)} boxes and {len(segmentations)} segmentations: give one for each box.")
    structs = [segmentation_struct(segmentation, height, width) for segmentation in segmentations]
    if len(structs) == 1:
        union = structs[0]
    else:  # a part of the union would be a mask of something else
        union = None if None in structs else union_of_segmentations(structs, height, width)
    return {
        "bbox": _hull(boxes),
        "segmentation": union,
        "boxes": [list(box) for box in boxes],
        "segmentations": structs,
        "no_target": not boxes,
    }


def _hull(boxes: Sequence[Sequence[float]]) -> list[float] | None:
    """The tight box around all."""
    if not boxes:
        return None
    left, top, right, bottom = zip(*boxes, strict=True)
    return [min(left), min(top), max(right), max(bottom)]


def _named(sentence: Mapping[str, Any]) -> str:
    return f"The row of {sentence.get('expression')!r}"


__all__ = ["FlatReferents", "Referent", "flat_referents", "referent_columns", "referents_of", "require_masks"]
