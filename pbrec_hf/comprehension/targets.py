"""Soft targets of training: expression-aware center-ness (equations 1 and 2) and mass-ness (equations 3 and 4).

Two styles. "paper" follows the equations: exact box and centroid, values as they come. "released_code" follows the
released loader: the box snapped outwards to whole cells, center-ness divided by its maximum, mass-ness cut out by a
square window before pooling. No target ends without a positive point: the point nearest to the centre gets 1, and the
sample is reported as repaired. Pure functions, vectorised over samples; boxes and masks are on the canvas.
"""

import torch
from torch import Tensor

from ..geometry.boxes import box_centers
from ..geometry.centerness import centerness, central_centerness, repaired
from ..geometry.points import grid_points

_MASS_RADIUS = 2  # radius of the positive area around the centroid, in strides


def centerness_targets(boxes: Tensor, image_size: int, stride: int, style: str = "paper") -> tuple[Tensor, Tensor]:
    """
    Center-ness of every point for every box.

    Args:
        boxes: (E, 4) XYXY in canvas pixels.
        image_size: side of the square canvas in pixels, a multiple of `stride`.
        stride: width of a cell in pixels.
        style: "paper" or "released_code".

    Returns:
        targets, float32 (E, P) in [0, 1]; repaired, bool (E,): no point qualified, the nearest to the centre got 1.

    Raises:
        ValueError: on another style, a stride that does not divide the canvas, or a box that is not finite.
    """
    _check(image_size, stride, style)
    boxes = boxes.double()
    if not boxes.isfinite().all():
        row = int((~boxes.isfinite()).any(dim=1).nonzero()[0])
        raise ValueError(f"Box {row} is {boxes[row].tolist()}: give finite XYXY pixels.")
    cells = image_size // stride
    points = grid_points(cells, cells, stride, device=boxes.device, dtype=torch.float64)
    if style == "paper":
        targets = central_centerness(points, boxes, stride)
    else:
        targets = _released_centerness(points / stride, boxes, image_size, stride)
    return repaired(targets, points, box_centers(boxes))


def _released_centerness(points: Tensor, boxes: Tensor, image_size: int, stride: int) -> Tensor:
    """In units of cells. The loader holds centre and size in float32 as shares of the canvas; so do we."""
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
        masks: (E, H, W) on the canvas, non-zero = object.
        image_size, stride, style: as for `centerness_targets`.
        centers: (E, 2) XY in canvas pixels, where the object of an empty mask is; by default the canvas' centre.

    Returns:
        targets, float32 (E, P) in [0, 1]; repaired, bool (E,).

    Raises:
        ValueError: on another style, a stride that does not divide the canvas, or masks of another size.
    """
    _check(image_size, stride, style)
    if masks.shape[1:] != (image_size, image_size):
        raise ValueError(
            f"Masks of {tuple(masks.shape[1:])} pixels: the canvas of {image_size}×{image_size} is needed."
        )
    # Floats from bytes: on a CPU, comparing, summing and averaging of booleans take many times longer.
    present = (masks.view(torch.uint8) if masks.dtype == torch.bool else masks).to(torch.float32, copy=True).ne_(0)
    cells = image_size // stride
    points = grid_points(cells, cells, stride, device=masks.device, dtype=torch.float64)
    if centers is None:
        centers = points.new_full((len(masks), 2), image_size / 2)
    pixel = torch.arange(image_size, device=masks.device, dtype=torch.float64)
    weight = torch.stack((present.sum(dim=1), present.sum(dim=2)), dim=1).double()  # (E, 2, side): columns, rows
    count = weight.sum(dim=2)
    centroid = (weight * pixel).sum(dim=2) / count.clamp(min=1)  # equation 3, in indices
    if style == "paper":
        centroid = centroid + 0.5
        near = (points - centroid[:, None]).norm(dim=-1) <= _MASS_RADIUS * stride
        targets = _fill(present, stride) * near
    else:
        centroid = centroid.round()
        offset = pixel - centroid[..., None]
        inside = ((offset >= -_MASS_RADIUS * stride) & (offset < _MASS_RADIUS * stride)).float()
        targets = _fill(present * inside[:, 0, None, :] * inside[:, 1, :, None], stride)
    return repaired(targets, points, torch.where(count > 0, centroid, centers.double()))


def _fill(present: Tensor, stride: int) -> Tensor:
    """Equation 4: share of each cell that is object, (E, H, W) of 0 and 1 → (E, P). Sums beat `avg_pool2d`."""
    strips = present.unflatten(1, (-1, stride)).sum(dim=2)
    return strips.unflatten(2, (-1, stride)).sum(dim=3).div_(stride**2).flatten(1)


def _check(image_size: int, stride: int, style: str) -> None:
    if stride < 1 or image_size % stride:
        raise ValueError(f"stride={stride}: give a divisor of the canvas' side, {image_size} pixels, such as 16.")
    if style not in ("paper", "released_code"):
        raise ValueError(f"style={style!r}: give 'paper' or 'released_code'.")
