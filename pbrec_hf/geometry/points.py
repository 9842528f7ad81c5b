"""The grid of points: where they are, which cells show the picture, how per-point values are resampled to other grids.

Point k = row · cols + col of a grid of stride g is the centre of its cell, ((col + ½) g, (row + ½) g) in XY pixels of
the canvas. Everything per point uses this order. Pure functions; they know nothing of pictures or models.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, max_pool1d


def grid_points(
    rows: int, cols: int, stride: float, device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Centres of the cells, (rows · cols, 2) XY in canvas pixels, row-major."""
    x = (torch.arange(cols, device=device, dtype=dtype) + 0.5) * stride
    y = (torch.arange(rows, device=device, dtype=dtype) + 0.5) * stride
    return torch.stack((x.repeat(rows), y.repeat_interleave(cols)), dim=-1)


def grid_centers(
    grids: Sequence[tuple[int, int]], canvas: tuple[int, int], device: torch.device | None = None
) -> Tensor:
    """Centres of the cells of grids (rows, cols) over a canvas (H, W): (N, 2) XY in pixels, grid after grid."""
    height, width = canvas
    parts = [grid_points(rows, cols, 1.0, device) for rows, cols in grids]
    sizes = [part.new_tensor([width / cols, height / rows]) for part, (rows, cols) in zip(parts, grids, strict=True)]
    return torch.cat([part * size for part, size in zip(parts, sizes, strict=True)])


def resample_grid(values: Tensor, grid: tuple[int, int], to: tuple[int, int]) -> Tensor:
    """
    Bilinear interpolation of per-point values to another grid over the same canvas.

    Args:
        values: (…, rows · cols) on `grid`.
        grid: (rows, cols) of the values.
        to: (rows, cols) of the result.

    Returns:
        (…, rows · cols) on `to`; `values` itself where the grids are equal.
    """
    if tuple(grid) == tuple(to):
        return values
    maps = values.reshape(-1, 1, *grid)
    return interpolate(maps, size=tuple(to), mode="bilinear", align_corners=False).reshape(*values.shape[:-1], -1)


def sample_grid(values: Tensor, grid: tuple[int, int], points: Tensor, canvas: tuple[int, int]) -> Tensor:
    """
    Bilinear interpolation of per-point values at any places; beyond the outermost centres, the values there.

    Args:
        values: (E, rows · cols) on `grid`.
        grid: (rows, cols) of the values.
        points: (E, N, 2) XY in canvas pixels.
        canvas: (H, W) in pixels.

    Returns:
        (E, N); at the centres of another grid, what `resample_grid` gives there.
    """
    places = points * (2 / points.new_tensor([canvas[1], canvas[0]])) - 1
    maps = values.reshape(-1, 1, *grid)
    read = grid_sample(maps, places[:, None].to(maps), mode="bilinear", padding_mode="border", align_corners=False)
    return read[:, 0, 0]


def feature_mask(pixel_mask: Tensor, rows: int, cols: int) -> Tensor:
    """
    Cells that the fusion encoder attends to: those whose top-left pixel belongs to the picture (the released rule).

    Args:
        pixel_mask: (I, H, W), non-zero where the canvas shows the picture.
        rows, cols: of the grid.

    Returns:
        bool (I, rows · cols).
    """
    return interpolate((pixel_mask != 0)[:, None].float(), size=(rows, cols)).flatten(1) > 0


def near_mask(pixel_mask: Tensor, rows: int, cols: int) -> Tensor:
    """
    Cells that `resample_grid` and `sample_grid` read for places in the picture; the values of others do not count.

    Args:
        pixel_mask: (I, H, W), non-zero where the canvas shows the picture; sides are multiples of `rows` and `cols`.
        rows, cols: of the grid.

    Returns:
        bool (I, rows · cols). Of a picture thinner than a quarter of the canvas, all: a coarse grid may have no place
        in it, and is read beside it.
    """
    shown = pixel_mask != 0
    down, across = shown.any(dim=2), shown.any(dim=1)
    thin = (down.sum(1) * 4 < down.shape[1]) | (across.sum(1) * 4 < across.shape[1])
    near = _near(down, rows)[:, :, None] & _near(across, cols)[:, None]
    return near.flatten(1) | thin[:, None]


def _near(shown: Tensor, cells: int) -> Tensor:
    """Cells (I, cells) of an axis whose middle is less than a cell from one of the pixels (I, n) that are shown."""
    side = shown.shape[1] // cells
    margin = (side + 1) // 2
    return max_pool1d(shown.float()[:, None], side + 2 * margin, side, margin)[:, 0] > 0


__all__ = ["feature_mask", "grid_centers", "grid_points", "near_mask", "resample_grid", "sample_grid"]
