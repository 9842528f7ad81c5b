"""The letterbox: how a picture is placed on its square canvas, and the inverse, for training, inference and export.

As released: the longer side is scaled to the side of the canvas and the picture is centred. A batch holds one row of
six integers per picture, (I, 6) int64, in the order of the fields of `Letterbox`. Pure arithmetic on coordinates;
pixels are resized by the image processor.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Letterbox(NamedTuple):
    """
    Size and position of a picture on its canvas, in pixels.

    Attributes:
        height, width: of the original, upright.
        resized_height, resized_width: of the picture on the canvas.
        top, left: of its upper left corner on the canvas.
    """

    height: int
    width: int
    resized_height: int
    resized_width: int
    top: int
    left: int

    @classmethod
    def fit(cls, height: int, width: int, side: int) -> "Letterbox":
        """The largest centred placement of a picture of `height` × `width` pixels on a canvas of `side` × `side`."""
        scale = side / max(height, width)
        resized = (max(1, round(height * scale)), max(1, round(width * scale)))
        return cls(height, width, *resized, *centered(resized, side))

    @classmethod
    def of(cls, row: Tensor) -> "Letterbox":
        """The letterbox in one row (6,) of a batch."""
        return cls(*(int(value) for value in row.tolist()))

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas that show the picture."""
        return (
            slice(self.top, self.top + self.resized_height),
            slice(self.left, self.left + self.resized_width),
        )

    def boxes_to_canvas(self, boxes: Tensor) -> Tensor:
        """Map boxes (n, 4) XYXY from pixels of the original to pixels of the canvas."""
        scale, offset = self._scale_and_offset(boxes)
        return boxes * scale + offset

    def boxes_to_original(self, boxes: Tensor) -> Tensor:
        """
        Map boxes (n, 4) XYXY from pixels of the canvas to pixels of the original, clipped to it.

        A side that clipping reduces to zero becomes one pixel long, inside the picture.
        """
        return boxes_to_originals(boxes, torch.tensor([self], device=boxes.device))

    def mask_to_original(self, mask: Tensor, canvas: tuple[int, int], threshold: float = 0.5) -> Tensor:
        """
        Map mask probabilities over the canvas to a binary mask of the original.

        Each original pixel takes the bilinear value at its own centre: one interpolation, without an intermediate one
        to canvas pixels.

        Args:
            mask: (h, w) of any resolution, covering the whole canvas.
            canvas: (H, W) in pixels.
            threshold: probability above which a pixel belongs to the mask.

        Returns:
            bool (original height, original width).
        """
        rows, cols = mask.shape
        y = _middles(self.height, mask) * (self.resized_height / self.height) + self.top
        x = _middles(self.width, mask) * (self.resized_width / self.width) + self.left
        # Bilinear interpolation is separable: first between rows of cells, then between their columns.
        down, across = _Linear.at(y * (rows / canvas[0]), rows), _Linear.at(x * (cols / canvas[1]), cols)
        # Pixels are read only where there is something: most masks are small beside their pictures.
        seen = mask > 0
        height, width = down.reach(seen.any(dim=1)), across.reach(seen.any(dim=0))
        found = mask.new_full((self.height, self.width), threshold < 0, dtype=torch.bool)
        found[height, width] = threshold < across.of(down.of(mask.float(), height).T, width).T
        return found

    def mask_to_canvas(self, mask: Tensor, canvas: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """
        Sample a mask of the original at the cells of a map over the canvas, nearest pixel.

        Args:
            mask: bool (height, width) of the original.
            canvas: (H, W) in pixels.
            size: (h, w) of the map.

        Returns:
            bool (h, w), False in the padding.
        """
        y, x = (_middles(length, mask) for length in size)
        rows = (y * canvas[0] / size[0] - self.top) * self.height / self.resized_height
        cols = (x * canvas[1] / size[1] - self.left) * self.width / self.resized_width
        inside = ((rows >= 0) & (rows < self.height))[:, None] & ((cols >= 0) & (cols < self.width))
        return mask[rows.long().clamp(0, self.height - 1)][:, cols.long().clamp(0, self.width - 1)] & inside

    def _scale_and_offset(self, like: Tensor) -> tuple[Tensor, Tensor]:
        scale = like.new_tensor([self.resized_width / self.width, self.resized_height / self.height]).repeat(2)
        return scale, like.new_tensor([self.left, self.top]).repeat(2)


def boxes_to_originals(boxes: Tensor, rows: Tensor) -> Tensor:
    """
    `Letterbox.boxes_to_original` of boxes in several pictures.

    Args:
        boxes: (n, 4) XYXY in canvas pixels.
        rows: (n, 6) int64, the letterbox of each; (1, 6) for all.
    """
    height, width, resized_height, resized_width, top, left = rows.unbind(1)
    pairs = (width, height), (resized_width, resized_height), (left, top)
    limit, resized, offset = (torch.stack(pair, dim=1).to(boxes.dtype) for pair in pairs)
    scale = resized / limit
    start, end = (torch.minimum(((corner - offset) / scale).clamp(min=0), limit) for corner in boxes.split(2, dim=1))
    flat = end <= start
    start = torch.where(flat, torch.minimum(start, limit - 1), start)
    return torch.cat((start, torch.where(flat, start + 1, end)), dim=1)


def centered(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Top and left of a rectangle of `size` (height, width) centred on a canvas of `side` × `side` pixels."""
    top, left = (round((side - length) / 2 - 0.1) for length in size)  # rounded as released
    return top, left


def letterboxes(rows: Tensor) -> Iterator[Letterbox]:
    """The letterboxes in the rows (I, 6) of a batch, one by one."""
    return map(Letterbox.of, rows)


def canvas_of(pixel_values: Tensor) -> tuple[int, int]:
    """(H, W) of canvases (…, H, W), in pixels."""
    height, width = pixel_values.shape[-2:]
    return height, width


def points_in_picture(rows: Tensor, grid: tuple[int, int], canvas: tuple[int, int]) -> Tensor:
    """
    Which points of a grid are inside the picture rather than in the padding.

    Args:
        rows: (I, 6) int64, letterboxes.
        grid: (rows, cols).
        canvas: (H, W) in pixels.

    Returns:
        bool (I, rows · cols). For a picture too thin to contain any point, the points of all cells it touches.
    """
    _, _, resized_height, resized_width, top, left = rows[:, :, None].unbind(1)
    inside_y, touched_y = _inside(top, resized_height, grid[0], canvas[0])
    inside_x, touched_x = _inside(left, resized_width, grid[1], canvas[1])
    inside = (inside_y[:, :, None] & inside_x[:, None, :]).flatten(1)
    touched = (touched_y[:, :, None] & touched_x[:, None, :]).flatten(1)
    return inside | (touched & ~inside.any(dim=1, keepdim=True))


def places_in_picture(rows: Tensor, points: Tensor) -> Tensor:
    """
    Which places are inside the picture rather than in the padding.

    Args:
        rows: (I, 6) int64, letterboxes.
        points: (I, N, 2) XY in canvas pixels.

    Returns:
        bool (I, N).
    """
    _, _, height, width, top, left = rows[:, :, None].unbind(1)
    x, y = points.unbind(-1)
    return (x >= left) & (x < left + width) & (y >= top) & (y < top + height)


def _inside(start: Tensor, length: Tensor, cells: int, side: int) -> tuple[Tensor, Tensor]:
    """Cells (I, cells) along one axis: centre in [start, start + length), and any overlap with that interval."""
    edges = torch.arange(cells + 1, dtype=torch.float32, device=start.device) * (side / cells)
    centre = (edges[:-1] + edges[1:]) / 2
    end = start + length
    return (centre >= start) & (centre < end), (edges[1:] > start) & (edges[:-1] < end)


def _middles(count: int, like: Tensor) -> Tensor:
    """The middles of `count` pixels along one axis, float32 (count,)."""
    return torch.arange(count, dtype=torch.float32, device=like.device) + 0.5


class _Linear(NamedTuple):
    """
    Linear interpolation at n places along an axis.

    Attributes:
        first, second: int64 (n,), the cells before and behind each place.
        share: (n,), what the second one counts.
    """

    first: Tensor
    second: Tensor
    share: Tensor

    @classmethod
    def at(cls, position: Tensor, cells: int) -> "_Linear":
        """Of places `position` (n,), in cells from the edge of the first one; beyond a last centre, its value."""
        centre = (position - 0.5).clamp(0, cells - 1)
        first = centre.long()
        return cls(first, (first + 1).clamp(max=cells - 1), centre - first)

    def reach(self, there: Tensor) -> slice:
        """The places from the first to the last one that reads any of the cells that are `there`, bool (cells,)."""
        (read,) = (there[self.first] | there[self.second]).nonzero(as_tuple=True)
        return slice(int(read[0]), int(read[-1]) + 1) if len(read) else slice(0, 0)

    def of(self, values: Tensor, places: slice) -> Tensor:
        """Values (places, k) at some of the places, from those of the cells, (cells, k)."""
        first, second = (values.index_select(0, cells[places]) for cells in (self.first, self.second))
        return first.lerp_(second, self.share[places, None])


__all__ = [
    "Letterbox",
    "boxes_to_originals",
    "canvas_of",
    "centered",
    "letterboxes",
    "places_in_picture",
    "points_in_picture",
]
