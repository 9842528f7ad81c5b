"""The fit, an alternative to the vote: the box whose training target is most similar to the predicted scores.

Pure functions over tensors on the canvas.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.boxes import box_iou_matrix
from ..geometry.centerness import centerness_at
from ..geometry.points import grid_points
from ..geometry.proposals import Proposals
from ..geometry.suppression import best_points
from .groups import Group, best_agreeing
from .ranking import top_k_points, weigh_quality
from .settings import SelectionSettings

MOST_FITTED = 256
"""Boxes whose fit is computed in a graph; those that survive a detector's own suppression are fewer."""


def fit_boxes(
    values: Tensor,
    logits: Tensor,
    grid: tuple[int, int],
    proposals: Proposals,
    image_index: Tensor,
    settings: SelectionSettings,
    points: Tensor | None = None,
    mask: Tensor | None = None,
) -> Group:
    """
    Select the box whose center-ness (equations 1 and 2) is most similar to the map of scores.

    A box is rated by the cosine similarity of its center-ness and the probabilities at all points, times its quality
    to the power of `quality_power`. A box around half of an object loses to the box around all of it, even if both
    score high at their centres.

    Args:
        values: (E, N) of `rank_proposals`; -inf excludes a proposal.
        logits: (E, rows · cols) of the model, on `grid`.
        grid: (rows, cols) of the model.
        proposals: of I canvases, with boxes.
        image_index: (E,) int64, the picture of each expression.
        settings: `quality_power`, `ranking`, and `top_k`, the number of boxes in the group.
        points: (I, rows · cols, 2) XY in canvas pixels, positions of the scored points; None = centres of the cells.
        mask: bool (I, rows · cols), the scored points that count; None = all.

    Returns:
        The best `top_k` boxes of every expression, the best one as the answer.

    Raises:
        ValueError: the grid is not square, or there are no boxes.
    """
    if grid[0] != grid[1]:
        raise ValueError(f'choose="fit" needs a square grid, but the scores form {grid[0]}×{grid[1]}: use "vote".')
    stride = proposals.canvas[0] // grid[0]
    boxes = proposals.require_boxes()
    probabilities = logits.sigmoid()
    if mask is not None:
        probabilities = probabilities * mask[image_index]
    probabilities = F.normalize(probabilities, dim=1)
    quality = weigh_quality(proposals, settings)
    proposed_in = proposals.rows_of(image_index)
    centers = grid_points(*grid, stride, device=values.device)[None] if points is None else points
    places = torch.zeros_like(image_index) if points is None else image_index
    fit = _fits_of_the_best if torch.compiler.is_compiling() else _fits_by_picture
    fits = fit(values, probabilities, (centers, places), (boxes, quality, proposed_in), stride)
    fits = fits.masked_fill(values == -torch.inf, -torch.inf)
    best, chosen = top_k_points(fits, settings.top_k)
    boxes = boxes[proposed_in]
    listed_boxes = boxes.gather(1, chosen[..., None].expand(-1, -1, 4))
    overlap = box_iou_matrix(listed_boxes[:, :1], boxes)[:, 0]
    return Group(
        values=best,
        points=chosen,
        winner=torch.zeros(values.shape[0], dtype=torch.int64, device=values.device),
        score=best_agreeing(values, overlap, chosen[:, 0]),
        boxes=listed_boxes,
        ranking=values,
        fits=fits,
    )


def _fits_by_picture(
    values: Tensor,
    probabilities: Tensor,
    scored: tuple[Tensor, Tensor],
    proposed: tuple[Tensor, Tensor | None, Tensor],
    stride: int,
) -> Tensor:
    """How well each box fits each expression, (E, N); boxes of a picture are described once."""
    (centers, places), (boxes, quality, proposed_in) = scored, proposed
    fits = torch.full_like(values, -torch.inf)
    for row in proposed_in.unique().tolist():
        asked = (proposed_in == row).nonzero()
        # Boxes that any expression of the picture may select: an expression with NaN scores alone lists none.
        listed = (values[asked[:, 0]] > -torch.inf).any(dim=0).nonzero().squeeze(1)
        targets = centerness_at(centers[places[asked[0, 0]]], boxes[row, listed], stride)
        fit = probabilities[asked[:, 0]] @ F.normalize(targets, dim=1).T
        if quality is not None:
            fit = fit * quality[row, listed]
        fits[asked, listed] = fit
    return fits


def _fits_of_the_best(
    values: Tensor,
    probabilities: Tensor,
    scored: tuple[Tensor, Tensor],
    proposed: tuple[Tensor, Tensor | None, Tensor],
    stride: int,
) -> Tensor:
    """The same of a fixed number of boxes, those of the best values; the others do not fit at all."""
    (centers, places), (boxes, quality, proposed_in) = scored, proposed
    best = best_points(values, MOST_FITTED)
    listed = proposed_in[:, None].expand_as(best), best
    each = torch.arange(values.shape[0], device=values.device)[:, None].expand_as(best).flatten()
    targets = centerness_at(centers[places[each]], boxes[listed].flatten(0, 1), stride)
    fit = (F.normalize(targets, dim=1).unflatten(0, best.shape) @ probabilities[..., None])[..., 0]
    if quality is not None:
        fit = fit * quality[listed]
    return torch.full_like(values, -torch.inf).scatter(1, best, fit)


__all__ = ["MOST_FITTED", "fit_boxes"]
