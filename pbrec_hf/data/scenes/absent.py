"""Expressions that mean nothing in the picture: a thing that is not there, or that is not like that; nobody, nothing.

`generate_absent` keeps an expression only if no object possibly fits it (see `predicates.py`), which takes a picture
whose objects are all annotated. Deterministic for a given generator.
"""

from collections.abc import Sequence

from numpy.random import Generator

from ...small.colors import COLOR_NAMES
from . import plural_words as forms
from . import words
from .composer import Composer
from .expressions import Expression
from .objects import SceneObject
from .predicates import Truth, nothing
from .selectors import SIDES, pick

_PERSON = frozenset(["person"])
_RELATIONS: tuple[tuple[str, Sequence[str]], ...] = (
    ("beside", words.BESIDE), ("left of", words.LEFT_OF), ("behind", words.BEHIND), ("before", words.BEFORE),
    ("holding", words.WITH[:4]), ("on", words.ON),
)  # fmt: skip


def generate_absent(
    objects: Sequence[SceneObject],
    image_size: tuple[int, int],
    rng: Generator,
    count: int = 4,
    complete: bool = True,
    attempts: int = 12,
) -> list[Expression]:
    """
    Up to `count` different expressions that no object fits; arguments as `generate_expressions`.

    Of a picture whose objects are not all annotated, only expressions such as "nobody" mean nothing for sure.
    """
    composer = Composer(objects, image_size, rng, complete)
    found: dict[str, Expression] = {}
    for _ in range(count * attempts):
        expression = _compose(composer)
        if expression is not None:
            found.setdefault(expression.text, expression)
        if len(found) == count:
            break
    return list(found.values())


def _compose(composer: Composer) -> Expression | None:
    rng = composer.rng
    draw = rng.random()
    if draw < 0.06:
        return Expression(pick(rng, forms.NOBODY), (), "nobody")
    present = sorted({item.category for item in composer.objects})
    if draw < 0.12 and present:
        noun = pick(rng, words.NOUNS[pick(rng, present)])
        text = pick(rng, forms.NONE_OF).replace("{n}", noun).replace("{N}", forms.plural(noun))
        return Expression(text, (), "nobody")
    if not composer.complete:
        return None
    # Most try to name something that is there, but not like that; few of them are clear.
    here = bool(present) and rng.random() < 0.7
    noun = pick(rng, words.NOUNS[pick(rng, present if here else sorted(words.NOUNS))])
    categories = words.CATEGORIES_OF[noun]
    truth, pattern, kinds = composer.layout.categories(categories), "{n}", ["absent" if not here else "other"]
    if here and rng.random() < 0.15:
        rank, side = int(rng.choice((2, 3, 4))), pick(rng, ("left", "right"))
        pattern = pick(rng, words.NTH).replace("{o}", pick(rng, words.ORDINALS[rank])).replace("{h}", side)
        truth, kinds = truth if truth.possible.sum() >= rank else nothing(truth), [*kinds, "ordinal"]
    elif here or rng.random() < 0.4:
        attribute = _attribute(composer, categories == _PERSON, present)
        if attribute is None:
            return None
        kind, pattern, fits = attribute
        truth, kinds = truth & fits, [*kinds, kind]
    if rng.random() < (0.15 if here else 0.3):
        axis, low, patterns = SIDES[rng.integers(4)]
        truth = truth & composer.layout.side(axis, low)
        pattern, kinds = pick(rng, patterns).replace("{n}", pattern), [*kinds, "side"]
    if truth.possible.any():
        return None
    if "ordinal" not in kinds and rng.random() < 0.25:
        several = pick(rng, forms.PEOPLE) if categories == _PERSON else forms.plural(noun)
        plural = forms.in_plural(pattern.removeprefix("the ")).replace("{n}", several)
        quantifier = pick(rng, [text for text in (*forms.ALL, *forms.BOTH) if "{n}" not in text])
        return Expression(quantifier.replace("{N}", plural), (), "+".join([*kinds, "plural"]))
    return Expression(composer.article(pattern.replace("{n}", noun)), (), "+".join(kinds))


def _attribute(composer: Composer, person: bool, present: Sequence[str]) -> tuple[str, str, Truth] | None:
    """A random attribute, whatever it fits: its name, its pattern and the objects that it fits."""
    rng, layout = composer.rng, composer.layout
    draw = rng.random()
    if draw < 0.5:
        color = pick(rng, COLOR_NAMES)
        part = "upper" if person else "whole"
        patterns: Sequence[str] = words.CLOTHED if person else words.COLORED
        if person and rng.random() < 0.25:
            part, patterns = "lower", words.TROUSERED
        return "color", pick(rng, patterns).replace("{c}", composer.color_word(color)), layout.colored(color, part)
    category = pick(rng, present) if present and rng.random() < 0.4 else pick(rng, sorted(words.NOUNS))
    other = pick(rng, words.NOUNS[category])
    named = layout.categories(words.CATEGORIES_OF[other])
    kind, patterns = _RELATIONS[rng.integers(len(_RELATIONS))]
    fits = {
        "beside": layout.beside, "left of": layout.left_of, "behind": layout.behind, "before": layout.behind,
        "holding": layout.holding, "on": layout.on,
    }[kind](named)  # fmt: skip
    if kind == "before":
        fits = layout.behind(named, mirrored=True)
    return kind, pick(rng, patterns).replace("{m}", f"the {other}"), fits


__all__ = ["generate_absent"]
