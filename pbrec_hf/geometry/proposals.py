"""The output of a detector: one box and/or mask, and a quality, at every point.

Points form grids, or stand anywhere (the centre of each box or mask of a set detector). The contract of detectors is
in `detectors/base.py`. Nothing here knows expressions, or how proposals are selected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from .boxes import box_centers
from .proposed_masks import ProposedMasks

# Fields with one entry per image and point; masks are apart.
TENSORS = ("quality", "boxes", "candidates", "labels", "points", "valid")


@dataclass
class Proposals:
    """
    Proposals on I canvases at N points: grid after grid, row-major within a grid (point k = row · cols + col), or at
    points of their own.

    A field that the detector does not provide is None. Floating-point tensors are float32.

    Args:
        grids: (rows, cols) of every grid; N is the sum of rows · cols. Empty where `points` are given.
        canvas: (H, W) of the letterboxed canvas in pixels.
        quality: (I, N) in [0, 1], the detector's confidence in each proposal.
        boxes: (I, N, 4) XYXY in canvas pixels.
        masks: masks of the same points.
        candidates: bool (I, N), the points whose proposal survived the detector's own NMS.
        labels: int64 (I, N), the best class.
        points: (I, N, 2) XY in canvas pixels, where the proposals stand; None = at the centres of the grids' cells.
        valid: bool (I, N), the proposals that exist; the others only fill images with fewer. None = all.
        per_expression: the proposals were found for expressions: row e belongs to expression e, not to an image.

    Raises:
        ValueError: every field is None, numbers of images or points differ, or there are both grids and points.
    """

    grids: tuple[tuple[int, int], ...]
    canvas: tuple[int, int]
    quality: Tensor | None = None
    boxes: Tensor | None = None
    masks: ProposedMasks | None = None
    candidates: Tensor | None = None
    labels: Tensor | None = None
    points: Tensor | None = None
    valid: Tensor | None = None
    per_expression: bool = False

    def __post_init__(self) -> None:
        self.grids = tuple((int(rows), int(cols)) for rows, cols in self.grids)
        self.canvas = (int(self.canvas[0]), int(self.canvas[1]))
        if self.points is not None and self.grids:
            raise ValueError(f"The proposals have grids, {self.grids}, and points of their own: give one of the two.")
        sizes = self._sizes()
        if not sizes.keys() - {"points", "valid"}:
            raise ValueError("The proposals are empty: give boxes, masks or at least a quality.")
        if torch.compiler.is_compiling():
            return  # numbers of pictures are symbols in a graph
        images = {name: count for name, (count, _) in sizes.items()}
        if len(set(images.values())) > 1:
            raise ValueError(
                f"The proposals have different numbers of images, {images}: give the same number in every field."
            )
        where = "points of their own" if self.points is not None else f"grids {self.grids}"
        for name, (_, points) in sizes.items():
            if points != self.num_points:
                raise ValueError(
                    f"{name} holds {points} points, but the {where} have {self.num_points}: give one proposal per "
                    "point, grid after grid."
                )

    @classmethod
    def at_boxes(cls, canvas: tuple[int, int], boxes: Tensor, **fields: Any) -> "Proposals":
        """
        Proposals that stand at the centres of their boxes.

        Args:
            canvas: (H, W) in pixels.
            boxes: (I, N, 4) XYXY in canvas pixels.
            fields: the others.
        """
        return cls((), canvas, boxes=boxes, points=box_centers(boxes), **fields)

    @property
    def points_per_grid(self) -> list[int]:
        """rows · cols of every grid, the sizes that split (I, N) tensors by grid."""
        return [prod(grid) for grid in self.grids]

    @property
    def num_points(self) -> int:
        """N, the number of points of each image."""
        return sum(self.points_per_grid) if self.points is None else self.points.shape[1]

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        for tensor in self._tensors().values():
            return tensor.device
        return self.require_masks().device

    def rows_of(self, image_index: Tensor) -> Tensor:
        """
        The row of each expression in these proposals.

        Args:
            image_index: (E,) int64, the image of each expression.

        Returns:
            int64 (E,).

        Raises:
            ValueError: they were found for other expressions.
        """
        if not self.per_expression:
            return image_index
        if len(self) != len(image_index):
            raise ValueError(
                f"These proposals were found for {len(self)} expressions, but there are {len(image_index)}: let the "
                "detector propose for these."
            )
        return torch.arange(len(self), device=image_index.device)

    def require_boxes(self) -> Tensor:
        """
        The boxes, for callers that need them.

        Returns:
            (I, N, 4) XYXY in canvas pixels.

        Raises:
            ValueError: the detector proposes no boxes.
        """
        if self.boxes is None:
            raise ValueError("The proposals hold no boxes: use a detector that proposes boxes.")
        return self.boxes

    def require_masks(self) -> ProposedMasks:
        """
        The masks, for callers that need them.

        Raises:
            ValueError: the detector proposes no masks.
        """
        if self.masks is None:
            raise ValueError("The proposals hold no masks: use a detector that proposes masks.")
        return self.masks

    def __len__(self) -> int:
        return next(iter(self._sizes().values()))[0]

    def __getitem__(self, images: slice | Tensor) -> "Proposals":
        """Proposals of some images, selected by a slice or by an int64 or bool index tensor."""
        if isinstance(images, int):
            raise TypeError(
                f"Proposals are indexed by a slice or a tensor, but the index is {images}: write "
                f"[{images}:{images + 1}]."
            )
        chosen: dict[str, Any] = {name: value[images] for name, value in self._tensors().items()}
        if self.masks is not None:
            chosen["masks"] = self.masks[images]
        return replace(self, **chosen)

    def to(self, device: torch.device | str) -> "Proposals":
        """The same proposals with every tensor on `device`."""
        moved: dict[str, Any] = {name: value.to(device) for name, value in self._tensors().items()}
        if self.masks is not None:
            moved["masks"] = self.masks.to(device)
        return replace(self, **moved)

    @staticmethod
    def cat(parts: Sequence["Proposals"]) -> "Proposals":
        """
        Concatenate the images of `parts`, in order. Of proposals at points of their own, images with fewer are filled.

        Raises:
            ValueError: `parts` is empty, or its entries come from different detectors (their grids, canvas, fields or
                mask weights differ).
        """
        if not parts:
            raise ValueError("There are no proposals to concatenate: give at least one Proposals.")
        if all(part.points is not None for part in parts) and len({_filling(part) for part in parts}) > 1:
            most = max(part.num_points for part in parts)
            parts = [part.padded(most) for part in parts]
        first = parts[0]
        kind = first._kind()
        for part in parts[1:]:
            if part._kind() != kind:
                raise ValueError(
                    f"Proposals of different detectors cannot be concatenated, with grids {first.grids} and "
                    f"{part.grids}, canvas {first.canvas} and {part.canvas}, fields {list(first._sizes())} and "
                    f"{list(part._sizes())}: give proposals of one detector."
                )
        joined: dict[str, Any] = {
            name: torch.cat([getattr(part, name) for part in parts]) for name in first._tensors()
        }
        if first.masks is not None:
            joined["masks"] = type(first.masks).cat([part.require_masks() for part in parts])
        return replace(first, **joined)

    def padded(self, points: int) -> "Proposals":
        """
        The same proposals at points of their own, filled to `points` with proposals that do not exist.

        Raises:
            ValueError: the proposals stand on grids, or are more.
        """
        more = points - self.num_points
        if self.points is None or more < 0:
            raise ValueError(f"{self.num_points} proposals on {self.grids or 'their points'} cannot be {points}.")
        valid = torch.ones(len(self), self.num_points, dtype=torch.bool, device=self.device)
        tensors = self._tensors() | {"valid": valid if self.valid is None else self.valid}
        filled: dict[str, Any] = {
            name: pad(value, (0, 0) * (value.ndim - 2) + (0, more)) for name, value in tensors.items()
        }
        if self.masks is not None:
            filled["masks"] = self.masks.padded(points) if more else self.masks
        return replace(self, **filled)

    def _kind(self) -> tuple[Any, ...]:
        return self.grids, self.canvas, sorted(self._sizes()), self.per_expression

    def _tensors(self) -> dict[str, Tensor]:
        """The tensors of this object that hold one entry per image, by field; masks are apart."""
        found = {name: getattr(self, name) for name in TENSORS}
        return {name: value for name, value in found.items() if value is not None}

    def _sizes(self) -> dict[str, tuple[int, int]]:
        """(images, points) of every field that is not None."""
        sizes = {name: (value.shape[0], value.shape[1]) for name, value in self._tensors().items()}
        if self.masks is not None:
            sizes["masks"] = (getattr(self.masks, self.masks.PER_IMAGE[0]).shape[0], self.masks.num_points)
        return sizes


def _filling(part: Proposals) -> tuple[int, bool]:
    return part.num_points, part.valid is None


__all__ = ["TENSORS", "Proposals"]
