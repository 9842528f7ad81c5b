"""Ranking of proposals: the value of each proposal for each expression, and the best k.

The model's probabilities are resampled to the detector's grids and weighted by its confidence. Pure functions over
tensors, batched over expressions; ties go to the lower index, on every device.
"""

import torch
from torch import Tensor

from ..geometry.letterbox import points_in_picture
from ..geometry.points import resample_grid
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
        raise ValueError("There are no proposals to choose from: use a detector whose grids have points.")
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
    if settings.interpolate == "probabilities":
        probabilities = logits.sigmoid()
        levels = [resample_grid(probabilities, grid, to) for to in proposals.grids]
    else:
        levels = [resample_grid(logits, grid, to).sigmoid() for to in proposals.grids]
    if settings.level_weights is not None:
        if len(settings.level_weights) != len(levels):
            raise ValueError(
                f"level_weights has {len(settings.level_weights)} entries for a detector with {len(levels)} grids: "
                "give one entry per grid."
            )
        levels = [level * weight for level, weight in zip(levels, settings.level_weights, strict=True)]
    valid = torch.cat([points_in_picture(letterbox, to, proposals.canvas) for to in proposals.grids], dim=1)
    if settings.candidates_only and proposals.candidates is not None:
        kept = valid & proposals.candidates
        valid = torch.where(kept.any(dim=1, keepdim=True), kept, valid)
    weight = weigh_quality(proposals, settings)
    quality = None if weight is None else weight[image_index]
    return rank_scores(torch.cat(levels, dim=1), quality, valid[image_index])


def weigh_quality(proposals: Proposals, settings: SelectionSettings) -> Tensor | None:
    """Weights (I, N) from the detector's quality, or None if quality is not used or not available."""
    if settings.ranking != "score_times_quality" or proposals.quality is None:
        return None
    # Rounding may lead a quality out of [0, 1], where a power is no number; `rank_and_choose` refuses more than that.
    return proposals.quality.clamp(0, 1) ** settings.quality_power


__all__ = ["rank_proposals", "rank_scores", "top_k_points", "weigh_quality"]
