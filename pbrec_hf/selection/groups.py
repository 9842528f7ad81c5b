"""The result of a selection: the best proposals of each expression, and which of them is the answer."""

from dataclasses import dataclass

import torch
from torch import Tensor

SAME_OBJECT_IOU = 0.5  # proposals that overlap the answer by at least this show the same object


@dataclass
class Group:
    """
    The best k proposals of each expression and the answer among them.

    Attributes:
        values: (E, k) that the proposals are ranked by, descending; -inf = fewer than k proposals.
        points: (E, k) int64, indices into the detector's proposals.
        winner: (E,) int64, position of the answer in the group.
        score: (E,) the best value among the proposals that agree with the answer; -inf = no proposal at all.
        boxes: (E, k, 4) XYXY in canvas pixels, or None.
        masks: (E, k, h, w) probabilities over the canvas, or None.
        source: "detector", or "prompt" for masks that were made of the chosen boxes.
        ranking: (E, N), the value of every proposal; None where they were not ranked, but followed.
        fits: (E, N), how well every proposal fits; None where the group votes.
    """

    values: Tensor
    points: Tensor
    winner: Tensor
    score: Tensor
    boxes: Tensor | None = None
    masks: Tensor | None = None
    source: str = "detector"
    ranking: Tensor | None = None
    fits: Tensor | None = None

    def chosen(self, kind: str) -> Tensor:
        """The answers' entries of a field: boxes (E, 4), masks (E, h, w), points (E,) or values (E,); maybe a view."""
        values: Tensor = getattr(self, kind)
        if values.shape[1] == 1:
            return values[:, 0]
        return values[torch.arange(self.winner.shape[0], device=values.device), self.winner]


def best_agreeing(values: Tensor, overlap: Tensor, winner: Tensor) -> Tensor:
    """
    The score of each answer: the best value among the proposals that agree with it (IoU of at least 0.5).

    Args:
        values: (E, n) of the proposals; -inf = no proposal.
        overlap: (E, n), IoU of each proposal with the answer.
        winner: (E,) int64, index of the answer, which always agrees with itself, even without area.

    Returns:
        (E,); -inf where there is no proposal.
    """
    agrees = (overlap >= SAME_OBJECT_IOU).scatter(1, winner[:, None], True)
    return values.masked_fill(~agrees, -torch.inf).amax(dim=1)


__all__ = ["SAME_OBJECT_IOU", "Group", "best_agreeing"]
