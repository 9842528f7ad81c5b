"""Soft training targets: center-ness (equations 1 and 2) and mass-ness (equations 3 and 4).

Three styles. "paper" follows the equations: exact box and centroid, no rescaling. "released_code" follows the released
loader: the box is snapped outwards to whole cells, center-ness is divided by its maximum, and the mask is cropped to a
square window before pooling. "hard" is 1 wherever "paper" is positive. Targets are made for each referent, and every
one has a positive point: where none qualifies, the point nearest to the centre gets 1, and the referent is reported as
repaired. `merge_centerness` and `merge_massness` make targets of expressions out of those of their referents. Pure
functions, vectorised over referents; boxes and masks are in canvas pixels.
"""

import torch
from torch import Tensor

from ..configuration_pbrec import SOFT_TARGETS
from ..geometry.boxes import box_centers
from ..geometry.centerness import centerness, centerness_at, central_centerness, ensure_positive
from ..geometry.points import grid_points

_MASS_RADIUS = 2  # radius of the positive area around the centroid, in strides


def centerness_targets(boxes: Tensor, image_size: int, stride: int, style: str = "paper") -> tuple[Tensor, Tensor]:
    """
    Center-ness of every point for every box.

    Args:
        boxes: (R, 4) XYXY in canvas pixels.
        image_size: side of the square canvas in pixels, a multiple of `stride`.
        stride: width of a cell in pixels.
        style: "paper", "released_code" or "hard".

    Returns:
        targets: float32 (R, P) in [0, 1].
        repaired: bool (R,), True where no point qualified and the one nearest to the centre got 1.

    Raises:
        ValueError: the style is unknown, the stride does not divide the canvas, or a box is not finite.
    """
    _check_grid(image_size, stride, style)
    _check_boxes(boxes)
    boxes = boxes.double()
    cells = image_size // stride
    points = grid_points(cells, cells, stride, device=boxes.device, dtype=torch.float64)
    if style == "released_code":
        targets = _released_centerness(points / stride, boxes, image_size, stride)
    else:
        targets = central_centerness(points, boxes, stride)
    if style == "hard":
        targets = targets > 0
    return ensure_positive(targets, points, box_centers(boxes))


def centerness_at_points(boxes: Tensor, points: Tensor, stride: int, style: str = "paper") -> Tensor:
    """
    Center-ness of points that a model chose itself.

    Args:
        boxes: (R, 4) XYXY in canvas pixels.
        points: (R, P, 2) XY in canvas pixels, one set per box.
        stride: width of a cell in pixels.
        style: "paper" or "hard"; "released_code" is only defined for the centres of cells.

    Returns:
        float32 (R, P) in [0, 1]; where no point qualified, the one nearest to the centre got 1.

    Raises:
        ValueError: another style, or a box is not finite.
    """
    if style not in ("paper", "hard"):
        raise ValueError(f"style={style!r}: give 'paper' or 'hard' where points are not the centres of cells.")
    _check_boxes(boxes)
    targets = centerness_at(points, boxes, stride)
    return (targets > 0).float() if style == "hard" else targets


def _released_centerness(points: Tensor, boxes: Tensor, image_size: int, stride: int) -> Tensor:
    """Center-ness of the released loader, in units of cells. As there, centre and size pass through float32."""
    center = ((boxes[:, :2] + boxes[:, 2:]) / 2 / image_size).float()
    size = ((boxes[:, 2:] - boxes[:, :2]) / image_size).float()
    cells = image_size // stride
    center, size = center * cells, size * cells
    snapped = torch.cat(((center - size / 2).floor(), (center + size / 2).ceil()), dim=1)
    targets = centerness(points, snapped.double())
    peak = targets.amax(dim=1, keepdim=True)
    targets = torch.where(peak > 0, targets / peak, 0.0)
    middle = center.int()[:, None]  # the cell that holds the centre
    near = ((points.int() - middle).abs() <= 1).all(dim=-1)
    # The loader's slice starts at -1 for a centre in the first row or column, and is empty.
    return targets * near * (middle > 0).all(dim=-1)


def massness_targets(
    masks: Tensor, image_size: int, stride: int, style: str = "paper", centers: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """
    Mass-ness of every point for every mask.

    Args:
        masks: (R, H, W) on the canvas, non-zero = object.
        image_size, stride, style: as for `centerness_targets`.
        centers: (R, 2) XY in canvas pixels, position of an object whose mask is empty; None = centre of the canvas.

    Returns:
        targets: float32 (R, P) in [0, 1].
        repaired: bool (R,), True where no point qualified and the one nearest to the centroid got 1.

    Raises:
        ValueError: the style is unknown, the stride does not divide the canvas, or the masks have the wrong size.
    """
    _check_grid(image_size, stride, style)
    if masks.shape[1:] != (image_size, image_size):
        raise ValueError(
            f"The masks have {tuple(masks.shape[1:])} pixels: give masks on the canvas of {image_size}×{image_size}."
        )
    # In float32, converted from bytes: on a CPU, arithmetic on booleans takes many times longer.
    present = (masks.view(torch.uint8) if masks.dtype == torch.bool else masks).to(torch.float32, copy=True).ne_(0)
    cells = image_size // stride
    points = grid_points(cells, cells, stride, device=masks.device, dtype=torch.float64)
    if centers is None:
        centers = points.new_full((len(masks), 2), image_size / 2)
    pixel = torch.arange(image_size, device=masks.device, dtype=torch.float64)
    weight = torch.stack((present.sum(dim=1), present.sum(dim=2)), dim=1).double()  # (R, 2, side): columns, rows
    count = weight.sum(dim=2)
    centroid = (weight * pixel).sum(dim=2) / count.clamp(min=1)  # equation 3, in indices
    if style == "released_code":
        centroid = centroid.round()
        offset = pixel - centroid[..., None]
        inside = ((offset >= -_MASS_RADIUS * stride) & (offset < _MASS_RADIUS * stride)).float()
        targets = _object_share(present * inside[:, 0, None, :] * inside[:, 1, :, None], stride)
    else:
        centroid = centroid + 0.5
        near = (points - centroid[:, None]).norm(dim=-1) <= _MASS_RADIUS * stride
        targets = _object_share(present, stride) * near
    if style == "hard":
        targets = targets > 0
    return ensure_positive(targets, points, torch.where(count > 0, centroid, centers.double()))


def merge_centerness(targets: Tensor, referent_index: Tensor, expressions: int) -> Tensor:
    """
    Center-ness of expressions: at each point the largest of their referents', 0 everywhere if there is none.

    Args:
        targets: (R, P) of the referents.
        referent_index: (R,) int64, the expression of each.
        expressions: E, their number.

    Returns:
        (E, P), of one referent alone exactly its own.
    """
    merged = targets.new_zeros(expressions, targets.shape[1])
    return merged.scatter_reduce_(0, referent_index[:, None].expand_as(targets), targets, "amax")


def merge_massness(targets: Tensor, referent_index: Tensor, expressions: int) -> Tensor:
    """Mass-ness of expressions: the sum of their referents' shares of a cell, at most 1; see `merge_centerness`."""
    merged = targets.new_zeros(expressions, targets.shape[1])
    return merged.index_add_(0, referent_index, targets).clamp_(max=1)


def _object_share(present: Tensor, stride: int) -> Tensor:
    """Equation 4: share of the object in each cell (R, P), of masks (R, H, W) of 0 and 1; faster than `avg_pool2d`."""
    strips = present.unflatten(1, (-1, stride)).sum(dim=2)
    return strips.unflatten(2, (-1, stride)).sum(dim=3).div_(stride**2).flatten(1)


def _check_boxes(boxes: Tensor) -> None:
    if not boxes.isfinite().all():
        row = int((~boxes.isfinite()).any(dim=1).nonzero()[0])
        raise ValueError(
            f"Box {row} is {boxes[row].tolist()}: give finite XYXY pixels, and no box for what is not there."
        )


def _check_grid(image_size: int, stride: int, style: str) -> None:
    if stride < 1 or image_size % stride:
        raise ValueError(f"stride={stride}: give a divisor of the canvas' side, {image_size} pixels, such as 16.")
    if style not in SOFT_TARGETS:
        raise ValueError(f"style={style!r}: give one of {', '.join(map(repr, SOFT_TARGETS))}.")


__all__ = ["centerness_at_points", "centerness_targets", "massness_targets", "merge_centerness", "merge_massness"]
