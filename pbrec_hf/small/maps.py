"""Maps of a whole picture for the backbone: the class probabilities and the colour names of each cell."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from .adaptive import adaptive_max, nearest
from .colors import color_maps

COLOR_CELL = 4  # colours are named for averages over squares of this many pixels


def picture_colors(pixel_values: Tensor) -> Tensor:
    """Colour names, one-hot (I, 11, H/4, W/4), of ImageNet-normalised canvases (I, 3, H, W)."""
    return color_maps(F.avg_pool2d(_rgb(pixel_values.float()), COLOR_CELL))


def classes_on(
    scores: Tensor, grids: Sequence[tuple[int, int]], grid: tuple[int, int], corners: bool = False
) -> Tensor:
    """
    The highest probability on any of several `grids` at each cell of `grid`: (I, N, C) -> (I, C, rows, cols).

    With `corners`, the values of `grids` belong to the top-left corners of their cells, and a cell has the highest of
    its four corners, as far as they lie on the canvas. So a mirrored picture has the mirrored map.
    """
    # Classes stay last, as they lie in memory: whole vectors of them are compared and copied.
    levels = scores.split([rows * cols for rows, cols in grids], dim=1)
    maps = [level.unflatten(1, size) for level, size in zip(levels, grids, strict=True)]
    if corners:
        maps = [_highest_with_next(_highest_with_next(level, 1), 2) for level in maps]
    highest = _resized(maps[0], grid)
    for level in maps[1:]:
        highest = torch.maximum(highest, _resized(level, grid))
    return highest.movedim(-1, 1)


def _highest_with_next(values: Tensor, dim: int) -> Tensor:
    """The higher of each value and the next one along `dim`; the last one as it is."""
    count = values.shape[dim]
    higher = torch.maximum(values.narrow(dim, 0, count - 1), values.narrow(dim, 1, count - 1))
    return torch.cat((higher, values.narrow(dim, count - 1, 1)), dim=dim)


def _resized(level: Tensor, grid: tuple[int, int]) -> Tensor:
    """The highest values of a map (I, rows, cols, C) in the cells of another grid."""
    rows, cols = level.shape[1:3]
    if (rows, cols) == grid:
        return level
    if rows < grid[0]:
        return nearest(level, grid)
    return adaptive_max(level, grid)


def _rgb(pixel_values: Tensor) -> Tensor:
    """Undo the ImageNet normalisation: (I, 3, H, W) in [0, 1]."""
    mean = pixel_values.new_tensor(IMAGENET_DEFAULT_MEAN)[:, None, None]
    std = pixel_values.new_tensor(IMAGENET_DEFAULT_STD)[:, None, None]
    return (pixel_values * std).add_(mean).clamp_(0, 1)


__all__ = ["COLOR_CELL", "classes_on", "picture_colors"]
