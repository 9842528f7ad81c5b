"""The answers of each expression: the one that the paper selects, or as many as there are, or none.

With `referents="any"` the selection is repeated (`rounds.py`). Its first answer is the paper's, which is therefore the
only one where nothing else counts. Works on the canvas; knows nothing of original pixels or words.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from ..geometry.proposals import Proposals
from ..geometry.requested_masks import are_requested
from .calibration import Calibration, Limits
from .choose import PROPOSALS, pictures_of, same_points
from .follow import cropped_masks, masks_in_boxes
from .groups import Group, best_agreeing
from .overlaps import BoxOverlaps, MaskOverlaps, Overlaps
from .rounds import repeated
from .settings import SelectionSettings

# The best proposals of each expression, which alone are considered; masks are costly.
CANDIDATES = {"boxes": 1000, "masks": 100}
NO_LIMITS = Limits(0.0)


@dataclass
class Referents:
    """
    A answers of E expressions on the canvas, one after the other.

    Attributes:
        expressions: E.
        expression: int64 (A,), the expression of each answer, ascending.
        scores: (A,), descending within an expression; probabilities if there is a calibration, otherwise raw.
        raw_scores: (A,), probability × quality; -inf = no proposal.
        exists: (E,), the probability that there is a referent; None without a calibration.
        boxes: (A, 4) XYXY in canvas pixels, or None.
        masks: (A, h, w) probabilities over the canvas, or None.
        mask_source: "detector", or "prompt" for masks that were made of the boxes.
    """

    expressions: int
    expression: Tensor
    scores: Tensor
    raw_scores: Tensor
    exists: Tensor | None
    boxes: Tensor | None = None
    masks: Tensor | None = None
    mask_source: str = "detector"

    def cpu(self) -> "Referents":
        """The same with every tensor on the CPU."""
        moved: dict[str, Any] = {
            field.name: value.cpu() for field in fields(self) if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)


def only_referent(
    groups: Mapping[str, Group], limits: Limits = NO_LIMITS, calibration: Calibration | None = None
) -> Referents:
    """
    The one answer of each expression, if it reaches the limits.

    Args:
        groups: the output of `rank_and_choose`.
        limits: what answers must reach.
        calibration: of the processor.
    """
    raw = groups["boxes" if "boxes" in groups else "masks"].score
    scores = raw if calibration is None else calibration.one(raw)
    exists = None if calibration is None else calibration.exists(raw)
    counts = (raw > -torch.inf) & (scores >= limits.score)
    if exists is not None:
        counts &= exists >= limits.exists
    (expression,) = counts.nonzero(as_tuple=True)
    chosen: dict[str, Any] = {kind: group.chosen(kind) for kind, group in groups.items()}
    if len(expression) < len(raw):  # otherwise no mask is copied
        chosen = {kind: values[expression.to(values.device)] for kind, values in chosen.items()}
    return Referents(
        len(raw),
        expression,
        scores[expression],
        raw[expression],
        exists,
        **chosen,
        mask_source=groups["masks"].source if "masks" in groups else "detector",
    )


def any_referents(
    groups: Mapping[str, Group],
    inputs: Mapping[str, Any],
    settings: SelectionSettings,
    limits: Limits = NO_LIMITS,
    calibration: Calibration | None = None,
    make_masks: bool = True,
) -> Referents:
    """
    All answers of each expression that reach the limits, and the settings' share of the best one's score.

    An answer's mask is selected as `rank_and_choose` does: it follows the box, or is made of it. Masks that are ranked
    apart from boxes are matched with them (`masks_in_boxes`), but for an only answer, which has the paper's mask.

    Args:
        groups: the output of `rank_and_choose`; masks that are made on request are not read.
        inputs: the inputs it was computed from.
        settings: those it was computed with; its groups' size is the number of proposals that vote.
        limits: what answers must reach.
        calibration: of the processor.
        make_masks: whether masks are wanted beside boxes.
    """
    kind = "boxes" if "boxes" in groups else "masks"
    group, proposals = groups[kind], inputs[PROPOSALS[kind]]
    score_of: Callable[[Tensor], Tensor] = (lambda raw: raw) if calibration is None else calibration.any
    rows = proposals.rows_of(pictures_of(inputs, len(group.score)).to(group.score.device))
    first, points, overlaps = _candidates(kind, group, proposals, rows)
    assert group.ranking is not None, "boxes are ranked, and masks where there are no boxes"
    values, score = group.ranking.gather(1, points), group.score
    power, weighed = settings.several_quality_power, settings.ranking == "score_times_quality"
    if power is not None and weighed and proposals.quality is not None:
        quality = proposals.quality.clamp(0, 1)[rows[:, None], points]
        values = values * quality ** (power - settings.quality_power)
        score = best_agreeing(values, overlaps.of(first)[0], first)
    rounds = repeated(
        first,
        score,
        values,
        overlaps,
        group.values.shape[1],
        settings.max_referents,
        lambda raw: score_of(raw) >= limits.score,
        None if group.fits is None else group.fits.gather(1, points),
        (settings.part_covered, settings.part_value),
    )
    counts = (rounds.score > -torch.inf) & (score_of(rounds.score) >= limits.score)
    counts &= rounds.score >= settings.least_share * rounds.score.amax(dim=1, keepdim=True)
    exists = None if calibration is None else calibration.exists(group.score)
    if exists is not None:
        counts &= (exists >= limits.exists)[:, None]
    raw, order = rounds.score.masked_fill(~counts, -torch.inf).sort(dim=1, descending=True, stable=True)
    expression, place = counts.gather(1, order).nonzero(as_tuple=True)
    column = order[expression, place]
    raw = raw[expression, place]
    found = Referents(
        len(group.score),
        expression,
        score_of(raw),
        raw,
        exists,
    )
    points = points[expression, rounds.chosen[expression, column]]
    if kind == "masks":
        found.masks = proposals.require_masks().at(rows[expression], points)
        # Of the first round as it is there: the same product in another batch may be rounded otherwise.
        found.masks[column == 0] = group.chosen("masks")[expression[column == 0]]
        return found
    found.boxes = proposals.require_boxes()[rows[expression], points]
    if make_masks and inputs.get(PROPOSALS["masks"]) is not None:
        alone = (column == 0) & (counts.sum(dim=1) == 1)[expression]
        add_masks(found, points, alone, groups, inputs, settings)
    return found


def _candidates(kind: str, group: Group, proposals: Proposals, rows: Tensor) -> tuple[Tensor, Tensor, Overlaps]:
    """Position (E,) of the first answer among the candidates, their points (E, n), best first, and their overlaps."""
    assert group.ranking is not None
    most = max(CANDIDATES[kind], group.values.shape[1])
    points = group.ranking.sort(dim=1, descending=True, stable=True)[1][:, :most]
    answer = group.chosen("points")[:, None]
    # The best fit may be no candidate: it takes the last place.
    points[:, -1:] = torch.where((points == answer).any(dim=1, keepdim=True), points[:, -1:], answer)
    first = (points == answer).int().argmax(dim=1)
    if kind == "boxes":
        return first, points, BoxOverlaps(proposals.require_boxes()[rows[:, None], points])
    return first, points, MaskOverlaps.measured(proposals.require_masks(), rows, points)


def add_masks(
    found: Referents,
    points: Tensor,
    alone: Tensor,
    groups: Mapping[str, Group],
    inputs: Mapping[str, Any],
    settings: SelectionSettings,
) -> None:
    """
    Find masks for boxes, and set `masks` and `mask_source`.

    Args:
        found: with boxes.
        points: (A,) int64, of the box proposals.
        alone: bool (A,), the answers that are the only ones of their expressions, and the paper's: their mask is the
            group's.
        groups: the output of `rank_and_choose`; of masks that are made on request or follow the boxes, none is read.
        inputs: the inputs it was computed from.
        settings: those it was computed with.
    """
    proposals, boxes = inputs[PROPOSALS["masks"]], found.boxes
    assert boxes is not None
    device = proposals.device
    boxes, points, expression, alone = (part.to(device) for part in (boxes, points, found.expression, alone))
    pictures = pictures_of(inputs, len(groups["boxes"].score)).to(device)
    if are_requested(proposals):
        found.mask_source = "prompt"
        if len(boxes):
            found.masks = proposals.of_boxes(pictures[expression], boxes)
        else:
            found.masks = boxes.new_zeros(0, *proposals.canvas)
        return
    rows = proposals.rows_of(pictures)[expression]
    if settings.masks_follow_boxes:
        together = same_points(inputs[PROPOSALS["boxes"]], proposals)
        found.masks = cropped_masks(boxes, points, proposals, rows, together)[1]
        return
    group = groups["masks"]
    assert group.ranking is not None, "masks that follow no boxes are ranked"
    found.masks = group.chosen("masks")[expression]
    if not alone.all():
        some = ~alone
        values = group.ranking[expression[some]]
        found.masks[some] = masks_in_boxes(boxes[some], values, proposals, rows[some], group.values.shape[1])


__all__ = ["CANDIDATES", "Referents", "add_masks", "any_referents", "only_referent"]
