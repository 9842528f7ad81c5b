"""How much two boxes, or two masks, overlap: the arithmetic that all metrics share.

Boxes are XYXY in pixels of one frame, areas without "+1"; masks are COCO run lengths (`size` = [height, width],
`counts`, none for no pixel), which stay compressed. Knows nothing of metrics.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torchvision.ops import box_iou

from ..images.segmentation import checked_rle

Rle = dict[str, Any]


def box_iou_matrix(predictions: Sequence[Sequence[float]], references: Sequence[Sequence[float]]) -> np.ndarray:
    """
    (P, 4) and (R, 4) → IoU (P, R), float64. What is not a box (inverted, empty, NaN) overlaps nothing; published
    references may be empty.

    Raises:
        ValueError: a reference is inverted or NaN.
    """
    predicted = torch.as_tensor(np.asarray(predictions, dtype=np.float64).reshape(-1, 4))
    referent = _referents(references, may_be_empty=True)
    return torch.where(
        _are_boxes(predicted)[:, None] & _are_boxes(referent), box_iou(predicted, referent), 0.0
    ).numpy()


def paired_box_iou(predictions: Sequence[Sequence[float]], references: Sequence[Sequence[float]]) -> np.ndarray:
    """(N, 4) and (N, 4) → IoU of each pair (N,), float64. A prediction that is not a box overlaps nothing.

    Raises:
        ValueError: a reference is not a box.
    """
    predicted = torch.as_tensor(np.asarray(predictions, dtype=np.float64).reshape(-1, 4))
    referent = _referents(references)
    overlaps = box_iou(predicted[:, None], referent[:, None])[:, 0, 0]
    return torch.where(_are_boxes(predicted), overlaps, 0.0).numpy()


def mask_overlaps(predictions: Sequence[Rle], references: Sequence[Rle]) -> tuple[np.ndarray, np.ndarray]:
    """N masks and N masks → pixels of each pair's intersection and union, two arrays (N,) of int64.

    Raises:
        ValueError: the masks of a pair have different sizes, or a mask is damaged.
    """
    intersections = np.zeros(len(predictions), dtype=np.int64)
    unions = np.zeros(len(predictions), dtype=np.int64)
    for index, pair in enumerate(zip(predictions, references, strict=True)):
        sizes = [tuple(int(side) for side in rle["size"]) for rle in pair]
        if sizes[0] != sizes[1]:
            raise ValueError(f"mask {index} is predicted as {sizes[0]}, its reference is {sizes[1]} (height, width).")
        rles = [_checked(rle, index) for rle in pair]
        intersections[index] = coco_mask.area(coco_mask.merge(rles, intersect=True))
        unions[index] = coco_mask.area(coco_mask.merge(rles))
    return intersections, unions


def mask_areas(masks: Sequence[Rle]) -> np.ndarray:
    """Pixels of N masks (N,). Raises ValueError where one is damaged."""
    return coco_mask.area([_checked(rle, index) for index, rle in enumerate(masks)])


def _checked(rle: Rle, index: int) -> Rle:
    height, width = (int(side) for side in rle["size"])
    if not rle["counts"]:
        return coco_mask.frPyObjects({"size": [height, width], "counts": [height * width]}, height, width)
    try:
        return checked_rle(rle["counts"], height, width)
    except ValueError as error:
        raise ValueError(f"mask {index}: {error}.") from error


def _referents(references: Sequence[Sequence[float]], may_be_empty: bool = False) -> torch.Tensor:
    referent = torch.as_tensor(np.asarray(references, dtype=np.float64).reshape(-1, 4))
    right = (referent[:, 2:] >= referent[:, :2]).all(dim=1) if may_be_empty else _are_boxes(referent)
    wrong = (~(right & referent.isfinite().all(dim=1))).nonzero()
    if len(wrong):
        index = int(wrong[0])
        raise ValueError(
            f"reference {index} is not an XYXY box: {referent[index].tolist()} (x1 < x2, y1 < y2, pixels)."
        )
    return referent


def _are_boxes(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & boxes.isfinite().all(dim=1)
