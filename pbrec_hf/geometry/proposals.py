"""What a detector hands over: one box and/or mask, and a quality, at every point.

The contract that detectors keep is in `detectors/base.py`. Nothing here knows expressions, or how to choose among the
proposals.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass
class LazyMasks:
    """Masks of N points as a 1×1 convolution that has not been run yet: only the masks asked for are computed.

    Args:
        features: (I, C, h, w) mask features of the canvases.
        weight: (N, C), one row per point.
        bias: (N,).
        size: (h', w') to which the probabilities are resized bilinearly, by default (h, w).
    """

    features: Tensor
    weight: Tensor
    bias: Tensor
    size: tuple[int, int] | None = None

    def __post_init__(self):
        if self.features.ndim != 4 or self.weight.shape != (*self.bias.shape, self.features.shape[1]):
            raise ValueError(
                "features (I, C, h, w), weight (N, C) and bias (N,) do not fit together: got "
                f"{tuple(self.features.shape)}, {tuple(self.weight.shape)} and {tuple(self.bias.shape)}"
            )

    def at(self, image_index: Tensor, point_index: Tensor) -> Tensor:
        """Mask probabilities (n, h', w') over the canvas for n pairs `image_index` (n,), `point_index` (n,) int64."""
        height, width = self.features.shape[-2:]
        logits = self.features.new_empty(len(image_index), height, width)
        # Image by image, so that the features are never copied once per mask.
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
    """Proposals of I images at N points: grid after grid, row-major within a grid (point k = row·cols + col).

    Args:
        grids: (rows, cols) of every grid; N is the sum of rows·cols.
        canvas: (H, W) of the letterboxed canvas in pixels.
        quality: (I, N) in [0, 1], how good the detector holds the proposal to be.
        boxes: (I, N, 4) XYXY in canvas pixels.
        masks: masks of the same points.
        candidates: (I, N) bool, the points whose proposal survived the detector's own NMS.
        labels: (I, N) int64, the best class.

    What a detector does not offer is None. Floating tensors are kept in float32.
    """

    grids: tuple[tuple[int, int], ...]
    canvas: tuple[int, int]
    quality: Tensor | None = None
    boxes: Tensor | None = None
    masks: LazyMasks | None = None
    candidates: Tensor | None = None
    labels: Tensor | None = None

    def __post_init__(self):
        self.grids = tuple((int(rows), int(cols)) for rows, cols in self.grids)
        self.canvas = (int(self.canvas[0]), int(self.canvas[1]))
        per_image = self._per_image()
        if not per_image:
            raise ValueError("proposals need boxes, masks or at least a quality; got none of them")
        images = {name: len(value.features if name == "masks" else value) for name, value in per_image.items()}
        if len(set(images.values())) > 1:
            raise ValueError(f"proposals of different numbers of images: {images}")
        for name, value in per_image.items():
            points = len(value.bias) if name == "masks" else value.shape[1]
            if points != self.num_points:
                raise ValueError(
                    f"{name} holds {points} points, but the grids {self.grids} have {self.num_points}; "
                    "give one proposal per point, grid after grid"
                )

    @property
    def points_per_grid(self) -> list[int]:
        """rows·cols of every grid: the sizes by which (I, N) tensors split into grids."""
        return [prod(grid) for grid in self.grids]

    @property
    def num_points(self) -> int:
        """N, the points of all grids together."""
        return sum(self.points_per_grid)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        value = next(iter(self._per_image().values()))
        return (value.features if isinstance(value, LazyMasks) else value).device

    def __len__(self) -> int:
        name, value = next(iter(self._per_image().items()))
        return len(value.features if name == "masks" else value)

    def __getitem__(self, images: slice | Tensor) -> "Proposals":
        """Proposals of some of the images: a slice, or an int64 or bool index tensor."""
        if isinstance(images, int):
            raise TypeError(
                f"proposals are indexed by a slice or a tensor, got {images}; write [{images}:{images + 1}]"
            )
        chosen = {name: value[images] for name, value in self._per_image().items() if name != "masks"}
        if self.masks is not None:
            chosen["masks"] = replace(self.masks, features=self.masks.features[images])
        return replace(self, **chosen)

    def to(self, device: torch.device | str) -> "Proposals":
        """The same proposals with every tensor on `device`."""
        moved = {name: value.to(device) for name, value in self._per_image().items() if name != "masks"}
        if self.masks is not None:
            tensors = {name: getattr(self.masks, name).to(device) for name in ("features", "weight", "bias")}
            moved["masks"] = replace(self.masks, **tensors)
        return replace(self, **moved)

    @staticmethod
    def cat(parts: Sequence["Proposals"]) -> "Proposals":
        """Proposals of all images of `parts`, in order.

        Raises:
            ValueError: nothing to join, or the parts come from different detectors (grids, canvas, kinds of
                proposals or mask weights differ).
        """
        if not parts:
            raise ValueError("there are no proposals to join; give at least one Proposals")
        first = parts[0]
        names = list(first._per_image())
        for part in parts[1:]:
            if (part.grids, part.canvas, list(part._per_image())) != (first.grids, first.canvas, names):
                raise ValueError(
                    f"proposals of different detectors cannot be joined: grids {first.grids} and {part.grids}, canvas "
                    f"{first.canvas} and {part.canvas}, holding {names} and {list(part._per_image())}"
                )
        joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in names if name != "masks"}
        if first.masks is not None:
            joined["masks"] = _cat_masks([part.masks for part in parts])
        return replace(first, **joined)

    def _per_image(self) -> dict[str, Tensor | LazyMasks]:
        """The fields that hold something for every image, by name."""
        names = [field.name for field in fields(self) if field.name not in ("grids", "canvas")]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def _cat_masks(parts: list[LazyMasks]) -> LazyMasks:
    first = parts[0]
    for part in parts[1:]:
        same = (
            part.size == first.size and torch.equal(part.weight, first.weight) and torch.equal(part.bias, first.bias)
        )
        if not same:
            raise ValueError("masks of different detectors cannot be joined: their weights, biases or sizes differ")
    return replace(first, features=torch.cat([part.features for part in parts]))
