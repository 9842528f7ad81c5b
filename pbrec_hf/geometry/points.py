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


def feature_mask(pixel_mask: Tensor, rows: int, cols: int) -> Tensor:
    """
    Cells that the fusion encoder attends to: those whose top-left pixel is picture (the released rule).

    Args:
        pixel_mask: (I, H, W), non-zero where the canvas holds picture.

    Returns:
        bool (I, rows · cols).
    """
    return interpolate((pixel_mask != 0)[:, None].float(), size=(rows, cols)).flatten(1) > 0
