"""A NanoDet learns in one look what a frozen one sees in two: the picture and its mirror image.

The teacher's predictions for both are averaged point by point, and the student is drawn to the average. No annotation
is needed, so any photograph will do.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...small.nanodet import NanoDetDetector
from ...small.nanodet_outputs import NanoDetOutput
from .box_losses import quality_focal_loss

DISTANCES_WEIGHT = 0.5


@dataclass
class Lesson:
    """
    What a teacher says at the N points of all grids.

    Attributes:
        scores: (I, N, classes), class probabilities.
        distances: (I, N, 4, bins), distributions of the distances to left, top, right, bottom.
    """

    scores: Tensor
    distances: Tensor


@torch.no_grad()
def lesson_of(teacher: NanoDetDetector, pixel_values: Tensor) -> Lesson:
    """
    The mean of the teacher's predictions for canvases and for their mirror images, at the points of the former.

    A point on the left edge that has no mirror image on a grid of corners keeps what is said of the canvas alone.

    Args:
        teacher: frozen, of one scale and not `mirrored`.
        pixel_values: (I, 3, H, W) RGB, ImageNet-normalised.

    Raises:
        ValueError: the width is no multiple of the coarsest stride, so that mirrored points are no points.
    """
    strides = teacher.config.trunk.strides
    if pixel_values.shape[-1] % max(strides):
        raise ValueError(
            f"A canvas {pixel_values.shape[-1]} pixels wide has no mirrored points at stride {max(strides)}: give a "
            f"multiple of {max(strides)}."
        )
    output, points = teacher(pixel_values), teacher.config.points
    plain, mirrored = _said(output), _said(teacher(pixel_values.flip(-1)))
    turned = Lesson(
        _mirror(mirrored.scores, output.grids, points),
        _mirror(mirrored.distances[:, :, [2, 1, 0, 3]], output.grids, points),
    )
    both = _mirror(torch.ones_like(plain.scores[..., :1]), output.grids, points) > 0
    # The sides of a box follow whoever is surer of it.
    sure, turned_sure = (lesson.scores.amax(-1)[..., None, None] for lesson in (plain, turned))
    share = (sure / (sure + turned_sure).clamp(min=torch.finfo(sure.dtype).tiny)).where(both[..., None], 1)
    return Lesson(
        torch.where(both, (plain.scores + turned.scores) / 2, plain.scores),
        share * plain.distances + (1 - share) * turned.distances,
    )


def distillation_losses(output: NanoDetOutput, lesson: Lesson) -> dict[str, Tensor]:
    """
    How far a student is from its teacher.

    Args:
        output: of the student, with its `distance_logits`.
        lesson: of the teacher for the same canvases.

    Returns:
        {"distil_scores", "distil_distances"}: quality focal loss of the class probabilities, and Kullback-Leibler
        divergence of the distances, weighted by the teacher's best probability; both per object that it sees.
    """
    assert output.distance_logits is not None
    weight = lesson.scores.amax(-1)
    total = weight.sum().clamp(min=1.0)
    divergence = F.kl_div(output.distance_logits.log_softmax(-1), lesson.distances, reduction="none").sum((-1, -2))
    return {
        "distil_scores": quality_focal_loss(output.class_logits, lesson.scores).sum() / total,
        "distil_distances": DISTANCES_WEIGHT * (divergence * weight).sum() / total,
    }


def _said(output: NanoDetOutput) -> Lesson:
    assert output.distance_logits is not None
    return Lesson(output.scores, output.distance_logits.float().softmax(-1))


def _mirror(values: Tensor, grids: tuple[tuple[int, int], ...], points: str) -> Tensor:
    """Values (I, N, …) of mirrored canvases at the points of the canvases; 0 where a point has no mirror image."""
    levels = values.split([rows * cols for rows, cols in grids], dim=1)
    turned = []
    for level, grid in zip(levels, grids, strict=True):
        flipped = level.unflatten(1, grid).flip(2)
        if points == "corner":  # the corner x = c · stride lies at W - x, which is column cols - c
            flipped = torch.cat((torch.zeros_like(flipped[:, :, :1]), flipped[:, :, :-1]), dim=2)
        turned.append(flipped.flatten(1, 2))
    return torch.cat(turned, dim=1)


__all__ = ["Lesson", "distillation_losses", "lesson_of"]
