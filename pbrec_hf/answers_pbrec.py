"""From scores of points and proposals of a detector to one answer per expression: rank, take the best k, IoU-NMS.

The model's probabilities are brought to the detector's grids, weighed by its confidence, and the proposal that most
of the best k agree on is the answer (equation 7). Works on the canvas; knows nothing of pictures or words.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .points_pbrec import points_in_picture, resample_grid
from .proposals_pbrec import Proposals
from .selection_pbrec import box_iou_matrix, mask_iou_matrix, rank_scores, select_by_overlap, top_k_points

RANKINGS = ("score_times_quality", "score")
INTERPOLATED = ("probabilities", "logits")
_AGREES = 0.5  # overlap from which a proposal speaks for the same object as the answer


@dataclass
class SelectionSettings:
    """
    How proposals are ranked and how many of them vote.

    Args:
        top_k: proposals that vote (12 in the paper).
        ranking: "score_times_quality" (σ(logit) × the detector's quality) or "score" (σ(logit) alone).
        quality_power: exponent of the quality.
        candidates_only: rank only what the detector's own NMS kept, in images where it kept anything.
        level_weights: one factor per grid of the detector, or None.
        masks_follow_boxes: whether an answer's mask is the one proposed at the point of its box, so that both show the
            same object; for detectors on the same points. Otherwise masks are ranked and vote by themselves.
        interpolate: what is brought to the detector's grids, "probabilities" (as in the paper) or "logits".

    Raises:
        ValueError: naming field, value and legal set.
    """

    top_k: int = 12
    ranking: str = "score_times_quality"
    quality_power: float = 1.0
    candidates_only: bool = False
    level_weights: list[float] | None = None
    interpolate: str = "probabilities"
    masks_follow_boxes: bool = False

    def __post_init__(self):
        if not isinstance(self.top_k, int) or self.top_k < 1:
            raise ValueError(f"top_k={self.top_k!r}: give a positive integer such as 12.")
        if self.ranking not in RANKINGS:
            raise ValueError(f"ranking={self.ranking!r}: give one of {', '.join(map(repr, RANKINGS))}.")
        if self.interpolate not in INTERPOLATED:
            raise ValueError(f"interpolate={self.interpolate!r}: give one of {', '.join(map(repr, INTERPOLATED))}.")
        if not 0 <= self.quality_power <= 10:
            raise ValueError(f"quality_power={self.quality_power!r}: give a number from 0 to 10.")
        if self.level_weights is not None and not all(weight >= 0 for weight in self.level_weights):
            raise ValueError(f"level_weights={self.level_weights!r}: give a number ≥ 0 for each grid of the detector.")


@dataclass
class Group:
    """
    The best k proposals of each expression and the one they agree on.

    Attributes:
        values: (E, k) what they were ranked by, descending; -inf = there was none.
        points: (E, k) their indices in the detector's proposals.
        winner: (E,) position in the group of the answer.
        score: (E,) the best value among the proposals that agree with the answer; -inf = no proposal at all.
        boxes: (E, k, 4) XYXY in canvas pixels, or None.
        masks: (E, k, h, w) probabilities over the canvas, or None.
    """

    values: Tensor
    points: Tensor
    winner: Tensor
    score: Tensor
    boxes: Tensor | None = None
    masks: Tensor | None = None


def rank_proposals(
    logits: Tensor,
    grid: tuple[int, int],
    proposals: Proposals,
    image_index: Tensor,
    letterbox: Tensor,
    settings: SelectionSettings,
) -> Tensor:
    """
    Value of every proposal for every expression.

    Args:
        logits: (E, rows · cols) of the model, on `grid`.
        proposals: of I images, N points each.
        image_index: (E,) image of each expression.
        letterbox: (I, 6) of the images.

    Returns:
        (E, N); -inf where a point lies in the padding or, with `candidates_only`, was not kept by the detector.
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
                "give one for each."
            )
        levels = [level * weight for level, weight in zip(levels, settings.level_weights, strict=True)]
    valid = torch.cat([points_in_picture(letterbox, *to, proposals.canvas) for to in proposals.grids], dim=1)
    if settings.candidates_only and proposals.candidates is not None:
        kept = valid & proposals.candidates
        valid = torch.where(kept.any(dim=1, keepdim=True), kept, valid)
    quality = None
    if settings.ranking == "score_times_quality" and proposals.quality is not None:
        quality = proposals.quality[image_index] ** settings.quality_power
    return rank_scores(torch.cat(levels, dim=1), quality, valid[image_index])


def choose_boxes(values: Tensor, proposals: Proposals, image_index: Tensor, top_k: int) -> Group:
    """The group and the answer of each expression among the detector's boxes; `values` as of `rank_proposals`."""
    best, points = top_k_points(values, top_k)
    boxes = proposals.boxes[image_index[:, None], points]
    return _vote(best, points, box_iou_matrix(boxes), boxes=boxes)


def choose_masks(values: Tensor, proposals: Proposals, image_index: Tensor, top_k: int) -> Group:
    """The same among the detector's masks: only those of the best k points are computed; binary masks vote."""
    best, points = top_k_points(values, top_k)
    masks = proposals.masks.at(image_index[:, None].expand_as(points).flatten(), points.flatten())
    masks = masks.view(*points.shape, *masks.shape[1:])
    return _vote(best, points, mask_iou_matrix(masks > 0.5), masks=masks)


def masks_at_boxes(group: Group, proposals: Proposals, image_index: Tensor) -> Group:
    """The masks proposed at the points of the boxes that were chosen, for detectors on the same points."""
    row = torch.arange(len(group.winner), device=group.winner.device)
    points = group.points[row, group.winner][:, None]
    masks = proposals.masks.at(image_index, points[:, 0])[:, None]
    values = group.values[row, group.winner][:, None]
    return Group(values=values, points=points, winner=torch.zeros_like(group.winner), score=group.score, masks=masks)


def _vote(values: Tensor, points: Tensor, iou: Tensor, **kind: Tensor) -> Group:
    valid = values > -torch.inf
    winner = select_by_overlap(iou, valid)
    row = torch.arange(len(values), device=values.device)
    agrees = iou[row, winner] >= _AGREES
    agrees[row, winner] = True
    score = values.masked_fill(~agrees, -torch.inf).amax(dim=1)
    return Group(values=values, points=points, winner=winner, score=score, **kind)
