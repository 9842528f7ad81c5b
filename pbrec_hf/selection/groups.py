"""What a selection gives: the best proposals of each expression, and which of them is the answer."""

from dataclasses import dataclass

import torch
from torch import Tensor

_AGREES = 0.5  # overlap from which a proposal speaks for the same object as the answer


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

    def chosen(self, kind: str) -> Tensor:
        """The answers of a kind: boxes (E, 4), masks (E, h, w) or points (E,)."""
        values = getattr(self, kind)
        return values[torch.arange(len(self.winner), device=values.device), self.winner]


def best_agreeing(values: Tensor, overlap: Tensor, winner: Tensor) -> Tensor:
    """
    The score of each answer: the best value among the proposals that show the same object.

    Args:
        values: (E, n) of proposals; -inf = there is none.
        overlap: (E, n), IoU of each with the answer.
        winner: (E,), the answer's index; it agrees with itself, even without area.
    """
    agrees = (overlap >= _AGREES).scatter(1, winner[:, None], True)
    return values.masked_fill(~agrees, -torch.inf).amax(dim=1)


__all__ = ["Group", "best_agreeing"]
