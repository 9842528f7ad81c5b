"""From scores of points and proposals of a detector to one answer per expression.

The model's probabilities are brought to the detector's grids and weighed by its confidence. The proposal that most of
the best k agree on is the answer (equation 7); or, by choice, the box that would have been the best target for the
scores as they are. Works on the canvas; knows nothing of pictures or words.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .points_pbrec import grid_points, points_in_picture, resample_grid
from .proposals_pbrec import Proposals
from .selection_pbrec import box_iou_matrix, mask_iou_matrix, rank_scores, select_by_overlap, top_k_points
from .soft_targets_pbrec import centerness_at

RANKINGS = ("score_times_quality", "score")
INTERPOLATED = ("probabilities", "logits")
CHOICES = ("vote", "fit")
_AGREES = 0.5  # overlap from which a proposal speaks for the same object as the answer


@dataclass
class SelectionSettings:
    """
    How proposals are ranked and how many of them vote.

    Args:
        choose: "vote" (the paper: the proposal that the best k overlap most) or "fit" (boxes only: the one whose own
            center-ness is most like the map of scores; see `fit_boxes`).
        top_k: proposals that vote (12 in the paper).
        ranking: "score_times_quality" (σ(logit) × the detector's quality) or "score" (σ(logit) alone).
        quality_power: exponent of the quality.
        candidates_only: rank only what the detector's own NMS kept, in images where it kept anything.
        level_weights: one factor per grid of the detector, or None.
        masks_follow_boxes: whether an answer's mask is the one proposed at the point of its box, cut to it, so that
            both show the same object; of a detector on other points, the one with the most similar box. Otherwise
            masks are ranked and vote by themselves.
        mask_threshold: the probability above which a pixel belongs to an answer's mask.
        interpolate: what is brought to the detector's grids, "probabilities" (as in the paper) or "logits".

    Raises:
        ValueError: naming field, value and legal set.
    """

    choose: str = "vote"
    top_k: int = 12
    ranking: str = "score_times_quality"
    quality_power: float = 1.0
    candidates_only: bool = False
    level_weights: list[float] | None = None
    interpolate: str = "probabilities"
    masks_follow_boxes: bool = False
    mask_threshold: float = 0.5

    def __post_init__(self):
        if self.choose not in CHOICES:
            raise ValueError(f"choose={self.choose!r}: give one of {', '.join(map(repr, CHOICES))}.")
        if not isinstance(self.top_k, int) or self.top_k < 1:
            raise ValueError(f"top_k={self.top_k!r}: give a positive integer such as 12.")
        if self.ranking not in RANKINGS:
            raise ValueError(f"ranking={self.ranking!r}: give one of {', '.join(map(repr, RANKINGS))}.")
        if self.interpolate not in INTERPOLATED:
            raise ValueError(f"interpolate={self.interpolate!r}: give one of {', '.join(map(repr, INTERPOLATED))}.")
        if not 0 <= self.quality_power <= 10:
            raise ValueError(f"quality_power={self.quality_power!r}: give a number from 0 to 10.")
        if not 0 < self.mask_threshold < 1:
            raise ValueError(f"mask_threshold={self.mask_threshold!r}: give a number between 0 and 1, such as 0.5.")
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


def fit_boxes(
    values: Tensor,
    logits: Tensor,
    grid: tuple[int, int],
    proposals: Proposals,
    image_index: Tensor,
    settings: SelectionSettings,
    stand: Tensor | None = None,
    mask: Tensor | None = None,
) -> Group:
    """
    The box whose own center-ness (equations 1 and 2) is most like the map of scores, instead of a vote.

    A box is rated by the cosine between its center-ness and the probabilities of all points, times its quality to the
    power of `quality_power`. A box around half of an object loses to the whole one, though its middle scores as well.

    Args:
        values: (E, N) of `rank_proposals`; -inf = not to be chosen.
        logits: (E, rows · cols) of the model, on `grid`.
        settings: `quality_power`, `ranking`, and `top_k`, how many boxes the group lists.
        stand: (I, rows · cols, 2) XY canvas pixels, where the scored points stand; None = in the middle of cells.
        mask: bool (I, rows · cols), the scored points that count; None = all.

    Raises:
        ValueError: the grid is not square.
    """
    if grid[0] != grid[1]:
        raise ValueError(f'choose="fit" needs a square grid, but the scores form {grid[0]}×{grid[1]}: use "vote".')
    stride = proposals.canvas[0] // grid[0]
    middles = grid_points(*grid, stride)
    fits = torch.full_like(values, -torch.inf)
    probabilities = logits.sigmoid()
    if mask is not None:
        probabilities = probabilities * mask[image_index]
    probabilities = F.normalize(probabilities, dim=1)
    for image in image_index.unique().tolist():
        rows = (image_index == image).nonzero()
        points = (values[rows[0, 0]] > -torch.inf).nonzero().squeeze(1)
        # On the CPU, since targets are computed in double precision, which some accelerators lack.
        targets = centerness_at(
            middles if stand is None else stand[image].cpu(), proposals.boxes[image, points].cpu(), stride
        )
        fit = probabilities[rows[:, 0]] @ F.normalize(targets, dim=1).to(values.device).T
        if settings.ranking == "score_times_quality" and proposals.quality is not None:
            fit = fit * proposals.quality[image, points] ** settings.quality_power
        fits[rows, points] = fit
    best, points = top_k_points(fits, settings.top_k)
    boxes = proposals.boxes[image_index]
    listed = boxes.gather(1, points[..., None].expand(-1, -1, 4))
    agrees = box_iou_matrix(listed[:, :1], boxes)[:, 0] >= _AGREES
    agrees.scatter_(1, points[:, :1], True)
    score = values.masked_fill(~agrees, -torch.inf).amax(dim=1)
    winner = torch.zeros(len(values), dtype=torch.int64, device=values.device)
    return Group(values=best, points=points, winner=winner, score=score, boxes=listed)


def choose_masks(values: Tensor, proposals: Proposals, image_index: Tensor, top_k: int) -> Group:
    """The same among the detector's masks: only those of the best k points are computed; binary masks vote."""
    best, points = top_k_points(values, top_k)
    masks = proposals.masks.at(image_index[:, None].expand_as(points).flatten(), points.flatten())
    masks = masks.view(*points.shape, *masks.shape[1:])
    return _vote(best, points, mask_iou_matrix(masks > 0.5), masks=masks)


def masks_at_boxes(group: Group, proposals: Proposals, image_index: Tensor, same_points: bool) -> Group:
    """
    The masks that belong to the chosen boxes, cut to these.

    Args:
        same_points: whether masks were proposed at the same points as the boxes: the mask is the one of the same
            point. Otherwise it is the one whose own box overlaps the chosen box most.
    """
    row = torch.arange(len(group.winner), device=group.winner.device)
    points, boxes = group.points[row, group.winner][:, None], group.boxes[row, group.winner]
    if not same_points:
        points = box_iou_matrix(boxes[:, None], proposals.boxes[image_index]).argmax(-1)
    masks = proposals.masks.at(image_index, points[:, 0])
    masks = (masks * _coverage(boxes, proposals.canvas, masks.shape[-2:]))[:, None]
    values = group.values[row, group.winner][:, None]
    return Group(values=values, points=points, winner=torch.zeros_like(group.winner), score=group.score, masks=masks)


def _coverage(boxes: Tensor, canvas: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """How much of each cell of a grid of `size` (rows, cols) over the canvas a box (n, 4) covers: (n, rows, cols)."""
    shares = []
    for side in (0, 1):
        cells = canvas[1 - side] / size[1 - side]
        start = torch.arange(size[1 - side], device=boxes.device) * cells
        low, high = boxes[:, side, None], boxes[:, side + 2, None]
        shares.append((torch.minimum(high, start + cells) - torch.maximum(low, start)).clamp(min=0) / cells)
    return shares[1][:, :, None] * shares[0][:, None, :]


def _vote(values: Tensor, points: Tensor, iou: Tensor, **kind: Tensor) -> Group:
    valid = values > -torch.inf
    winner = select_by_overlap(iou, valid)
    row = torch.arange(len(values), device=values.device)
    agrees = iou[row, winner] >= _AGREES
    agrees[row, winner] = True
    score = values.masked_fill(~agrees, -torch.inf).amax(dim=1)
    return Group(values=values, points=points, winner=winner, score=score, **kind)
