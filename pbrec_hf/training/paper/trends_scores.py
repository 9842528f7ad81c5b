"""Table 5's figures of one trained model in one pass: boxes and masks for every k and every way to rank.

The best proposals are ranked once; the vote among the first k of them (equation 7) is taken for each k.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...geometry.boxes import box_iou_matrix
from ...geometry.masks import mask_iou_matrix
from ...modeling_pbrec import PbrecForReferringExpression, PbrecOutput
from ...selection.choose import rank_and_choose
from ...selection.groups import Group
from ...selection.settings import SelectionSettings
from ...selection.vote import select_by_overlap
from ..small.steps import forward
from .trends_data import Picture
from .variants import Variant

TOP_K = (1, 4, 8, 12, 16)  # of Table 5
BOX_RANKINGS = {"center": "score", "center+conf": "score_times_quality"}
MET = 0.5  # a box of a larger IoU is right
Figures = dict[str, Any]


@torch.inference_mode()
def score_model(
    model: PbrecForReferringExpression, pictures: Iterable[Picture], variant: Variant, levels: Sequence[float] | None
) -> Figures:
    """
    What a model reaches.

    Args:
        model: trained as `variant`.
        pictures: to answer on.
        levels: weights of the detector's grids; None = all alike.

    Returns:
        `count`, the number of expressions; for the heads that trained, by ranking and k ("1" … "16"): `center` and
        `center+conf`, the share of boxes whose IoU is above 0.5; `mass`, the mean IoU of masks; `mass_overall`, all
        intersections over all unions, in pixels.
    """
    right: dict[tuple[str, int], float] = defaultdict(float)
    covered: dict[int, Tensor] = defaultdict(lambda: torch.zeros(3, dtype=torch.float64))
    count = 0
    for picture in pictures:
        count += len(picture.boxes)
        center, mass = forward(model, picture.batch)
        outputs = PbrecOutput(center_logits=center.float(), mass_logits=mass.float())
        if variant.center:
            for name, ranking in BOX_RANKINGS.items():
                group = _ranked(outputs, picture.inputs, "box_proposals", ranking, levels)
                for k, winner in winners(group).items():
                    right[name, k] += _boxes_right(group, winner, picture)
        if variant.mass:
            group = _ranked(outputs, picture.inputs, "mask_proposals", "score", levels)
            for k, sums in _mask_sums(group, picture).items():
                covered[k] += sums
    figures: Figures = {"count": count}
    for name, k in right:
        figures.setdefault(name, {})[str(k)] = right[name, k] / count
    for k, (ious, both, either) in covered.items():
        figures.setdefault("mass", {})[str(k)] = (ious / count).item()
        figures.setdefault("mass_overall", {})[str(k)] = (both / either).item()
    return figures


def winners(group: Group) -> dict[int, Tensor]:
    """For each k of Table 5, the position (E,) of the answer among the best k of a group of the largest k."""
    if group.boxes is not None:
        iou = box_iou_matrix(group.boxes)
    else:
        assert group.masks is not None  # a group has one of the two
        iou = mask_iou_matrix(group.masks > 0.5)
    there = group.values > -torch.inf
    return {k: select_by_overlap(iou[:, :k, :k], there[:, :k]) for k in TOP_K}


def _ranked(
    outputs: PbrecOutput, inputs: Mapping[str, Any], name: str, ranking: str, levels: Sequence[float] | None
) -> Group:
    settings = SelectionSettings(
        top_k=max(TOP_K), ranking=ranking, level_weights=None if levels is None else list(levels)
    )
    groups = rank_and_choose(outputs, {"letterbox": inputs["letterbox"], name: inputs[name]}, settings)
    return groups["boxes" if name == "box_proposals" else "masks"]


def _boxes_right(group: Group, winner: Tensor, picture: Picture) -> float:
    assert group.boxes is not None  # a group of box proposals
    chosen = picture.place.boxes_to_original(group.boxes[torch.arange(len(winner)), winner])
    return float((box_iou_matrix(chosen[:, None], picture.boxes[:, None])[:, 0, 0] > MET).sum())


def _mask_sums(group: Group, picture: Picture) -> dict[int, Tensor]:
    """For each k, the sums over the expressions (3,) of IoU, of intersections and of unions."""
    assert group.masks is not None  # a group of mask proposals
    proposals = picture.inputs["mask_proposals"]
    known: dict[tuple[int, int], Tensor] = {}
    sums = {}
    for k, winner in winners(group).items():
        for row, position in enumerate(winner.tolist()):
            if (row, position) not in known:
                mask = picture.place.mask_to_original(group.masks[row, position], proposals.canvas)
                both, either = (mask & picture.masks[row]).sum(), (mask | picture.masks[row]).sum()
                known[row, position] = torch.stack((both / either, both, either)).double()
        sums[k] = torch.stack([known[row, position] for row, position in enumerate(winner.tolist())]).sum(0)
    return sums


__all__ = ["BOX_RANKINGS", "TOP_K", "Figures", "score_model", "winners"]
