"""Composes noun phrases that are true of a given object: a noun, attributes and a selector, with the objects they fit.

A noun is a category, a synonym, a hypernym, clothes or a role; attributes are colours, relations to another object and
negations; a selector picks among what is left. Knows what COCO annotates, and nothing of gender, age, action or
material: "man" and "lady" are names of a person.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from ...small.colors import COLOR_NAMES
from . import words
from .objects import SceneObject
from .predicates import Layout, Truth
from .selectors import mirrored, pick, random_selection

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

_POSTURES = 8  # how often a known posture is tried, where a colour is tried three times


@dataclass(frozen=True)
class Statement:
    """
    Words and the objects that they fit.

    Attributes:
        kind: names of what is said, joined by "+".
        pattern: the words; those of an attribute have {n} where the noun phrase goes.
        truth: the objects that they fit.
    """

    kind: str
    pattern: str
    truth: Truth


class Composer:
    """
    Phrases about the objects of one picture.

    Args:
        objects: all annotated objects of the picture.
        image_size: (height, width) of the picture.
        rng: the source of every choice.
        complete: whether all objects of the 80 categories are annotated.
    """

    def __init__(
        self, objects: Sequence[SceneObject], image_size: tuple[int, int], rng: Generator, complete: bool
    ) -> None:
        self.objects, self.rng, self.complete = objects, rng, complete
        self.layout = Layout(objects, image_size)

    def phrase(self, target: int) -> Statement | None:
        """A random noun phrase that is true of `target`, if perhaps not of it alone; None if none was found."""
        if self.objects[target].category == "person" and self.rng.random() < 0.08:
            noun = self._clothes(target)
        else:
            noun = self.noun(target)
        if noun is None:
            return None
        truth, text, kinds = noun.truth, noun.pattern, [noun.kind]
        attributes = self.rng.choice(3, p=(0.42, 0.48, 0.1))
        for _ in range(attributes):
            statement = self.attribute(target)
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
        return Statement("+".join(kinds), text, truth)

    def article(self, text: str) -> str:
        """`text`, perhaps with an article."""
        draw = self.rng.random()
        if text.startswith(("the ", "not ")) or draw < 0.62:
            return text
        if draw < 0.87:
            return f"the {text}"
        return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"

    def noun_word(self, category: str) -> str | None:
        """A name of `category`; None if it might also mean something that is not annotated."""
        noun = pick(self.rng, words.NOUNS[category])
        return None if noun in words.LOOSE_NOUNS and not self.complete else noun

    def noun(self, target: int) -> Statement | None:
        """A noun for `target`."""
        if self.complete and self.rng.random() < 0.02:
            everything = Truth(~self.layout.vague, np.ones(len(self.objects), dtype=bool))
            return Statement("thing", pick(self.rng, ("thing", "object", "one")), everything)
        if self.objects[target].category == "person" and self.rng.random() < 0.1:
            return self._role(target)
        noun = self.noun_word(self.objects[target].category)
        return None if noun is None else Statement("noun", noun, self.layout.categories(words.CATEGORIES_OF[noun]))

    def _role(self, target: int) -> Statement | None:
        """A person by what it holds or rides: skier, batter, rider."""
        layout = self.layout
        persons = layout.categories(frozenset(["person"]))
        true = []
        for role, things in words.ROLES.items():
            held, ridden = (relation(layout.categories(things)) for relation in (layout.holding, layout.on))
            truth = persons & Truth(held.sure | ridden.sure, held.possible | ridden.possible)
            if truth.sure[target]:
                true.append(Statement("role", role, truth))
        return true[self.rng.integers(len(true))] if true else None

    def _clothes(self, target: int) -> Statement | None:
        color = self._main_color(target, "upper")
        if color is None:
            return None
        truth = self.layout.categories(frozenset(["person"])) & self.layout.colored(color, "upper")
        if self.complete:  # a red jacket may be meant by anything red
            others = ~self.layout.categories(frozenset(["person"]))
            red = self.layout.colored(color, "whole")
            truth = Truth(truth.sure, truth.possible | (others.possible & red.sure))
        return Statement("clothes", pick(self.rng, words.CLOTHES_NOUNS).replace("{c}", self.color_word(color)), truth)

    def attribute(self, target: int) -> Statement | None:
        """A random attribute of `target`; None if it has none of that sort."""
        person = self.objects[target].category == "person"
        makers: list[Callable[[int], Statement | None]] = [self._color, self._relation, self._relation, self._color]
        if person:
            makers += [self._trousers, self._with, self._color]
        if self.complete:
            makers += [self._without]
        makers += [self._negated]
        # Only here, so that the expressions of scenes without postures stay the same.
        if self.objects[target].posture is not None:
            makers += [self._posture] * _POSTURES
        return makers[self.rng.integers(len(makers))](target)

    def _posture(self, target: int) -> Statement | None:
        posture = self.objects[target].posture
        if posture is None:
            return None
        return Statement("posture", pick(self.rng, words.POSTURES[posture]), self.layout.posture(posture))

    def _main_color(self, target: int, part: str) -> str | None:
        shares = self.objects[target].colors.get(part)
        if shares is None or shares.max() <= 0.5:
            return None
        return COLOR_NAMES[int(shares.argmax())]

    def color_word(self, color: str) -> str:
        """A word for a colour."""
        return pick(self.rng, words.COLOR_SYNONYMS.get(color, (color,)))

    def _color(self, target: int) -> Statement | None:
        person = self.objects[target].category == "person"
        part = "upper" if person else "whole"
        color = self._main_color(target, part)
        if color is None:
            return None if person else self._two_colors(target)
        pattern = pick(self.rng, words.CLOTHED if person else words.COLORED).replace("{c}", self.color_word(color))
        return Statement("color", pattern, self.layout.colored(color, part))

    def _two_colors(self, target: int) -> Statement | None:
        shares = self.objects[target].colors.get("whole")
        if shares is None:
            return None
        second, first = (COLOR_NAMES[index] for index in np.argsort(shares)[-2:])
        truth = self.layout.two_colored((first, second))
        if not truth.sure[target]:
            return None
        pattern = pick(self.rng, words.TWO_COLORED).replace("{c}", first).replace("{d}", second)
        return Statement("two colors", pattern, truth)

    def _trousers(self, target: int) -> Statement | None:
        width, height = self.layout.width[target], self.layout.height[target]
        color, upper = self._main_color(target, "lower"), self._main_color(target, "upper")
        if color is None or self.objects[target].size[1] < 1.8 * self.objects[target].size[0] or height * width < 0.01:
            return None
        truth = self.layout.colored(color, "lower")
        if upper is not None and self.rng.random() < 0.4:
            pattern = pick(self.rng, words.DRESSED).replace("{c}", upper).replace("{d}", color)
            return Statement("dressed", pattern, truth & self.layout.colored(upper, "upper"))
        return Statement("trousers", pick(self.rng, words.TROUSERED).replace("{c}", self.color_word(color)), truth)

    def _other(self, categories: Iterator[str]) -> tuple[str, Truth] | None:
        """Another object to relate to: its phrase, and which objects the phrase fits."""
        present = sorted(set(categories))
        noun = self.noun_word(pick(self.rng, present)) if present else None
        if noun is None:
            return None
        phrase = pick(self.rng, (f"the {noun}", f"the {noun}", noun, f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"))
        return phrase, self.layout.categories(words.CATEGORIES_OF[noun])

    def _relation(self, target: int) -> Statement | None:
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
        return Statement(kind, pick(self.rng, patterns).replace("{m}", phrase), truth)

    def _with(self, target: int) -> Statement | None:
        other = self._other(item.category for item in self.objects if item.category in _CARRIED)
        if other is None:
            return None
        phrase, named = other
        truth = self.layout.holding(named)
        pattern = pick(self.rng, words.WITH)
        if pattern.startswith("{m}"):
            phrase = phrase.removeprefix("the ").removeprefix("an ").removeprefix("a ")
        return Statement("with", pattern.replace("{m}", phrase), truth) if truth.sure[target] else None

    def _without(self, target: int) -> Statement | None:
        other = self._other(item.category for item in self.objects if item.category in _CARRIED)
        if other is None or self.objects[target].category != "person":
            return None
        phrase, named = other
        truth = ~self.layout.holding(named)
        phrase = phrase.removeprefix("the ").removeprefix("an ").removeprefix("a ")
        if not truth.sure[target]:
            return None
        return Statement("without", pick(self.rng, words.WITHOUT).replace("{m}", phrase), truth)

    def _negated(self, target: int) -> Statement | None:
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
        return Statement("not", pick(self.rng, words.NEGATED[1:]).replace("{p}", phrase), truth)


__all__ = ["Composer", "Statement"]
