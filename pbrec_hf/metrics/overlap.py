"""How much two boxes, or two masks, overlap: what the metrics share.

Boxes are XYXY in pixels of one frame, areas without "+1". Masks are COCO's run lengths (`size` = [height, width],
`counts`, empty for no pixel) and stay compressed. Reference boxes and all masks are checked. Knows nothing of metrics.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

from ..geometry.boxes import box_iou_matrix
from ..images.segmentation import checked_rle

Boxes = Sequence[Sequence[float]]
Rle = Mapping[str, Any]


def box_overlaps(predictions: Boxes, references: Boxes) -> NDArray[np.float64]:
    """
    IoU (P, R) of each prediction (P, 4) with each reference (R, 4).

    What is not a box (inverted, empty, NaN) overlaps nothing; published references may be empty.

    Raises:
        ValueError: a reference is inverted or not finite.
    """
    predicted, referent = _tensor(predictions), _referents(references, may_be_empty=True)
    overlaps = box_iou_matrix(predicted, referent)
    return _array(torch.where(_are_boxes(predicted)[:, None] & _are_boxes(referent), overlaps, 0.0))


def paired_box_overlaps(predictions: Boxes, references: Boxes) -> NDArray[np.float64]:
    """
    IoU (N,) of each prediction (N, 4) with its reference (N, 4). A prediction that is not a box overlaps nothing.

    Raises:
        ValueError: a reference is not a box.
    """
    predicted, referent = _tensor(predictions), _referents(references)
    overlaps = box_iou_matrix(predicted[:, None], referent[:, None])[:, 0, 0]
    return _array(torch.where(_are_boxes(predicted), overlaps, 0.0))


def matched_boxes(predictions: Boxes, references: Boxes, threshold: float = 0.5) -> NDArray[np.bool_]:
    """
    Which of the predictions (P, 4) have a reference (R, 4) to themselves: bool (P,).

    Pairs are made greedily, from the largest IoU on, as long as it is at least `threshold`. So of two predictions of
    the same object one stays without.

    Raises:
        ValueError: a reference is inverted or not finite.
    """
    overlaps = box_overlaps(predictions, references)
    matched = np.zeros(len(predictions), dtype=bool)
    for _ in range(min(overlaps.shape)):
        best, reference = np.unravel_index(overlaps.argmax(), overlaps.shape)
        if overlaps[best, reference] < threshold:
            break
        matched[best] = True
        overlaps[best, :] = overlaps[:, reference] = -1
    return matched


def mask_overlaps(
    predictions: Sequence[Rle], references: Sequence[Rle]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """
    Pixels of the intersection (N,) and of the union (N,) of each of N masks with its reference.

    Raises:
        ValueError: the masks of a pair have different sizes, or a mask is damaged.
    """
    intersections = np.zeros(len(predictions), dtype=np.int64)
    unions = np.zeros(len(predictions), dtype=np.int64)
    for index, pair in enumerate(zip(predictions, references, strict=True)):
        predicted, reference = (tuple(int(side) for side in rle["size"]) for rle in pair)
        if predicted != reference:
            raise ValueError(
                f"Mask {index} has the size {predicted} (height, width), its reference {reference}: predict masks of "
                "the original picture."
            )
        rles = [_checked(rle, index) for rle in pair]
        intersections[index] = coco_mask.area(coco_mask.merge(rles, intersect=True))
        unions[index] = coco_mask.area(coco_mask.merge(rles))
    return intersections, unions


def mask_areas(masks: Sequence[Rle]) -> NDArray[np.int64]:
    """
    Pixels (N,) of N masks.

    Raises:
        ValueError: a mask is damaged.
    """
    # One by one: of a list, pycocotools measures at most 255.
    return np.array([coco_mask.area(_checked(rle, index)) for index, rle in enumerate(masks)], dtype=np.int64)


def united_mask(masks: Sequence[Rle], height: int, width: int) -> dict[str, Any]:
    """
    Masks of one picture as one, empty without any.

    Raises:
        ValueError: a mask is damaged, or is not of `height` x `width` pixels.
    """
    for index, rle in enumerate(masks):
        if (size := tuple(int(side) for side in rle["size"])) != (height, width):
            raise ValueError(
                f"Mask {index} has the size {size}, its picture {(height, width)} (height, width): predict masks of "
                "the original picture."
            )
    checked = [_checked(rle, index) for index, rle in enumerate(masks)]
    return dict(coco_mask.merge(checked or [_checked({"size": [height, width], "counts": b""}, 0)]))


def _checked(rle: Rle, index: int) -> dict[str, Any]:
    height, width = (int(side) for side in rle["size"])
    if not rle["counts"]:
        empty: dict[str, Any] = {"size": [height, width], "counts": [height * width]}
        return dict(coco_mask.frPyObjects(empty, height, width))
    try:
        return checked_rle(rle["counts"], height, width)
    except ValueError as error:
        raise ValueError(f"Mask {index}: {error}") from error


def _referents(references: Boxes, may_be_empty: bool = False) -> Tensor:
    referent = _tensor(references)
    right = (referent[:, 2:] >= referent[:, :2]).all(dim=1) if may_be_empty else _are_boxes(referent)
    wrong = (~(right & referent.isfinite().all(dim=1))).nonzero()
    if len(wrong):
        index = int(wrong[0])
        raise ValueError(
            f"Reference {index} is not an XYXY box, {referent[index].tolist()}: give x1 < x2 and y1 < y2, pixels."
        )
    return referent


def _are_boxes(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & boxes.isfinite().all(dim=1)


def _tensor(boxes: Boxes) -> Tensor:
    return torch.as_tensor(np.asarray(boxes, dtype=np.float64).reshape(-1, 4))


def _array(values: Tensor) -> NDArray[np.float64]:
    return np.asarray(values.numpy(), dtype=np.float64)


__all__ = ["box_overlaps", "mask_areas", "mask_overlaps", "matched_boxes", "paired_box_overlaps", "united_mask"]
