"""From raw scores to probabilities: monotone maps, fitted on held-out expressions and saved with the processor.

A raw score is probability × quality: it ranks answers, but answers that score 0.3 may be right three times in four.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from itertools import pairwise
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .settings import require_threshold

REFERENTS = ("one", "any")


@dataclass(frozen=True)
class ScoreMap:
    """
    A strictly increasing, piecewise linear map from raw scores to probabilities.

    Below the first knot and above the last, the probability is that of the knot.

    Args:
        raw: strictly increasing raw scores in [0, 1], two or more.
        probability: as many strictly increasing probabilities in [0, 1].

    Raises:
        ValueError: the knots are no such numbers.
    """

    raw: tuple[float, ...]
    probability: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("raw", "probability"):
            values = getattr(self, name)
            if not isinstance(values, Sequence) or isinstance(values, str) or not all(map(_is_share, values)):
                raise ValueError(f"{name}={values!r} of a calibration: give a list of numbers from 0 to 1.")
            if len(values) < 2 or any(low >= high for low, high in pairwise(values)):
                raise ValueError(f"{name}={values!r} of a calibration: give two or more strictly increasing numbers.")
            object.__setattr__(self, name, tuple(float(value) for value in values))
        if len(self.raw) != len(self.probability):
            raise ValueError(
                f"A calibration has {len(self.raw)} raw scores and {len(self.probability)} probabilities: give one "
                "probability per raw score."
            )

    @classmethod
    def of(cls, values: object) -> "ScoreMap":
        """
        The map of a dict of its fields.

        Raises:
            ValueError: it is no such dict.
        """
        if isinstance(values, cls):
            return values
        return cls(**_fields_of(values, cls, "map of a calibration"))

    def __call__(self, scores: Tensor) -> Tensor:
        """Probabilities of raw scores of any shape, in their floating-point type; never decreasing."""
        raw, probability = (
            torch.tensor(values, dtype=torch.float64, device=scores.device) for values in (self.raw, self.probability)
        )
        given = scores.double().clamp(self.raw[0], self.raw[-1])
        piece = (given[..., None] >= raw).sum(-1).clamp(1, len(raw) - 1)
        low, high = probability[piece - 1], probability[piece]
        share = (given - raw[piece - 1]) / (raw[piece] - raw[piece - 1])
        # Rounding must not lead beyond the next knot, or a better score could get a lower probability.
        return torch.minimum(low + share * (high - low), high).to(scores)


@dataclass(frozen=True)
class Calibration:
    """
    What raw scores of one checkpoint mean.

    Args:
        one: from the score of the only answer (`referents="one"`) to the probability that it is right.
        any: the same for each of the answers of `referents="any"`.
        exists: from the score of the best single answer to the probability that the expression has a referent at all.
        threshold: the probability from which each of several answers counts, as `threshold="auto"`.
        fitted_on: the data that the maps were fitted on, in words.
        answers: how many answers they were fitted on.
        exists_threshold: the probability that there is a referent from which there are answers at all, as "auto".

    Raises:
        ValueError: a field is out of range.
    """

    one: ScoreMap
    any: ScoreMap
    exists: ScoreMap
    threshold: float
    fitted_on: str
    answers: int
    exists_threshold: float = 0.0

    def __post_init__(self) -> None:
        for name in ("one", "any", "exists"):
            object.__setattr__(self, name, ScoreMap.of(getattr(self, name)))
        require_threshold(self.threshold)
        require_threshold(self.exists_threshold)
        if not isinstance(self.fitted_on, str) or not self.fitted_on:
            raise ValueError(f"fitted_on={self.fitted_on!r} of a calibration: say which data it was fitted on.")
        if not isinstance(self.answers, int) or isinstance(self.answers, bool) or self.answers < 1:
            raise ValueError(f"answers={self.answers!r} of a calibration: give how many answers it was fitted on.")

    @classmethod
    def of(cls, values: object) -> "Calibration | None":
        """
        The calibration that a processor was saved with.

        Args:
            values: a dict of fields, a calibration, or None for none.

        Raises:
            ValueError: it is no such dict.
        """
        if values is None or isinstance(values, cls):
            return values
        return cls(**_fields_of(values, cls, "calibration"))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and text, for JSON."""
        return {
            name: {knots: list(numbers) for knots, numbers in value.items()} if isinstance(value, dict) else value
            for name, value in asdict(self).items()
        }

    def of_referents(self, referents: str) -> ScoreMap:
        """The map for answers of `referents` "one" or "any"."""
        return self.one if referents == "one" else self.any


def require_referents(referents: object) -> None:
    """
    Check how many referents are asked for.

    Raises:
        ValueError: `referents` is neither "one" nor "any".
    """
    if referents not in REFERENTS:
        raise ValueError(f"referents={referents!r}: give one of {', '.join(map(repr, REFERENTS))}.")


def require_threshold_or_auto(threshold: object) -> None:
    """
    Check the threshold that a caller gives.

    Raises:
        ValueError: `threshold` is neither None, nor "auto", nor a number from 0 to 1.
    """
    if isinstance(threshold, str) and threshold != "auto":
        raise ValueError(f'threshold={threshold!r}: give a number from 0 to 1, or "auto".')
    if threshold is not None and not isinstance(threshold, str):
        require_threshold(threshold)


class Limits(NamedTuple):
    """
    What an answer must reach.

    Attributes:
        score: of each answer, calibrated if there is a calibration, otherwise raw.
        exists: the probability that its expression has a referent at all.
    """

    score: float
    exists: float = 0.0


def limits_of(threshold: float | str | None, referents: str, calibration: Calibration | None) -> Limits:
    """
    The threshold as numbers.

    Args:
        threshold: a number; "auto" for those of the calibration; None for 0 with "one" and for "auto" with "any".
        referents: "one" or "any".
        calibration: of the processor.

    Raises:
        ValueError: "auto" without a calibration, or no legal threshold.
    """
    require_referents(referents)
    require_threshold_or_auto(threshold)
    if threshold is None:
        threshold = 0.0 if referents == "one" else "auto"
    if not isinstance(threshold, str):
        return Limits(float(threshold))
    if calibration is None:
        raise ValueError(
            'threshold="auto" is the threshold of the calibration, and this processor has none: give a number such '
            "as threshold=0.3 (--threshold 0.3), or calibrate the checkpoint with `pbrec-hf calibrate`."
        )
    # A single answer has no others to be told from: it counts if there is something to find.
    return Limits(calibration.threshold if referents == "any" else 0.0, calibration.exists_threshold)


def _fields_of(values: object, cls: type, name: str) -> dict[str, Any]:
    entries = fields(cls)
    known, needed = {e.name for e in entries}, {e.name for e in entries if e.default is MISSING}
    if not isinstance(values, Mapping) or not needed <= set(values) <= known:
        raise ValueError(f"{values!r} is no {name}: give a dict with the fields {', '.join(sorted(known))}.")
    return dict(values)


def _is_share(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) <= 1


__all__ = [
    "REFERENTS",
    "Calibration",
    "Limits",
    "ScoreMap",
    "limits_of",
    "require_referents",
    "require_threshold_or_auto",
]
