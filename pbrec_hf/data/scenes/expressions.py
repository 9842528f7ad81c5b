"""True referring expressions for annotated objects, in the words people use: each means one object.

`generate_expressions` keeps a composed phrase only if it fits exactly one object and no other even possibly (see
`predicates.py`). Deterministic for a given generator. `plurals.py` and `absent.py` make those that mean several
objects or none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.random import Generator

from .composer import Composer
from .objects import SceneObject
from .predicates import Layout

SMALLEST_TARGET = 0.0016  # share of the picture; nobody would point out smaller things


@dataclass(frozen=True)
class Expression:
    """
    A text and the objects that it means.

    Attributes:
        text: the expression.
        targets: indices of the objects, ascending; () = it means nothing in the picture.
        kind: names of the statements that it makes, joined by "+".
    """

    text: str
    targets: tuple[int, ...]
    kind: str


def generate_expressions(
    objects: Sequence[SceneObject],
    image_size: tuple[int, int],
    rng: Generator,
    count: int = 8,
    complete: bool = True,
    attempts: int = 12,
) -> list[Expression]:
    """
    Up to `count` different expressions, each true of exactly one object.

    Args:
        objects: all annotated objects of the picture, with colours where colours are to be named.
        image_size: (height, width) of the picture.
        rng: the source of every choice.
        count: at most so many.
        complete: whether all objects of the 80 categories are annotated. If not, statements that an unannotated
            object could make false are left out: hypernyms, "without".
        attempts: tries per expression asked for.
    """
    composer = Composer(objects, image_size, rng, complete)
    targets = possible_targets(composer.layout)
    found: dict[str, Expression] = {}
    for _ in range(count * attempts if targets else 0):
        expression = compose(composer, targets[rng.integers(len(targets))])
        if expression is not None:
            found.setdefault(expression.text, expression)
        if len(found) == count:
            break
    return list(found.values())


def possible_targets(layout: Layout) -> list[int]:
    """The objects that somebody would point out: not vague, and not too small."""
    return [int(index) for index in (~layout.vague & (layout.area >= SMALLEST_TARGET)).nonzero()[0]]


def compose(composer: Composer, target: int) -> Expression | None:
    """One random expression, or None if it is not true of `target` alone."""
    said = composer.phrase(target)
    if said is None or said.truth.only() != target:
        return None
    return Expression(composer.article(said.pattern), (target,), said.kind)


__all__ = ["SMALLEST_TARGET", "Expression", "compose", "generate_expressions", "possible_targets"]
