"""The training recipe of pbrec-mt-small, read from YAML: numbers of the model, of the loss, and of each phase."""

from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml


@dataclass(frozen=True)
class Phase:
    """
    One phase of training.

    Attributes:
        steps: optimiser steps; 0 = the phase is the mean of the phases that it starts from.
        start: earlier phases whose mean it starts from; none = the weights as they are.
        kinds: parts of the pool that it sees.
        points: points of each scene that a step reads.
        images: scenes per step.
        expressions: expressions per scene.
        rate, final_rate: learning rate after the warm-up, and at the end of its cosine.
        warmup: steps of linear warm-up.
        evaluate: steps between evaluations, after each of which the phase is saved.
        dropout: of the fusion encoder.
        channel_noise: strength of the noise on the channels; see `steps.disturb`.
        neck_dropout: instead of the recipe's; None = the recipe's.
    """

    steps: int
    start: list[int] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    points: int = 0
    images: int = 0
    expressions: int = 0
    rate: float = 0.0
    final_rate: float = 0.0
    warmup: int = 0
    evaluate: int = 0
    dropout: float = 0.0
    channel_noise: float = 0.0
    neck_dropout: float | None = None

    def __post_init__(self) -> None:
        needed = ("kinds", "points", "images", "expressions", "rate", "warmup", "evaluate")
        if self.steps and (missing := [name for name in needed if not getattr(self, name)]):
            raise ValueError(f"A phase of {self.steps} steps lacks {', '.join(missing)}: give them.")


@dataclass(frozen=True)
class Recipe:
    """
    Everything that `train.py` reads.

    Attributes:
        seed: of all draws.
        model: arguments of `model.build`.
        weight_decay: of AdamW.
        clip: largest norm of the gradient.
        ranking: weight of the cross-entropy over the points; see `steps.loss_of`.
        mass_weight: weight of the mass head's loss.
        negatives: share of expressions for something that the scene does not hold.
        fillers: share of generated expressions with words that say nothing.
        neck_dropout: share of scenes whose channels of the neck are set to 0.
        phases: in order.
        keep: train with the answers of the model that training began with, instead of the annotated ones, where an
            expression is not rare, and read more of those that are (`pool_data.is_rare`).
    """

    seed: int
    model: dict[str, int]
    weight_decay: float
    clip: float
    ranking: float
    mass_weight: float
    negatives: float
    fillers: float
    neck_dropout: float
    phases: list[Phase]
    keep: bool = False


def read_recipe(path: Path) -> Recipe:
    """
    The recipe in a YAML file.

    Raises:
        ValueError: a field is unknown or missing.
    """
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    phases = [_made(Phase, phase, path) for phase in values.get("phases", [])]
    return _made(Recipe, values | {"phases": phases}, path)


_T = TypeVar("_T", Phase, Recipe)


def _made(kind: type[_T], values: dict[str, Any], path: Path) -> _T:
    known = {entry.name for entry in fields(kind)}
    needed = {entry.name for entry in fields(kind) if entry.default is MISSING and entry.default_factory is MISSING}
    if wrong := sorted(values.keys() - known):
        raise ValueError(f"{path}: {', '.join(wrong)} are not fields: give some of {', '.join(sorted(known))}.")
    if missing := sorted(needed - values.keys()):
        raise ValueError(f"{path}: {', '.join(missing)} are missing: give them.")
    return kind(**values)
