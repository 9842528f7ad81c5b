"""The selection, repeated: what belongs to an answer falls away, and the rest choose again.

Of each round's rest, the best proposal names the object: those that overlap it by an IoU of at least 0.5 vote
(equation 7), or the one among them that fits best is the answer. So an answer agrees with the best proposal left, has
its value as score, and no two answers of later rounds overlap by as much. Pure functions over tensors, batched over
expressions; ties go to the lower index, on every device.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .groups import SAME_OBJECT_IOU
from .overlaps import Overlaps
from .ranking import top_k_points
from .vote import select_by_overlap


class Rounds(NamedTuple):
    """
    Answers of E expressions, round after round.

    Attributes:
        chosen: int64 (E, r), positions among the proposals; the first column is the selection's only answer.
        score: (E, r) raw; -inf = no answer.
    """

    chosen: Tensor
    score: Tensor


def repeated(
    first: Tensor,
    score: Tensor,
    values: Tensor,
    overlaps: Overlaps,
    voters: int,
    rounds: int,
    go_on: Callable[[Tensor], Tensor],
    fits: Tensor | None = None,
    part: tuple[float, float] = (0.9, 0.5),
) -> Rounds:
    """
    Choose again until nothing is left that counts.

    What is chosen does not depend on `go_on`, which only ends what nobody would keep.

    Args:
        first: int64 (E,), positions of the answers of the first round.
        score: (E,), their scores.
        values: (E, n), the proposals' values; -inf = no proposal.
        overlaps: of the n proposals.
        voters: the most proposals that vote.
        rounds: the most answers of an expression, the first included.
        go_on: scores (E,) → bool (E,), whether such an answer counts.
        fits: (E, n), how well each proposal fits; None = they vote.
        part: a proposal that an answer covers by the first share, and of less than the second share of its score, is a
            part of it and no answer of its own. One that scores more stays: a child in front of a grown-up, or two
            things within a box of both.
    """
    found = [(first, score)]
    rest = values
    for _ in range(rounds - 1):
        rest = rest.masked_fill(_belongs(*found[-1], rest, overlaps, part), -torch.inf)
        best = rest.amax(dim=1)
        if not (go_on(best) & (best > -torch.inf)).any():
            break
        seed = (rest == best[:, None]).int().argmax(dim=1)
        agrees = (overlaps.of(seed)[0] >= SAME_OBJECT_IOU).scatter(1, seed[:, None], True)
        group = rest.masked_fill(~agrees, -torch.inf)
        found.append((_chosen(group, overlaps, voters, fits), best))
    index, scores = (torch.stack(columns, dim=1) for columns in zip(*found, strict=True))
    return Rounds(index, scores)


def _belongs(answer: Tensor, score: Tensor, values: Tensor, overlaps: Overlaps, part: tuple[float, float]) -> Tensor:
    """bool (E, n), the proposals that show the answer's object or a part of it."""
    iou, covered = overlaps.of(answer)
    least, share = part
    is_part = (covered >= least) & (values < share * score[:, None])
    return ((iou >= SAME_OBJECT_IOU) | is_part).scatter(1, answer[:, None], True)


def _chosen(group: Tensor, overlaps: Overlaps, voters: int, fits: Tensor | None) -> Tensor:
    """Position (E,) of the answer among the proposals whose value is not -inf."""
    if fits is not None:
        fits = fits.masked_fill(group == -torch.inf, -torch.inf)
        return (fits == fits.amax(dim=1, keepdim=True)).int().argmax(dim=1)
    best, index = top_k_points(group, voters)
    winner = select_by_overlap(overlaps.among(index), best > -torch.inf)
    return index.gather(1, winner[:, None])[:, 0]


__all__ = ["Rounds", "repeated"]
