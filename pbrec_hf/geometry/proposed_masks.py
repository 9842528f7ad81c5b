"""Masks of proposals that are computed, or read, when somebody asks for them.

Three forms: a deferred 1×1 convolution (`LazyMasks`), maps that a network gave anyway (`DenseMasks`), and small maps
inside of boxes (`BoxMasks`). Nothing here knows what proposed them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F


class ProposedMasks(ABC):
    """
    Masks of N points on I canvases.

    Attributes:
        PER_IMAGE: fields whose tensors have one entry per image.
        SHARED: fields whose tensors are the same for every image.
    """

    PER_IMAGE: ClassVar[tuple[str, ...]] = ()
    SHARED: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def num_points(self) -> int:
        """N."""

    @abstractmethod
    def at(self, image_index: Tensor, point_index: Tensor) -> Tensor:
        """
        Compute n masks.

        Args:
            image_index: (n,) int64, the canvas of each mask.
            point_index: (n,) int64, its point.

        Returns:
            (n, h, w) probabilities over the canvas.
        """

    def padded(self, points: int) -> Self:
        """The same masks of N points, and `points` − N more that are empty."""
        raise ValueError(f"Masks of {type(self).__name__} stand on grids: give every image the same number of points.")

    def __len__(self) -> int:
        return len(getattr(self, self.PER_IMAGE[0]))

    def __getitem__(self, images: slice | Tensor) -> Self:
        """Masks of some images."""
        return self.with_tensors({name: getattr(self, name)[images] for name in self.PER_IMAGE})

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        device: torch.device = getattr(self, self.PER_IMAGE[0]).device
        return device

    def to(self, device: torch.device | str) -> Self:
        """The same masks with every tensor on `device`."""
        return self.with_tensors({name: getattr(self, name).to(device) for name in (*self.PER_IMAGE, *self.SHARED)})

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """
        Concatenate the images of `parts`, in order.

        Raises:
            ValueError: they come from different detectors.
        """
        first = parts[0]
        shared = cls._settings(first)
        for part in parts[1:]:
            same = type(part) is type(first) and cls._settings(part) == shared
            if not same or not all(torch.equal(getattr(part, name), getattr(first, name)) for name in first.SHARED):
                raise ValueError(
                    "Masks of different detectors cannot be concatenated, since their weights, biases or sizes "
                    "differ: give proposals of one detector."
                )
        joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in first.PER_IMAGE}
        return first.with_tensors(joined)

    def with_tensors(self, tensors: dict[str, Tensor]) -> Self:
        """The same masks with other tensors in some fields."""
        changes: dict[str, Any] = dict(tensors)
        return replace(self, **changes)  # type: ignore[type-var]  # every subclass is a dataclass

    @staticmethod
    def _settings(masks: Any) -> dict[str, Any]:
        return {name: value for name, value in vars(masks).items() if not isinstance(value, Tensor)}


@dataclass
class LazyMasks(ProposedMasks):
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

    PER_IMAGE: ClassVar[tuple[str, ...]] = ("features",)
    SHARED: ClassVar[tuple[str, ...]] = ("weight", "bias")

    def __post_init__(self) -> None:
        if self.features.ndim != 4 or self.weight.shape != (*self.bias.shape, self.features.shape[1]):
            raise ValueError(
                f"features {tuple(self.features.shape)}, weight {tuple(self.weight.shape)} and bias "
                f"{tuple(self.bias.shape)} do not fit together: give (I, C, h, w), (N, C) and (N,)."
            )

    @property
    def num_points(self) -> int:
        """N."""
        return len(self.bias)

    def at(self, image_index: Tensor, point_index: Tensor) -> Tensor:
        """See [`ProposedMasks.at`]; (n, h', w')."""
        height, width = self.features.shape[-2:]
        if torch.compiler.is_compiling():
            # Shapes must not depend on the indices: every mask on every canvas, of which its own is kept.
            of_all = self.weight[point_index] @ self.features.flatten(2) + self.bias[point_index, None]
            logits = of_all[image_index, torch.arange(image_index.shape[0])].unflatten(1, (height, width))
            return self._resized(logits.sigmoid())
        logits = self.features.new_empty(len(image_index), height, width)
        # One image at a time: indexing the features by mask would copy them once per mask.
        for image in image_index.unique().tolist():
            rows = (image_index == image).nonzero().squeeze(1)
            points = point_index[rows]
            flat = torch.addmm(self.bias[points, None], self.weight[points], self.features[image].flatten(1))
            logits[rows] = flat.view(-1, height, width)
        return self._resized(logits.sigmoid())

    def _resized(self, probabilities: Tensor) -> Tensor:
        if self.size in (None, tuple(self.features.shape[-2:])):
            return probabilities
        return F.interpolate(probabilities[:, None], self.size, mode="bilinear", align_corners=False)[:, 0]


@dataclass
class DenseMasks(ProposedMasks):
    """
    Masks whose maps are there already, as set detectors give them.

    Args:
        logits: (I, N, h, w) over the canvas, before the sigmoid; any floating-point type.
        size: (h', w') to which the logits are resized bilinearly; None = (h, w).

    Raises:
        ValueError: another shape.
    """

    logits: Tensor
    size: tuple[int, int] | None = None

    PER_IMAGE = ("logits",)

    def __post_init__(self) -> None:
        if self.logits.ndim != 4:
            raise ValueError(f"logits have the shape {tuple(self.logits.shape)}: give (I, N, h, w).")

    @property
    def num_points(self) -> int:
        """N."""
        return self.logits.shape[1]

    def at(self, image_index: Tensor, point_index: Tensor) -> Tensor:
        """See [`ProposedMasks.at`]; (n, h', w')."""
        logits = self.logits[image_index, point_index].float()
        if self.size is not None:
            logits = F.interpolate(logits[:, None], self.size, mode="bilinear", align_corners=False)[:, 0]
        return logits.sigmoid()

    def padded(self, points: int) -> "DenseMasks":
        """See [`ProposedMasks.padded`]."""
        more = self.logits.new_full((len(self), points - self.num_points, *self.logits.shape[2:]), -100.0)
        return replace(self, logits=torch.cat((self.logits, more), dim=1))


@dataclass
class BoxMasks(ProposedMasks):
    """
    Masks on small maps inside of boxes, as Mask R-CNN gives them.

    Args:
        maps: (I, N, m, m) probabilities, each over its box.
        boxes: (I, N, 4) XYXY in canvas pixels.
        canvas: (H, W) in canvas pixels.
        size: (h, w) of the masks that are read.

    Raises:
        ValueError: the shapes do not fit together.
    """

    maps: Tensor
    boxes: Tensor
    canvas: tuple[int, int]
    size: tuple[int, int]

    PER_IMAGE = ("maps", "boxes")

    def __post_init__(self) -> None:
        if self.maps.ndim != 4 or self.boxes.shape != (*self.maps.shape[:2], 4):
            raise ValueError(
                f"maps {tuple(self.maps.shape)} and boxes {tuple(self.boxes.shape)} do not fit together: give "
                "(I, N, m, m) and (I, N, 4)."
            )

    @property
    def num_points(self) -> int:
        """N."""
        return self.maps.shape[1]

    def at(self, image_index: Tensor, point_index: Tensor) -> Tensor:
        """See [`ProposedMasks.at`]; bilinear inside of the box, 0 outside."""
        maps = self.maps[image_index, point_index].float()
        boxes = self.boxes[image_index, point_index].float()
        axes = []
        for axis, (length, side) in enumerate(zip(reversed(self.size), reversed(self.canvas), strict=True)):
            start, end = boxes[:, axis, None], boxes[:, axis + 2, None]
            centres = (torch.arange(length, dtype=boxes.dtype, device=boxes.device) + 0.5) * (side / length)
            axes.append((centres - start) / (end - start).clamp(min=1e-6) * 2 - 1)
        x, y = axes
        rows, cols = y.shape[1], x.shape[1]
        places = torch.stack((x[:, None].expand(-1, rows, -1), y[:, :, None].expand(-1, -1, cols)), dim=-1)
        read = F.grid_sample(maps[:, None], places, mode="bilinear", padding_mode="border", align_corners=False)
        return read[:, 0] * (places.abs() <= 1).all(dim=-1)

    def padded(self, points: int) -> "BoxMasks":
        """See [`ProposedMasks.padded`]."""
        more = points - self.num_points
        maps = F.pad(self.maps, (0, 0, 0, 0, 0, more))
        return replace(self, maps=maps, boxes=F.pad(self.boxes, (0, 0, 0, more)))


__all__ = ["BoxMasks", "DenseMasks", "LazyMasks", "ProposedMasks"]
