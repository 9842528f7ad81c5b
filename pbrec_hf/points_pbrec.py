"""Geometry of the grid of points: where they are, which lie in the picture, how scores move between grids.

Point k = row · cols + col of a grid of stride g is the centre of its cell, ((col + ½) g, (row + ½) g) in XY pixels of
the canvas. Everything «per point» uses this order. Pure functions; they know nothing of images or models.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def grid_points(
    rows: int, cols: int, stride: float, device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Centres of the cells, (rows · cols, 2) XY in canvas pixels."""
    x = (torch.arange(cols, device=device, dtype=dtype) + 0.5) * stride
    y = (torch.arange(rows, device=device, dtype=dtype) + 0.5) * stride
    return torch.stack((x.repeat(rows), y.repeat_interleave(cols)), dim=-1)


def resample_grid(values: Tensor, grid: tuple[int, int], to: tuple[int, int]) -> Tensor:
    """
    Bilinear interpolation of per-point values to another grid over the same canvas.

    Args:
        values: (..., rows · cols) on `grid`.
        grid, to: (rows, cols).

    Returns:
        (..., rows · cols) on `to`.
    """
    if tuple(grid) == tuple(to):
        return values
    maps = values.reshape(-1, 1, *grid)
    return interpolate(maps, size=tuple(to), mode="bilinear", align_corners=False).reshape(*values.shape[:-1], -1)


def points_in_picture(letterbox: Tensor, rows: int, cols: int, canvas: tuple[int, int]) -> Tensor:
    """
    Which points lie in the picture, not in the padding.

    Args:
        letterbox: (I, 6) int64: original height and width, resized height and width, top, left.
        canvas: (height, width) in pixels.

    Returns:
        bool (I, rows · cols). A picture so thin that no point lies in it has the points of all cells it touches.
    """
    height, width, top, left = letterbox[:, 2:].unsqueeze(-1).unbind(1)
    inside_y, touched_y = _inside(top, height, rows, canvas[0])
    inside_x, touched_x = _inside(left, width, cols, canvas[1])
    inside = (inside_y[:, :, None] & inside_x[:, None, :]).flatten(1)
    touched = (touched_y[:, :, None] & touched_x[:, None, :]).flatten(1)
    return torch.where(inside.any(dim=1, keepdim=True), inside, touched)


def _inside(start: Tensor, length: Tensor, cells: int, side: int) -> tuple[Tensor, Tensor]:
    """Along one axis, (I, cells): cells whose centre lies in [start, start + length), and cells that overlap it."""
    edges = torch.arange(cells + 1, device=start.device) * (side / cells)
    centre = (edges[:-1] + edges[1:]) / 2
    end = start + length
    return (centre >= start) & (centre < end), (edges[1:] > start) & (edges[:-1] < end)


def feature_mask(pixel_mask: Tensor, rows: int, cols: int) -> Tensor:
    """
    Cells that the fusion encoder attends to: those whose top-left pixel is picture (the released rule).

    Args:
        pixel_mask: (I, H, W), non-zero where the canvas holds picture.

    Returns:
        bool (I, rows · cols).
    """
    return interpolate((pixel_mask != 0)[:, None].float(), size=(rows, cols)).flatten(1) > 0
