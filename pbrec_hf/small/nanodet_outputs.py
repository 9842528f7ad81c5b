"""What NanoDet predicts, and how predictions of one canvas at several sizes, or mirrored, become one.

Pure functions over the outputs. Coordinates are canvas pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.utils import ModelOutput


@dataclass
class NanoDetOutput(ModelOutput):
    """
    Predictions at the N points of the grids of every scale, scale after scale.

    Attributes:
        class_logits: (I, N, classes).
        scores: float32 (I, N, classes), class probabilities, averaged with those of the mirror image if `mirrored`.
        distances: (I, N, 4) from the point to left, top, right, bottom, in canvas pixels; negative if outputs were
            averaged and the point is outside of its box.
        distance_logits: (I, N, 4, num_bins), the distributions whose means are the distances; None if outputs were
            averaged or several scales concatenated.
        points: (N, 2) XY in canvas pixels.
        grids: (rows, cols) of every grid.
        feature_maps: maps of the trunk at the first scale, (I, C, rows, cols) for its strides.
        picture: (I, 3, H, W), the canvases at the first scale; None if they are that large as they are given.
    """

    # `forward` fills every field but `distance_logits`; ModelOutput requires the defaults.
    class_logits: Tensor = None  # type: ignore[assignment]
    scores: Tensor = None  # type: ignore[assignment]
    distances: Tensor = None  # type: ignore[assignment]
    distance_logits: Tensor | None = None
    points: Tensor = None  # type: ignore[assignment]
    grids: tuple[tuple[int, int], ...] = None  # type: ignore[assignment]
    feature_maps: tuple[Tensor, ...] = None  # type: ignore[assignment]
    picture: Tensor | None = None


def flip_output(output: NanoDetOutput, width: int) -> NanoDetOutput:
    """
    The output for a canvas of `width` pixels, from that for its mirror image.

    Flips grids and maps, points, and left and right distances.
    """

    def flip(values: Tensor) -> Tensor:
        levels = values.split([rows * cols for rows, cols in output.grids], dim=1)
        levels = [
            level.unflatten(1, grid).flip(2).flatten(1, 2) for level, grid in zip(levels, output.grids, strict=True)
        ]
        return torch.cat(levels, dim=1)

    x, y = flip(output.points[None])[0].unbind(-1)
    return NanoDetOutput(
        class_logits=flip(output.class_logits),
        scores=flip(output.scores),
        distances=flip(output.distances)[:, :, [2, 1, 0, 3]],
        points=torch.stack((width - x, y), dim=-1),
        grids=output.grids,
        feature_maps=tuple(features.flip(-1) for features in output.feature_maps),
    )


def average_outputs(one: NanoDetOutput, other: NanoDetOutput) -> NanoDetOutput:
    """
    Average two outputs for the same canvas and grids.

    Class probabilities and features are averaged equally, and the sides of boxes in proportion to the probability of
    each output's best class. If the points of both differ, those of the result lie in the middle: the mirror images of
    top-left corners are top-right corners, so both say something of the cell between.
    """
    points = (one.points + other.points) / 2
    best = torch.stack([output.scores.amax(-1, keepdim=True) for output in (one, other)])
    first, second = (best / best.sum(0).clamp(min=torch.finfo(best.dtype).tiny)).to(one.distances.dtype)
    scores = (one.scores + other.scores) / 2
    distances = [
        output.distances + _shift(output.points, points).to(output.distances.dtype) for output in (one, other)
    ]
    return NanoDetOutput(
        class_logits=_logits(scores).to(one.class_logits.dtype),
        scores=scores,
        distances=first * distances[0] + second * distances[1],
        points=points,
        grids=one.grids,
        feature_maps=tuple((a + b) / 2 for a, b in zip(one.feature_maps, other.feature_maps, strict=True)),
    )


def _logits(probabilities: Tensor) -> Tensor:
    """Logits of probabilities, bounded; `torch.logit` does not run in vectors."""
    eps = torch.finfo(probabilities.dtype).eps
    bounded = probabilities.clamp(eps, 1 - eps)
    return (bounded / (1 - bounded)).log()


def _shift(points: Tensor, to: Tensor) -> Tensor:
    """What distances (N, 4) grow by if they are measured from other points (N, 2)."""
    moved = to - points
    return torch.cat((moved, -moved), dim=-1)


def concatenate_scales(outputs: Sequence[NanoDetOutput]) -> NanoDetOutput:
    """Concatenate the points of the outputs at several scales; `feature_maps` and `picture` are those of the first."""
    if len(outputs) == 1:
        return outputs[0]
    return NanoDetOutput(
        class_logits=torch.cat([output.class_logits for output in outputs], dim=1),
        scores=torch.cat([output.scores for output in outputs], dim=1),
        distances=torch.cat([output.distances for output in outputs], dim=1),
        points=torch.cat([output.points for output in outputs]),
        grids=tuple(grid for output in outputs for grid in output.grids),
        feature_maps=outputs[0].feature_maps,
        picture=outputs[0].picture,
    )


__all__ = ["NanoDetOutput", "average_outputs", "concatenate_scales", "flip_output"]
