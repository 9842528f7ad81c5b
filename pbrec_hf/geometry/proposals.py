"""The output of a detector: one box and/or mask, and a quality, at every point.

The contract of detectors is in `detectors/base.py`. Nothing here knows expressions, or how proposals are selected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass
class LazyMasks:
    """
    Masks of N points as a deferred 1×1 convolution: a mask is computed when it is requested.

    Args:
        features: (I, C, h, w) mask features of the canvases.
        weight: (N, C), one row per point.
        bias: (N,).
        size: (h', w') to which the probabilities are resized bilinearly; None = (h, w).

    Raises:
        ValueError: the shapes do not fit together.
    """

    features: Tensor
    weight: Tensor
    bias: Tensor
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.features.ndim != 4 or self.weight.shape != (*self.bias.shape, self.features.shape[1]):
            raise ValueError(
                f"features {tuple(self.features.shape)}, weight {tuple(self.weight.shape)} and bias "
                f"{tuple(self.bias.shape)} do not fit together: give (I, C, h, w), (N, C) and (N,)."
            )

    def at(self, image_index: Tensor, point_index: Tensor) -> Tensor:
        """
        Compute n masks.

        Args:
            image_index: (n,) int64, the canvas of each mask.
            point_index: (n,) int64, its point.

        Returns:
            (n, h', w') probabilities over the canvas.
        """
        height, width = self.features.shape[-2:]
        logits = self.features.new_empty(len(image_index), height, width)
        # One image at a time: indexing the features by mask would copy them once per mask.
        for image in image_index.unique().tolist():
            rows = (image_index == image).nonzero().squeeze(1)
            points = point_index[rows]
            flat = torch.addmm(self.bias[points, None], self.weight[points], self.features[image].flatten(1))
            logits[rows] = flat.view(-1, height, width)
        probabilities = logits.sigmoid()
        if self.size in (None, (height, width)):
            return probabilities
        return F.interpolate(probabilities[:, None], self.size, mode="bilinear", align_corners=False)[:, 0]


@dataclass
class Proposals:
    """
    Proposals on I canvases at N points: grid after grid, row-major within a grid (point k = row · cols + col).

    A field that the detector does not provide is None. Floating-point tensors are float32.

    Args:
        grids: (rows, cols) of every grid; N is the sum of rows · cols.
        canvas: (H, W) of the letterboxed canvas in pixels.
        quality: (I, N) in [0, 1], the detector's confidence in each proposal.
        boxes: (I, N, 4) XYXY in canvas pixels.
        masks: masks of the same points.
        candidates: bool (I, N), the points whose proposal survived the detector's own NMS.
        labels: int64 (I, N), the best class.

    Raises:
        ValueError: every field is None, or numbers of images or points differ.
    """

    grids: tuple[tuple[int, int], ...]
    canvas: tuple[int, int]
    quality: Tensor | None = None
    boxes: Tensor | None = None
    masks: LazyMasks | None = None
    candidates: Tensor | None = None
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        self.grids = tuple((int(rows), int(cols)) for rows, cols in self.grids)
        self.canvas = (int(self.canvas[0]), int(self.canvas[1]))
        sizes = self._sizes()
        if not sizes:
            raise ValueError("The proposals are empty: give boxes, masks or at least a quality.")
        images = {name: count for name, (count, _) in sizes.items()}
        if len(set(images.values())) > 1:
            raise ValueError(
                f"The proposals have different numbers of images, {images}: give the same number in every field."
            )
        for name, (_, points) in sizes.items():
            if points != self.num_points:
                raise ValueError(
                    f"{name} holds {points} points, but the grids {self.grids} have {self.num_points}: give one "
                    "proposal per point, grid after grid."
                )

    @property
    def points_per_grid(self) -> list[int]:
        """rows · cols of every grid, the sizes that split (I, N) tensors by grid."""
        return [prod(grid) for grid in self.grids]

    @property
    def num_points(self) -> int:
        """N, the number of points in all grids."""
        return sum(self.points_per_grid)

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        for tensor in self._tensors().values():
            return tensor.device
        return self.require_masks().features.device

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

    def require_masks(self) -> LazyMasks:
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
            chosen["masks"] = replace(self.masks, features=self.masks.features[images])
        return replace(self, **chosen)

    def to(self, device: torch.device | str) -> "Proposals":
        """The same proposals with every tensor on `device`."""
        moved: dict[str, Any] = {name: value.to(device) for name, value in self._tensors().items()}
        if self.masks is not None:
            tensors: dict[str, Any] = {
                name: getattr(self.masks, name).to(device) for name in ("features", "weight", "bias")
            }
            moved["masks"] = replace(self.masks, **tensors)
        return replace(self, **moved)

    @staticmethod
    def cat(parts: Sequence["Proposals"]) -> "Proposals":
        """
        Concatenate the images of `parts`, in order.

        Raises:
            ValueError: `parts` is empty, or its entries come from different detectors (their grids, canvas, fields or
                mask weights differ).
        """
        if not parts:
            raise ValueError("There are no proposals to concatenate: give at least one Proposals.")
        first = parts[0]
        names = list(first._sizes())
        for part in parts[1:]:
            if (part.grids, part.canvas, list(part._sizes())) != (first.grids, first.canvas, names):
                raise ValueError(
                    f"Proposals of different detectors cannot be concatenated, with grids {first.grids} and "
                    f"{part.grids}, canvas {first.canvas} and {part.canvas}, fields {names} and "
                    f"{list(part._sizes())}: give proposals of one detector."
                )
        joined: dict[str, Any] = {
            name: torch.cat([getattr(part, name) for part in parts]) for name in first._tensors()
        }
        if first.masks is not None:
            joined["masks"] = _cat_masks([part.require_masks() for part in parts])
        return replace(first, **joined)

    def _tensors(self) -> dict[str, Tensor]:
        """The tensors of this object that hold one entry per image, by field; masks are apart."""
        found = {name: getattr(self, name) for name in ("quality", "boxes", "candidates", "labels")}
        return {name: value for name, value in found.items() if value is not None}

    def _sizes(self) -> dict[str, tuple[int, int]]:
        """(images, points) of every field that is not None."""
        sizes = {name: (len(value), value.shape[1]) for name, value in self._tensors().items()}
        if self.masks is not None:
            sizes["masks"] = (len(self.masks.features), len(self.masks.bias))
        return sizes


def _cat_masks(parts: list[LazyMasks]) -> LazyMasks:
    first = parts[0]
    for part in parts[1:]:
        same = (
            part.size == first.size and torch.equal(part.weight, first.weight) and torch.equal(part.bias, first.bias)
        )
        if not same:
            raise ValueError(
                "Masks of different detectors cannot be concatenated, since their weights, biases or sizes differ: "
                "give proposals of one detector."
            )
    return replace(first, features=torch.cat([part.features for part in parts]))


__all__ = ["LazyMasks", "Proposals"]
