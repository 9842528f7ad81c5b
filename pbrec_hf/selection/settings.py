"""Settings of the selection, saved with the processor: how proposals are ranked and chosen."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

RANKINGS = ("score_times_quality", "score")
INTERPOLATED = ("probabilities", "logits")
CHOICES = ("vote", "fit")
# The fields that say which proposal is the only answer, and what belongs to its mask.
DECIDES = (
    "choose", "top_k", "ranking", "quality_power", "candidates_only", "level_weights", "interpolate",
    "masks_follow_boxes", "mask_threshold",
)  # fmt: skip


@dataclass
class SelectionSettings:
    """
    How proposals are ranked and chosen.

    Args:
        choose: "vote" (the paper: of the best k proposals, the one that the others overlap most) or "fit" (boxes only:
            the box whose center-ness is most similar to the map of scores; see `fit_boxes`).
        top_k: number of proposals that vote (12 in the paper).
        ranking: "score_times_quality" (σ(logit) × the detector's quality) or "score" (σ(logit) alone).
        quality_power: exponent of the quality.
        candidates_only: whether to rank only proposals that survived the detector's NMS, in pictures where any did.
        level_weights: one factor in [0, 1] per grid of the detector; None = 1.
        masks_follow_boxes: whether the mask of an answer is the one proposed at the point of its box, cropped to the
            box, so that both show the same object. If masks and boxes are proposed at different points, the mask with
            the most similar box is used. Otherwise masks are ranked and vote independently of boxes.
        max_referents: the most answers of an expression that may mean several things.
        several_quality_power: exponent of the quality where several answers are asked for, which has to tell them from
            parts of things; None = `quality_power`.
        part_covered, part_value: a proposal of which an answer covers this share, and whose value is less than this
            share of the answer's, is a part of it and no answer of its own.
        least_share: share of the best answer's score that further answers must reach.
        mask_threshold: probability above which a pixel belongs to the mask of an answer.
        interpolate: the quantity that is resampled to the detector's grids, "probabilities" or "logits".

    Raises:
        ValueError: a field is out of range; the message names field, value and legal set.
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
    max_referents: int = 20
    several_quality_power: float | None = None
    part_covered: float = 0.9
    part_value: float = 0.5
    least_share: float = 0.0

    def __post_init__(self) -> None:
        if self.choose not in CHOICES:
            raise ValueError(f"choose={self.choose!r}: give one of {', '.join(map(repr, CHOICES))}.")
        for count, example in (("top_k", 12), ("max_referents", 20)):
            value = getattr(self, count)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{count}={value!r}: give a positive integer such as {example}.")
        if self.ranking not in RANKINGS:
            raise ValueError(f"ranking={self.ranking!r}: give one of {', '.join(map(repr, RANKINGS))}.")
        if self.interpolate not in INTERPOLATED:
            raise ValueError(f"interpolate={self.interpolate!r}: give one of {', '.join(map(repr, INTERPOLATED))}.")
        for flag in ("candidates_only", "masks_follow_boxes"):
            if not isinstance(getattr(self, flag), bool):
                raise ValueError(f"{flag}={getattr(self, flag)!r}: give True or False.")
        if not _is_number(self.quality_power) or not 0 <= self.quality_power <= 10:
            raise ValueError(f"quality_power={self.quality_power!r}: give a number from 0 to 10.")
        power = self.several_quality_power
        if power is not None and (not _is_number(power) or not self.quality_power <= power <= 10):
            raise ValueError(
                f"several_quality_power={power!r}: give None or a number from quality_power={self.quality_power} on."
            )
        for share in ("part_covered", "part_value", "least_share"):
            value = getattr(self, share)
            if not _is_number(value) or not 0 <= value <= 1:
                raise ValueError(f"{share}={value!r}: give a number from 0 to 1.")
        if not _is_number(self.mask_threshold) or not 0 < self.mask_threshold < 1:
            raise ValueError(f"mask_threshold={self.mask_threshold!r}: give a number between 0 and 1, such as 0.5.")
        weights = [] if self.level_weights is None else self.level_weights
        if not isinstance(weights, (list, tuple)) or not all(
            _is_number(weight) and 0 <= weight <= 1 for weight in weights
        ):
            raise ValueError(
                f"level_weights={self.level_weights!r}: give one number from 0 to 1 per grid of the detector."
            )

    @classmethod
    def of(cls, values: object) -> "SelectionSettings":
        """
        The settings that a processor was saved with.

        Args:
            values: a dict of fields, or None for the defaults.

        Raises:
            ValueError: it is no dict, or has a field that is not known or out of range.
        """
        if values is not None and not isinstance(values, Mapping):
            raise ValueError(f"selection={values!r}: give a dict of {_fields()}.")
        if unknown := sorted(str(name) for name in values or {} if name not in cls.__dataclass_fields__):
            raise ValueError(f"selection has the fields {', '.join(unknown)}: those that are known are {_fields()}.")
        return cls(**(values or {}))


def paper_selection() -> dict[str, Any]:
    """The paper's values of the fields that decide: the defaults."""
    return {name: getattr(SelectionSettings(), name) for name in DECIDES}


def _fields() -> str:
    return ", ".join(SelectionSettings.__dataclass_fields__)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def require_threshold(threshold: object) -> None:
    """
    Check the threshold of a score.

    Raises:
        ValueError: `threshold` is not a number from 0 to 1.
    """
    if not isinstance(threshold, Real) or not _is_number(threshold) or not 0 <= float(threshold) <= 1:
        raise ValueError(f"threshold={threshold!r}: give a number from 0 to 1.")


__all__ = [
    "CHOICES",
    "DECIDES",
    "INTERPOLATED",
    "RANKINGS",
    "SelectionSettings",
    "paper_selection",
    "require_threshold",
]
