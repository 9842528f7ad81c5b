"""True referring expressions for annotated objects, in the words people use.

`generate_expressions` composes a noun (category, synonym, hypernym, clothes) with attributes (colour, relation to
another object, negation) and a selector (side, ordinal, size, distance), and keeps an expression only if it fits
exactly one object and no other even possibly (see `predicates.py`). Deterministic for a given generator. Knows what
COCO annotates, and nothing of gender, age, action or material: "man" and "lady" are names of a person.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from ...small.colors import COLOR_NAMES
from . import words
from .objects import SceneObject
from .predicates import Layout, Truth
from .selectors import mirror_text, mirrored, pick, random_selection

CATEGORIES_OF: dict[str, frozenset[str]] = {
    noun: frozenset(category for category, nouns in words.NOUNS.items() if noun in nouns)
    for nouns in words.NOUNS.values()
    for noun in nouns
}
SMALLEST_TARGET = 0.0016  # share of the picture; nobody would point out smaller things
_CARRIED = frozenset(
    (
        "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "sports ball", "kite", "baseball bat",
        "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle", "wine glass", "cup", "cell phone",
        "remote", "book", "laptop", "banana", "apple", "sandwich", "hot dog", "pizza", "donut", "teddy bear",
        "toothbrush", "knife", "fork", "spoon", "skis", "snowboard", "bowl", "cake", "orange",
    )
)  # fmt: skip
_RIDDEN = frozenset(
    ("bicycle", "motorcycle", "horse", "skateboard", "surfboard", "snowboard", "elephant", "skis", "boat")
)
_SUPPORTS = frozenset(("dining table", "bed", "couch", "chair", "bench", "boat", "truck", "oven", "sink"))
_HOLDERS = frozenset(
    ("bowl", "dining table", "oven", "vase", "cup", "boat", "truck", "chair", "bench", "couch", "bed")
)


@dataclass(frozen=True)
class Expression:
    """
    A text that fits one object and no other.

    Attributes:
        text: the expression.
        target: index of the object.
        kind: names of the statements that it makes, joined by "+".
    """

    text: str
    target: int
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
    composer = _Composer(objects, image_size, rng, complete)
    targets = [
        index
        for index, item in enumerate(objects)
        if not item.vague and composer.layout.area[index] >= SMALLEST_TARGET
    ]
    found: dict[str, Expression] = {}
    for _ in range(count * attempts if targets else 0):
        expression = composer.compose(targets[rng.integers(len(targets))])
        if expression is not None:
            found.setdefault(expression.text, expression)
        if len(found) == count:
            break
    return list(found.values())


@dataclass(frozen=True)
class _Statement:
    """A noun or an attribute and the objects that it fits; `pattern` has {n} where the noun phrase goes."""

    kind: str
    pattern: str
    truth: Truth


class _Composer:
    def __init__(
        self, objects: Sequence[SceneObject], image_size: tuple[int, int], rng: Generator, complete: bool
    ) -> None:
        self.objects, self.rng, self.complete = objects, rng, complete
        self.layout = Layout(objects, image_size)

    def compose(self, target: int) -> Expression | None:
        """One random expression, or None if it is not true of `target` alone."""
        if self.objects[target].category == "person" and self.rng.random() < 0.08:
            noun = self._clothes(target)
        else:
            noun = self._noun(target)
        if noun is None:
            return None
        truth, text, kinds = noun.truth, noun.pattern, [noun.kind]
        attributes = self.rng.choice(3, p=(0.42, 0.48, 0.1))
        for _ in range(attributes):
            statement = self._attribute(target)
            if statement is None or statement.kind in kinds:
                return None
            truth, kinds = truth & statement.truth, [*kinds, statement.kind]
            text = statement.pattern.replace("{n}", text)
        if self.rng.random() < (0.85 if not attributes else 0.35):
            selection = random_selection(self.layout, target, self.rng)
            # Where the rest already picks one object, a side adds nothing.
            if truth.only() is not None and self.rng.random() < 0.6:
                return None
            truth, kinds = selection.select(truth) & truth, [*kinds, selection.kind]
            text = selection.pattern.replace("{n}", text)
        if truth.only() != target:
            return None
        return Expression(self._article(text), target, "+".join(kinds))

    def _article(self, text: str) -> str:
        draw = self.rng.random()
        if text.startswith(("the ", "not ")) or draw < 0.62:
            return text
        if draw < 0.87:
            return f"the {text}"
        return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"

    def _noun_word(self, category: str) -> str | None:
        noun = pick(self.rng, words.NOUNS[category])
        return None if noun in words.LOOSE_NOUNS and not self.complete else noun

    def _noun(self, target: int) -> _Statement | None:
        if self.complete and self.rng.random() < 0.02:
            everything = Truth(~self.layout.vague, np.ones(len(self.objects), dtype=bool))
            return _Statement("thing", pick(self.rng, ("thing", "object", "one")), everything)
        if self.objects[target].category == "person" and self.rng.random() < 0.1:
            return self._role(target)
        noun = self._noun_word(self.objects[target].category)
        return None if noun is None else _Statement("noun", noun, self.layout.categories(CATEGORIES_OF[noun]))

    def _role(self, target: int) -> _Statement | None:
        """A person by what it holds or rides: skier, batter, rider."""
        layout = self.layout
        persons = layout.categories(frozenset(["person"]))
        true = []
        for role, things in words.ROLES.items():
            held, ridden = (relation(layout.categories(things)) for relation in (layout.holding, layout.on))
            truth = persons & Truth(held.sure | ridden.sure, held.possible | ridden.possible)
            if truth.sure[target]:
                true.append(_Statement("role", role, truth))
        return true[self.rng.integers(len(true))] if true else None

    def _clothes(self, target: int) -> _Statement | None:
        color = self._main_color(target, "upper")
        if color is None:
            return None
        truth = self.layout.categories(frozenset(["person"])) & self.layout.colored(color, "upper")
        if self.complete:  # a red jacket may be meant by anything red
            others = ~self.layout.categories(frozenset(["person"]))
            red = self.layout.colored(color, "whole")
            truth = Truth(truth.sure, truth.possible | (others.possible & red.sure))
        return _Statement(
            "clothes", pick(self.rng, words.CLOTHES_NOUNS).replace("{c}", self._color_word(color)), truth
        )

    def _attribute(self, target: int) -> _Statement | None:
        person = self.objects[target].category == "person"
        makers: list[Callable[[int], _Statement | None]] = [self._color, self._relation, self._relation, self._color]
        if person:
            makers += [self._trousers, self._with, self._color]
        if self.complete:
            makers += [self._without]
        makers += [self._negated]
        return makers[self.rng.integers(len(makers))](target)

    def _main_color(self, target: int, part: str) -> str | None:
        shares = self.objects[target].colors.get(part)
        if shares is None or shares.max() <= 0.5:
            return None
        return COLOR_NAMES[int(shares.argmax())]

    def _color_word(self, color: str) -> str:
        return pick(self.rng, words.COLOR_SYNONYMS.get(color, (color,)))

    def _color(self, target: int) -> _Statement | None:
        person = self.objects[target].category == "person"
        part = "upper" if person else "whole"
        color = self._main_color(target, part)
        if color is None:
            return None if person else self._two_colors(target)
        pattern = pick(self.rng, words.CLOTHED if person else words.COLORED).replace("{c}", self._color_word(color))
        return _Statement("color", pattern, self.layout.colored(color, part))

    def _two_colors(self, target: int) -> _Statement | None:
        shares = self.objects[target].colors.get("whole")
        if shares is None:
            return None
        second, first = (COLOR_NAMES[index] for index in np.argsort(shares)[-2:])
        truth = self.layout.two_colored((first, second))
        if not truth.sure[target]:
            return None
        pattern = pick(self.rng, words.TWO_COLORED).replace("{c}", first).replace("{d}", second)
        return _Statement("two colors", pattern, truth)

    def _trousers(self, target: int) -> _Statement | None:
        width, height = self.layout.width[target], self.layout.height[target]
        color, upper = self._main_color(target, "lower"), self._main_color(target, "upper")
        if color is None or self.objects[target].size[1] < 1.8 * self.objects[target].size[0] or height * width < 0.01:
            return None
        truth = self.layout.colored(color, "lower")
        if upper is not None and self.rng.random() < 0.4:
            pattern = pick(self.rng, words.DRESSED).replace("{c}", upper).replace("{d}", color)
            return _Statement("dressed", pattern, truth & self.layout.colored(upper, "upper"))
        return _Statement("trousers", pick(self.rng, words.TROUSERED).replace("{c}", self._color_word(color)), truth)

    def _other(self, categories: Iterator[str]) -> tuple[str, Truth] | None:
        """Another object to relate to: its phrase, and which objects the phrase fits."""
        present = sorted(set(categories))
        noun = self._noun_word(pick(self.rng, present)) if present else None
        if noun is None:
            return None
        phrase = pick(self.rng, (f"the {noun}", f"the {noun}", noun, f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"))
        return phrase, self.layout.categories(CATEGORIES_OF[noun])

    def _relation(self, target: int) -> _Statement | None:
        other = self._other(
            item.category for index, item in enumerate(self.objects) if index != target and not item.vague
        )
        if other is None:
            return None
        phrase, named = other
        layout, category = self.layout, self.objects[target].category
        choices = [
            ("beside", words.BESIDE, layout.beside(named)),
            ("left of", words.LEFT_OF, layout.left_of(named)),
            ("right of", mirrored(words.LEFT_OF), layout.left_of(named, mirrored=True)),
            ("above", words.ABOVE, layout.above(named)),
            ("below", words.BELOW, layout.above(named, mirrored=True)),
            ("behind", words.BEHIND, layout.behind(named)),
            ("before", words.BEFORE, layout.behind(named, mirrored=True)),
        ]
        names = {item.category for item, sure in zip(self.objects, named.sure, strict=True) if sure}
        if category == "person" and names <= _RIDDEN:
            choices += [("riding", words.RIDING, layout.on(named))] * 2
        elif names <= _SUPPORTS:
            choices += [("on", words.ON, layout.on(named))] * 2
        if names and category in _HOLDERS:
            choices += [("thing with", words.THING_WITH, layout.holding(named))]
        true = [choice for choice in choices if choice[2].sure[target]]
        if not true:
            return None
        kind, patterns, truth = true[self.rng.integers(len(true))]
        return _Statement(kind, pick(self.rng, patterns).replace("{m}", phrase), truth)

    def _with(self, target: int) -> _Statement | None:
        other = self._other(item.category for item in self.objects if item.category in _CARRIED)
        if other is None:
            return None
        phrase, named = other
        truth = self.layout.holding(named)
        pattern = pick(self.rng, words.WITH)
        if pattern.startswith("{m}"):
            phrase = phrase.removeprefix("the ").removeprefix("an ").removeprefix("a ")
        return _Statement("with", pattern.replace("{m}", phrase), truth) if truth.sure[target] else None

    def _without(self, target: int) -> _Statement | None:
        other = self._other(item.category for item in self.objects if item.category in _CARRIED)
        if other is None or self.objects[target].category != "person":
            return None
        phrase, named = other
        truth = ~self.layout.holding(named)
        phrase = phrase.removeprefix("the ").removeprefix("an ").removeprefix("a ")
        if not truth.sure[target]:
            return None
        return _Statement("without", pick(self.rng, words.WITHOUT).replace("{m}", phrase), truth)

    def _negated(self, target: int) -> _Statement | None:
        """ "the one not on the left", "man not in red"."""
        if self.rng.random() < 0.5:
            low = bool(self.rng.integers(2))
            truth, phrase = ~self.layout.side("x", low), "on the left" if low else "on the right"
        else:
            shares = [item.colors.get("upper") for item in self.objects if item.category == "person"]
            colors = [COLOR_NAMES[int(share.argmax())] for share in shares if share is not None and share.max() > 0.5]
            if not colors or self.objects[target].category != "person":
                return None
            color = pick(self.rng, colors)
            truth, phrase = ~self.layout.colored(color, "upper"), f"in {color}"
        if not truth.sure[target]:
            return None
        return _Statement("not", pick(self.rng, words.NEGATED[1:]).replace("{p}", phrase), truth)


__all__ = ["Expression", "generate_expressions", "mirror_text"]
