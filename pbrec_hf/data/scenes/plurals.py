"""True expressions for several objects: all of a kind, a number of them, those on one side, two things and the like.

`generate_plurals` keeps an expression only if it is clear of every object whether it is meant (see `predicates.py`).
Deterministic for a given generator.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from . import plural_words as forms
from . import words
from .composer import Composer
from .expressions import Expression, compose, possible_targets
from .objects import SceneObject
from .predicates import Layout, Truth
from .selectors import SIDES, pick

MOST_TARGETS = 8  # of an expression
_PERSON = frozenset(["person"])
_APART = 0.06  # share of the picture's width by which the last that is meant and the first that is not are apart


class _Kind(NamedTuple):
    """A noun for one thing and for several, and the objects of that kind."""

    one: str
    several: str
    truth: Truth

    def fill(self, text: str, pattern: str = "{n}") -> str:
        """`text` about the noun phrase that `pattern` makes of the noun."""
        plural = forms.in_plural(pattern).replace("{n}", self.several)
        return text.replace("{N}", plural).replace("{n}", pattern.replace("{n}", self.one))


def generate_plurals(
    objects: Sequence[SceneObject],
    image_size: tuple[int, int],
    rng: Generator,
    count: int = 4,
    complete: bool = True,
    attempts: int = 12,
) -> list[Expression]:
    """Up to `count` different expressions, each true of two to eight objects; arguments as `generate_expressions`."""
    composer = Composer(objects, image_size, rng, complete)
    targets = possible_targets(composer.layout)
    found: dict[str, Expression] = {}
    for _ in range(count * attempts if len(targets) > 1 else 0):
        expression = _compose(composer, targets)
        if expression is not None and 2 <= len(expression.targets) <= MOST_TARGETS:
            found.setdefault(expression.text, expression)
        if len(found) == count:
            break
    return list(found.values())


def meant(truth: Truth, targets: Sequence[int]) -> tuple[int, ...] | None:
    """The objects that a statement fits, if that is clear of every object and each is one of `targets`."""
    if (truth.sure != truth.possible).any():
        return None
    chosen = tuple(int(index) for index in truth.sure.nonzero()[0])
    return chosen if set(chosen) <= set(targets) else None


def _compose(composer: Composer, targets: Sequence[int]) -> Expression | None:
    draw = composer.rng.random()
    target = targets[int(composer.rng.integers(len(targets)))]
    if draw < 0.1:
        return _everyone(composer, targets)
    if draw < 0.22:
        return _two_things(composer, targets)
    if draw < 0.3:
        return _all_but_one(composer, targets, target)
    return _of_a_kind(composer, targets, target)


def _everyone(composer: Composer, targets: Sequence[int]) -> Expression | None:
    persons = meant(composer.layout.categories(_PERSON), targets)
    return None if persons is None else Expression(pick(composer.rng, forms.EVERYONE), persons, "everyone")


def _two_things(composer: Composer, targets: Sequence[int]) -> Expression | None:
    """ "Left dog and the man in red"."""
    one, other = (compose(composer, int(target)) for target in composer.rng.choice(targets, 2, replace=False))
    if one is None or other is None:
        return None
    first, second = (_bare(expression.text) for expression in (one, other))
    text = pick(composer.rng, forms.AND).replace("{m}", first).replace("{o}", second)
    return Expression(text, tuple(sorted(one.targets + other.targets)), "and")


def _all_but_one(composer: Composer, targets: Sequence[int], left_out: int) -> Expression | None:
    one = compose(composer, left_out)
    kind = _kind(composer, left_out)
    everything = None if kind is None else meant(kind.truth, targets)
    if one is None or kind is None or everything is None or left_out not in everything:
        return None
    persons = composer.objects[left_out].category == "person"
    patterns = forms.EVERYONE_EXCEPT if persons and composer.rng.random() < 0.4 else forms.EXCEPT
    text = kind.fill(pick(composer.rng, patterns)).replace("{m}", _bare(one.text))
    return Expression(text, tuple(index for index in everything if index != left_out), "except")


def _of_a_kind(composer: Composer, targets: Sequence[int], target: int) -> Expression | None:
    """All that share noun and attribute, or those of them on one side, or a number of outermost ones."""
    kind = _kind(composer, target)
    if kind is None:
        return None
    truth = kind.truth
    pattern, kinds = "{n}", ["plural"]
    if composer.rng.random() < 0.45:
        attribute = composer.attribute(target)
        if attribute is None:
            return None
        truth, pattern, kinds = truth & attribute.truth, attribute.pattern, [*kinds, attribute.kind]
    draw = composer.rng.random()
    if draw < 0.2:
        return _some(composer, truth, targets, kind, pattern, kinds)
    if draw < 0.42:
        axis, low, sides = SIDES[composer.rng.choice(4, p=(0.4, 0.4, 0.1, 0.1))]
        side = pick(composer.rng, sides)
        truth, pattern, kinds = truth & composer.layout.side(axis, low), side.replace("{n}", pattern), [*kinds, "side"]
    chosen = meant(truth, targets)
    if chosen is None:
        return None
    number = len(chosen)
    quantifiers: Sequence[str] = forms.ALL
    if composer.rng.random() < 0.5 and number in forms.NUMBERS:
        quantifiers, kinds = forms.BOTH if number == 2 else forms.COUNTED, [*kinds, "counted"]
    text = pick(composer.rng, quantifiers).replace("{k}", forms.NUMBERS.get(number, ""))
    return Expression(kind.fill(text, _bare(pattern)), chosen, "+".join(kinds))


def _some(
    composer: Composer, truth: Truth, targets: Sequence[int], kind: _Kind, pattern: str, kinds: Sequence[str]
) -> Expression | None:
    """ "The two dogs on the left", "three closest chairs": fewer than there are, clearly apart from the rest."""
    layout, all_of_kind = composer.layout, meant(truth, targets)
    if all_of_kind is None or len(all_of_kind) < 3:
        return None
    number = int(composer.rng.integers(2, min(len(all_of_kind), 5)))
    left = bool(composer.rng.integers(2))
    ways: list[tuple[str, Sequence[str], NDArray[np.float64], float]] = [
        ("first", forms.FIRST, layout.x if left else -layout.x, _APART),
        ("first", forms.FIRST, layout.x if left else -layout.x, _APART),
        ("front", forms.FRONT, -_closeness(layout), 0.5),
        ("back", forms.BACK, _closeness(layout), 0.5),
        ("biggest", forms.BIGGEST, -np.log(layout.area.clip(1e-9)), 0.45),
    ]
    way, patterns, values, margin = ways[composer.rng.integers(len(ways))]
    order = sorted(all_of_kind, key=lambda index: values[index])
    if values[order[number]] - values[order[number - 1]] < margin:
        return None
    text = (
        pick(composer.rng, patterns).replace("{k}", forms.NUMBERS[number]).replace("{h}", "left" if left else "right")
    )
    chosen = tuple(sorted(order[:number]))
    return Expression(kind.fill(text, _bare(pattern)), chosen, "+".join([*kinds, "counted", way]))


def _closeness(layout: Layout) -> NDArray[np.float64]:
    return np.asarray(np.log(layout.area.clip(1e-9)) / 2 + 3 * layout.bottom)


def _kind(composer: Composer, target: int) -> _Kind | None:
    """What the category of `target` is called, and the objects of that kind."""
    noun = composer.noun_word(composer.objects[target].category)
    if noun is None:
        return None
    categories = words.CATEGORIES_OF[noun]
    several = pick(composer.rng, forms.PEOPLE) if categories == _PERSON else forms.plural(noun)
    return _Kind(noun, several, composer.layout.categories(categories))


def _bare(text: str) -> str:
    """`text` without its article."""
    for article in ("the ", "a ", "an "):
        text = text.removeprefix(article)
    return text


__all__ = ["MOST_TARGETS", "generate_plurals", "meant"]
