"""Ranking of proposals: the value of each proposal for each expression, and the best k.

The model's probabilities are read where the detector's proposals stand, and weighted by its confidence. Pure functions
over tensors, batched over expressions; ties go to the lower index, on every device.
"""

import torch
from torch import Tensor

from ..geometry.letterbox import places_in_picture, points_in_picture
from ..geometry.points import resample_grid, sample_grid
from ..geometry.proposals import Proposals
from .settings import SelectionSettings


def rank_scores(probabilities: Tensor, quality: Tensor | None, valid: Tensor | None) -> Tensor:
    """
    Values that proposals are ranked by: probability × quality, or probability alone.

    Args:
        probabilities: (E, N) in [0, 1].
        quality: (E, N) in [0, 1]; None = probability alone.
        valid: bool (E, N); None = all.

    Returns:
        (E, N); -inf where not valid or NaN.
    """
    values = probabilities if quality is None else probabilities * quality
    unusable = values.isnan() if valid is None else values.isnan() | ~valid
    return values.masked_fill(unusable, -torch.inf)


def top_k_points(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """
    The k largest values of each row.

    Args:
        values: (E, N); -inf = no proposal.
        k: at least 1.

    Returns:
        Values, descending, and their indices (int64), (E, min(k, N)) each. A row with fewer than k valid entries ends
        in entries of value -inf.

    Raises:
        ValueError: k is not positive, or there are no proposals.
    """
    if k < 1:
        raise ValueError(f"top_k={k}: give a positive integer such as 12.")
    if values.shape[-1] == 0:
        raise ValueError("There are no proposals to choose from: use a detector that proposes at one point or more.")
    if torch.compiler.is_compiling():
        return values.topk(min(k, values.shape[-1]))
    # The order of ties is undefined in topk, but not in a stable sort.
    values, index = values.sort(dim=-1, descending=True, stable=True)
    return values[..., :k], index[..., :k]


def rank_proposals(
    logits: Tensor,
    grid: tuple[int, int],
    proposals: Proposals,
    image_index: Tensor,
    letterbox: Tensor,
    settings: SelectionSettings,
) -> Tensor:
    """
    The value of every proposal for every expression.

    Args:
        logits: (E, rows · cols) of the model, on `grid`.
        grid: (rows, cols) of the model.
        proposals: of I canvases, N points each.
        image_index: (E,) int64, the picture of each expression.
        letterbox: (I, 6) int64, of the pictures.
        settings: how to rank.

    Returns:
        (E, N); -inf where a point is in the padding or, with `candidates_only`, was suppressed by the detector.

    Raises:
        ValueError: `level_weights` does not have one entry per grid.
    """
    rows = proposals.rows_of(image_index)
    if settings.interpolate == "probabilities":
        values = _read(logits.sigmoid(), grid, proposals, rows)
    else:
        values = [level.sigmoid() for level in _read(logits, grid, proposals, rows)]
    if settings.level_weights is not None:
        if len(settings.level_weights) != len(proposals.grids):
            raise ValueError(
                f"level_weights has {len(settings.level_weights)} entries for a detector with "
                f"{len(proposals.grids)} grids: give one entry per grid."
            )
        values = [level * weight for level, weight in zip(values, settings.level_weights, strict=True)]
    valid = proposed_in_picture(proposals, letterbox, image_index)
    if settings.candidates_only and proposals.candidates is not None:
        kept = valid & proposals.candidates[rows]
        valid = kept | (valid & ~kept.any(dim=1, keepdim=True))
    weight = weigh_quality(proposals, settings)
    quality = None if weight is None else weight[rows]
    return rank_scores(torch.cat(values, dim=1), quality, valid)


def proposed_in_picture(proposals: Proposals, letterbox: Tensor, image_index: Tensor) -> Tensor:
    """
    The proposals of each expression that exist and stand in the picture: bool (E, N).

    Args:
        proposals: see `rank_proposals`.
        letterbox: (I, 6) int64, of the pictures.
        image_index: (E,) int64, the picture of each expression.
    """
    rows = proposals.rows_of(image_index)
    if proposals.points is None:
        inside = [points_in_picture(letterbox, to, proposals.canvas) for to in proposals.grids]
        valid = torch.cat(inside, dim=1)[image_index]
    else:
        valid = places_in_picture(letterbox[image_index], proposals.points[rows])
    return valid if proposals.valid is None else valid & proposals.valid[rows]


def _read(values: Tensor, grid: tuple[int, int], proposals: Proposals, rows: Tensor) -> list[Tensor]:
    """The map where the proposals stand: (E, points) for each of their grids, or for all points of their own."""
    if proposals.points is not None:
        return [sample_grid(values, grid, proposals.points[rows], proposals.canvas)]
    return [resample_grid(values, grid, to) for to in proposals.grids]


def weigh_quality(proposals: Proposals, settings: SelectionSettings) -> Tensor | None:
    """Weights (I, N) from the detector's quality, or None if quality is not used or not available."""
    if settings.ranking != "score_times_quality" or proposals.quality is None:
        return None
    # Rounding may lead a quality out of [0, 1], where a power is no number; `rank_and_choose` refuses more than that.
    quality = proposals.quality
    if not torch.compiler.is_compiling():  # exporters to ONNX lose the limits of the second clamp of an input
        quality = quality.clamp(0, 1)
    return quality**settings.quality_power


__all__ = ["proposed_in_picture", "rank_proposals", "rank_scores", "top_k_points", "weigh_quality"]
