"""Reads expressions that people wrote about other pictures, to reuse them for the objects of this one.

`read_expression` finds noun, colours, relations and places in a human expression, or gives up;
`HumanExpressions.about` finds those of many expressions that fit exactly one object of a picture, by the same
three-valued statements that the generator uses. Words that it does not know ("with glasses", "looking at us") stay in
the text: they are not checked, and show a model the language as it is. Knows nothing of pixels and models.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.random import Generator

from ...small.colors import COLOR_NAMES
from . import selectors, words
from .expressions import SMALLEST_TARGET, Expression
from .objects import SceneObject
from .predicates import Layout, Selector, Truth

_PERSONS = (
    "baby", "toddler", "child", "mom", "mother", "dad", "father", "bride", "groom", "chef", "cop", "officer",
    "soldier", "catcher", "umpire", "batter", "pitcher", "chick", "lad", "gentleman", "skier", "skiier",
    "snowboarder", "surfer", "skateboarder", "skater", "rider", "biker", "cyclist", "tennis player",
    "baseball player", "little girl", "little boy", "young girl", "young boy", "old woman", "young woman", "male",
    "female", "fella", "worker", "waiter", "driver", "spectator", "teen", "teenager", "business man", "businessman",
    "gentlemen", "ref", "referee", "hitter",
)  # fmt: skip
_MISSPELLED = {
    "brocolli": "broccoli", "brocoli": "broccoli", "broccolli": "broccoli", "sandwhich": "sandwich",
    "motocycle": "motorcycle", "luggae": "luggage", "girraff": "giraffe", "giraff": "giraffe", "zeebra": "zebra",
    "elephent": "elephant", "umbrealla": "umbrella", "toliet": "toilet", "computer screen": "monitor",
    "computer monitor": "monitor", "dough nut": "donut", "pickup truck": "truck", "pick up truck": "truck",
    "pickup": "truck", "taxi": "car", "cab": "car", "duck": "bird", "seagull": "bird", "pigeon": "bird",
    "arm chair": "chair", "recliner": "chair", "love seat": "couch", "loveseat": "couch", "tabby": "cat",
    "polar bear": "bear", "brown bear": "bear", "cupcake": "cake", "tvs": "tv", "pony": "horse", "ram": "sheep",
}  # fmt: skip
NOUNS: dict[str, frozenset[str]] = {
    **words.CATEGORIES_OF,
    **dict.fromkeys(_PERSONS, frozenset(["person"])),
}
NOUNS |= {wrong: NOUNS[right] for wrong, right in _MISSPELLED.items()}
_COLORS = {name: name for name in COLOR_NAMES} | {
    "grey": "gray", "silver": "gray", "tan": "brown", "dark": "black", "blk": "black", "beige": "brown",
    "maroon": "red", "navy": "blue", "khaki": "brown", "gold": "yellow", "golden": "yellow", "violet": "purple",
}  # fmt: skip
_CLOTHES = "shirt|jacket|coat|top|sweater|dress|hoodie|t ?shirt|vest|suit|uniform|blouse|tee|jersey|sweatshirt|outfit"
_TROUSERS = "pants|shorts|jeans|skirt|trousers|pant"


def _either(options: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, options), key=len, reverse=True))


_NOUN, _COLOR = f"(?:{_either(NOUNS)})", f"(?:{_either(_COLORS)})"
# What no statement here can express: several things, parts of things, negations, other pictures.
_UNREADABLE = re.compile(
    r"\b(not|no|nor|neither|without|except|other|another|both|two|three|four|five|couple|group|bunch|pair|all|reflection"
    r"|mirror|shadow|between|or|isn|doesn|cant|last|than|middle of|in between|center of|hand of)\b|n't|'s|s'|[#&?]"
    r"|\b(back|front|top|bottom|side|edge|corner|end|part|piece|half|rear|tail|wing|handle|row|stack|pile|picture|photo"
    r"|tip|portion|inside|outside|section|image) of (?!(the )?(picture|image|pic|photo|screen|frame))"
)
_SIDE_OF_UNKNOWN = re.compile(r"\b(left|right) of (?!(the )?(picture|image|pic|photo|screen|frame))")
_FRAME = r"(?: (?:of|in) (?:the )?(?:picture|image|pic|photo|screen|frame|shot))?"
_STOP = re.compile(
    r"\b(with|in|on|wearing|holding|at|of|behind|next|near|by|beside|that|who|which|whose|standing|sitting|to|from|under"
    r"|underneath|beneath|above|over|below|looking|riding|playing|eating|facing|being|has|having|and|is|are|carrying"
    r"|walking|parked|laying|lying|closest|against|for|about|up|wear|just|jumping|running|up|out|off|down|all|leaning"
    r"|talking|getting|full|w|sits|seated|stands|doing|using|making|taking|driving|flying|grazing|sleeping|swinging|reaching"
    r"|smiling|drinking|cutting|watching|pointing|touching|around|across|along|toward|towards|into|covered|filled)\b"
)


Said = tuple[Any, ...]  # a name and its arguments


@dataclass(frozen=True)
class Reading:
    """
    The meaning of a text.

    Attributes:
        text: as it was written.
        noun: its head.
        attributes, places: names of `_ATTRIBUTES` and of `_SELECTORS`, each with the arguments.
    """

    text: str
    noun: str
    attributes: tuple[Said, ...] = ()
    places: tuple[Said, ...] = ()

    def truth(self, layout: Layout) -> Truth:
        """The objects that it fits."""
        truth = layout.categories(NOUNS[self.noun])
        for name, *arguments in self.attributes:
            truth = truth & _ATTRIBUTES[name](layout, *arguments)
        for name, *arguments in self.places:
            truth = truth & _SELECTORS[name](layout, *arguments)(truth)
        return truth


_ATTRIBUTES: dict[str, Callable[..., Truth]] = {
    "colored": lambda layout, color, part: layout.colored(color, part),
    "posture": lambda layout, posture: layout.posture(posture),
    "holding": lambda layout, noun: layout.holding(layout.categories(NOUNS[noun])),
    "on": lambda layout, noun: layout.on(layout.categories(NOUNS[noun])),
    "beside": lambda layout, noun: layout.beside(layout.categories(NOUNS[noun])),
    "behind": lambda layout, noun: layout.behind(layout.categories(NOUNS[noun])),
    "before": lambda layout, noun: layout.behind(layout.categories(NOUNS[noun]), mirrored=True),
    "above": lambda layout, noun: layout.above(layout.categories(NOUNS[noun])),
    "below": lambda layout, noun: layout.above(layout.categories(NOUNS[noun]), mirrored=True),
    "left of": lambda layout, noun: layout.left_of(layout.categories(NOUNS[noun])),
    "right of": lambda layout, noun: layout.left_of(layout.categories(NOUNS[noun]), mirrored=True),
}
_SELECTORS: dict[str, Callable[..., Selector]] = {
    "side": selectors.side,
    "far side": selectors.far_side,
    "middle": selectors.in_the_middle,
    "corner": selectors.corner,
    "nth": selectors.nth,
    "big": selectors.biggest,
    "tall": selectors.tallest,
    "near": selectors.nearest,
}
_ARTICLE = r"(?:(?:the|a|an|his|her|its|some) )?"
_RELATIONS = (
    ("left of", r"(?:(?:to|on) )?(?:the )?left of"),
    ("right of", r"(?:(?:to|on) )?(?:the )?right of"),
    ("before", r"(?:in )?front of|infront of"),
    ("behind", r"behind|in back of"),
    ("beside", r"next to|beside|by|near|closest to|closer to|close to|alongside"),
    ("holding", r"with|holding|carrying|has|having|using|w"),
    ("on", r"on top of|sitting on|sitting in|laying on|lying on|riding on|riding|on|standing on"),
    ("above", r"above|over"),
    ("below", r"below|under|underneath|beneath"),
)
POSTURES = {name: re.compile(rf"\b(?:{_either(said)})\b") for name, said in words.POSTURE_WORDS.items()}
_POSED_NOUN = re.compile(rf"\b(?:sitting|seated|standing) (?={_NOUN}\b)")
_ORDINALS = {"second": 2, "2nd": 2, "third": 3, "3rd": 3, "fourth": 4, "4th": 4}
_PLACE_PATTERNS: tuple[tuple[str, Callable[[re.Match[str]], Said]], ...] = (
    (
        rf"\b({_either(_ORDINALS)})\b(?: one)?((?: {_NOUN})?)(?: in)? (?:from|on|to) (?:the )?(left|right)(?: side)?"
        rf"{_FRAME}\b",
        lambda m: ("nth", _ORDINALS[m[1]], m[3] == "left"),
    ),
    (
        rf"\bfirst\b((?: {_NOUN})?) (?:from|on) (?:the )?(left|right)\b",
        lambda m: ("far side", m[2] == "left"),
    ),
    (
        r"\b(?:(?:on|to|at) )?(?:the )?(?:far|very|extreme|furthest|farthest|way)(?: to the| on the| on)? (left|right)"
        rf"(?: hand)?(?: side)?{_FRAME}\b",
        lambda m: ("far side", m[1] == "left"),
    ),
    (r"\b(?:on the )?(left|right) ?most\b", lambda m: ("far side", m[1] == "left")),
    (r"\b(?:furthest|farthest|all the way) (?:to|on) (?:the )?(left|right)\b", lambda m: ("far side", m[1] == "left")),
    (
        r"\b(?:(?:on|in|at|to) )?(?:the )?(top|upper|bottom|lower) (left|right)(?: hand)?(?: side)?(?: corner)?"
        rf"{_FRAME}\b",
        lambda m: ("corner", m[2] == "left", m[1] in ("top", "upper")),
    ),
    (rf"\b(?:(?:in|at) )?(?:the )?(?:middle|center|centre){_FRAME}\b", lambda m: ("middle",)),
    (
        rf"\b(?:(?:closest|nearest|closer|near|close) to (?:us|you|me|(?:the )?(?:camera|viewer|front))|nearest"
        rf"|(?:in |on )?(?:the )?(?:front|foreground)(?! of){_FRAME}|up front|closest)\b",
        lambda m: ("near", True),
    ),
    (
        rf"\b(?:(?:in|at|way in) )?(?:the )?(?:back ?ground|back|rear|distance)(?! of){_FRAME}\b"
        r"|\b(?:furthest|farthest|far)(?: away| back)?(?: from (?:us|(?:the )?camera))?\b",
        lambda m: ("near", False),
    ),
    (
        rf"\b(?:(?:on|to|at|in) )?(?:the |your |our )?(?:left|right)(?: hand)?(?: side)?{_FRAME}\b",
        lambda m: ("side", "x", "left" in m[0]),
    ),
    (
        rf"\b(?:(?:on|at|in) )?(?:the )?(?:very )?(top(?: most)?|topmost|upper|highest)(?! of){_FRAME}\b",
        lambda m: ("side", "y", True),
    ),
    (
        rf"\b(?:(?:on|at|in) )?(?:the )?(?:very )?(bottom(?: most)?|lower|lowest)(?! of){_FRAME}\b",
        lambda m: ("side", "y", False),
    ),
    (r"\b(?:biggest|bigger|big|largest|larger|large|huge)\b", lambda m: ("big", True)),
    (r"\b(?:smallest|smaller|small|tiny|littlest)\b", lambda m: ("big", False)),
    (r"\b(?:tallest|taller|tall)\b", lambda m: ("tall", True)),
    (r"\b(?:shortest|shorter)\b", lambda m: ("tall", False)),
)
_PLACES = tuple((re.compile(pattern), make) for pattern, make in _PLACE_PATTERNS)


def read_expression(text: str) -> Reading | None:
    """The meaning of a text about one object; None where it contains something that this reader cannot check."""
    rest = re.sub(r"\s+", " ", re.sub(r"[.,;!\"()]", " ", text.lower())).strip()
    if not rest or _UNREADABLE.search(rest):
        return None
    attributes: list[Said] = []
    places: list[Said] = []
    for name, pattern in _RELATIONS:
        match = re.search(rf"\b(?:{pattern}) {_ARTICLE}(?:{_COLOR} )?({_NOUN})\b(?! {_NOUN})", rest)
        if match:
            attributes.append((name, match[1]))
            rest = f"{rest[: match.start()]} with it {rest[match.end() :]}"
    if _SIDE_OF_UNKNOWN.search(rest):
        return None
    clothes = _clothes(rest)
    for _, span in clothes:
        rest = rest.replace(span, " in it " if rest.strip() != span.strip() else "person")
    for place, make in _PLACES:
        match = place.search(rest)
        if match:
            places.append(make(match))
            kept = next((group for group in match.groups() if group and group.strip() in NOUNS), "")
            rest = f"{rest[: match.start()]} {kept} {rest[match.end() :]}"
    found = _head(_POSED_NOUN.sub("", rest))
    if found is None or len(places) > 2:
        return None
    noun, color, dressed = found
    person = NOUNS[noun] == frozenset(["person"])
    if clothes and not person:
        return None
    if person:
        attributes += [("posture", name) for name, word in POSTURES.items() if word.search(rest)]
    attributes += [("colored", *color_and_part) for color_and_part, _ in clothes]
    for named in {color, dressed}:
        if named is not None:
            attributes.append(("colored", _COLORS[named], "upper" if person else "whole"))
    return Reading(text, noun, tuple(attributes), tuple(places))


def _clothes(rest: str) -> list[tuple[tuple[str, str], str]]:
    """(colour, part) of clothes, and the words for them."""
    found = []
    for part, nouns in (("upper", _CLOTHES), ("lower", _TROUSERS)):
        match = re.search(rf"(?:\b(?:in|wearing|with|and|w) )?{_ARTICLE}\b({_COLOR}) (?:{nouns})\b", rest)
        if match:
            found.append(((_COLORS[match[1]], part), match[0]))
    return found


def _head(rest: str) -> tuple[str, str | None, str | None] | None:
    """Noun, its colour and the colour that it is "in", from what is left of the text."""
    rest = re.sub(r"\s+", " ", rest).strip()
    dressed = re.search(rf"\b(?:in|wearing) (?:all )?({_COLOR})$", rest)
    stop = _STOP.search(rest)
    head = rest[: stop.start()] if stop else rest
    match = re.search(rf"(?:^| )(?:({_COLOR}) (?:colou?red )?)?(?:\w+ )?({_NOUN})$", head.strip())
    if match is None:
        return None
    direct = re.search(rf"({_COLOR}) (?:colou?red )?{re.escape(match[2])}$", head.strip())
    return match[2], direct[1] if direct else None, dressed[1] if dressed else None


class HumanExpressions:
    """
    Many read expressions, to be reused for the objects of pictures.

    Args:
        texts: what people wrote.
        exclude: texts that are kept for evaluation, left out whatever their case.

    Attributes:
        readings: those that were read.
        count: number of different texts.
    """

    def __init__(self, texts: Iterable[str], exclude: Iterable[str] = ()) -> None:
        excluded = {text.lower().strip() for text in exclude}
        given = sorted({text.lower().strip() for text in texts} - excluded)
        self.readings = [reading for reading in map(read_expression, given) if reading is not None]
        self.count = len(given)
        self._by_category: dict[str, list[Reading]] = defaultdict(list)
        for reading in self.readings:
            for category in NOUNS[reading.noun]:
                self._by_category[category].append(reading)

    def about(
        self,
        objects: Sequence[SceneObject],
        image_size: tuple[int, int],
        rng: Generator,
        count: int,
        complete: bool = True,
        attempts: int = 6,
    ) -> list[Expression]:
        """Up to `count` expressions, each true of exactly one object; arguments as of `generate_expressions`."""
        layout = Layout(objects, image_size)
        targets = [
            index
            for index, item in enumerate(objects)
            if not item.vague and layout.area[index] >= SMALLEST_TARGET and self._by_category[item.category]
        ]
        found: dict[str, Expression] = {}
        for _ in range(count * attempts if targets else 0):
            target = targets[rng.integers(len(targets))]
            options = self._by_category[objects[target].category]
            reading = options[rng.integers(len(options))]
            if not complete and reading.noun in words.LOOSE_NOUNS:
                continue
            only = reading.truth(layout).only()
            if only is not None and only in targets:
                found.setdefault(reading.text, Expression(reading.text, (only,), "human"))
            if len(found) == count:
                break
        return list(found.values())


__all__ = ["POSTURES", "HumanExpressions", "Reading", "read_expression"]
