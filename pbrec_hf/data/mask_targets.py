"""Mass-ness targets of a batch of referents, from segmentations in pixels of the original pictures.

A referent covers only a part of the canvas, and mass-ness is 0 outside its mask. So each mask is rasterised in the
smallest square of whole cells that holds it, its targets are computed there and set into the full grid, squares of one
size together: the values of the full canvas at a fraction of the time. Knows nothing of images and texts.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..comprehension.targets import massness_targets
from ..geometry.boxes import box_centers
from ..images.segmentation import segmentation_extent
from .placement import Placement


def massness_labels(
    boxes: Tensor,
    segmentations: Sequence[Mapping[str, Any]],
    placements: Sequence[Placement],
    sizes: Sequence[tuple[int, int]],
    canvas: int,
    stride: int,
    style: str,
) -> tuple[Tensor, Tensor]:
    """
    Mass-ness targets of R referents.

    Args:
        boxes: (R, 4) XYXY canvas pixels.
        segmentations: R structs in pixels of the original pictures.
        placements, sizes: of each referent's picture; sizes are (height, width) of the original.
        canvas: side of the canvas, pixels.
        stride: width of a cell, canvas pixels.
        style: "paper", "released_code" or "hard".

    Returns:
        Targets float32 (R, P), and bool (R,), where no point qualified, so that the nearest one got 1.
    """
    cells = canvas // stride
    centers = box_centers(boxes)
    squares: dict[int, list[tuple[int, int, int, Tensor]]] = defaultdict(list)
    for index, (segmentation, placement, size) in enumerate(zip(segmentations, placements, sizes, strict=True)):
        corners = placement.points(segmentation_extent(segmentation))
        row, col, side = _cells_around([*corners.tolist(), centers[index].tolist()], stride, cells)
        mask = placement.mask(segmentation, *size, window=(row * stride, col * stride, side * stride, side * stride))
        squares[side].append((index, row, col, mask))

    targets = torch.zeros(len(boxes), cells, cells, dtype=torch.float32)
    repaired = torch.zeros(len(boxes), dtype=torch.bool)
    for side, group in squares.items():
        indices, rows, cols, masks = zip(*group, strict=True)
        origins = torch.tensor((cols, rows)).T * stride
        values, repaired[list(indices)] = massness_targets(
            torch.stack(masks), side * stride, stride, style=style, centers=centers[list(indices)] - origins
        )
        for index, row, col, value in zip(indices, rows, cols, values, strict=True):
            targets[index, row : row + side, col : col + side] = value.view(side, side)
    return targets.flatten(1), repaired


def _cells_around(points: Sequence[Sequence[float]], stride: int, cells: int) -> tuple[int, int, int]:
    """(first row, first column, side) in cells of a square inside the grid around XY points on the canvas."""
    spans = []
    for values in zip(*points, strict=True):
        first = min(max(math.floor(min(values) / stride), 0), cells - 1)
        end = min(max(math.ceil(max(values) / stride), first + 1), cells)
        spans.append((first, end))
    side = max(end - first for first, end in spans)
    col, row = (min(first, cells - side) for first, _ in spans)
    return row, col, side


__all__ = ["massness_labels"]
