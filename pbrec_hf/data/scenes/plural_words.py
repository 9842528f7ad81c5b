"""The vocabulary for several things and for none: plurals, numbers, and the phrases that go with them.

Repeated entries are likelier. `{n}` stands for a singular noun phrase, `{N}` for a plural one, `{k}` for a number,
`{h}` for a side and `{m}` for an expression that means one object.
"""

import re

NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight"}

# Names of several persons; COCO annotates neither gender nor age.
PEOPLE = (
    *("people",) * 8, "persons", *("guys",) * 2, *("men",) * 2, "women", "girls", "boys", "ladies", "kids", "players",
)  # fmt: skip

_IRREGULAR = {
    "man": "men", "woman": "women", "person": "people", "child": "children", "someone": "people", "knife": "knives",
    "calf": "calves", "sheep": "sheep", "scissors": "scissors", "skis": "skis", "bananas": "bananas",
    "carrots": "carrots", "flowers": "flowers", "luggage": "luggage", "aircraft": "aircraft", "food": "food",
    "broccoli": "broccoli", "broc": "broccoli", "thing": "things", "one": "ones", "half": "halves",
}  # fmt: skip
# Number of verbs in the patterns of `words.py`.
_VERBS = (("that is", "that are"), ("which is", "which are"), ("who is", "who are"), ("that has", "that have"),
          ("that does", "that do"))  # fmt: skip

ALL = (
    "all the {N}", "all the {N}", "all the {N}", "all {N}", "all {N}", "all of the {N}", "the {N}", "the {N}", "{N}",
    "{N}", "every {n}", "each {n}", "every one of the {N}", "all the {N} in the picture", "all {N} in the image",
)  # fmt: skip
BOTH = (
    "both {N}", "both {N}", "both {N}", "both the {N}", "both of the {N}", "the two {N}", "two {N}", "the pair of {N}",
    "the 2 {N}",
)  # fmt: skip
COUNTED = ("the {k} {N}", "the {k} {N}", "all {k} {N}", "{k} {N}", "{k} {N}", "group of {k} {N}")
FIRST = (
    "the {k} {N} on the {h}", "{k} {N} on the {h}", "{k} {N} on {h}", "the {k} {h}most {N}", "{k} {h} {N}",
    "{k} {N} furthest {h}", "first {k} {N} from the {h}", "the {k} {N} to the {h}",
)  # fmt: skip
FRONT = ("the {k} {N} in front", "{k} {N} closest to us", "{k} front {N}", "the {k} nearest {N}", "{k} closest {N}")
BACK = ("the {k} {N} in back", "{k} {N} in the background", "{k} {N} furthest away", "the {k} farthest {N}")
BIGGEST = ("the {k} biggest {N}", "{k} largest {N}", "the {k} big {N}")
EVERYONE = (
    *("everyone",) * 4, "everybody", "everybody", "all people", "all the people", "people", "all of the people",
    "everyone in the picture", "all persons", "everyone here", "every person",
)  # fmt: skip
EXCEPT = (
    "all the {N} except the {m}", "all {N} except {m}", "all {N} but the {m}", "every {n} except the {m}",
    "the {N} other than the {m}", "all the {N} but not the {m}",
)  # fmt: skip
EVERYONE_EXCEPT = ("everyone except the {m}", "everyone but the {m}", "everybody except {m}", "all people but {m}")
AND = ("{m} and {o}", "{m} and {o}", "{m} and {o}", "the {m} and the {o}", "both the {m} and the {o}", "{m} , {o}")
NOBODY = (
    *("nobody",) * 3, *("no one",) * 3, *("nothing",) * 2, "none of them", "no people", "no persons", "none",
    "not a single person", "no object",
)  # fmt: skip
NONE_OF = ("no {n}", "no {N}", "none of the {N}", "not a single {n}", "no {n} at all")


def plural(noun: str) -> str:
    """The plural of a noun of `words.py`, whose head is its last word, or the first before "of"."""
    head, of, rest = noun.partition(" of ")
    *before, last = head.split(" ")
    return " ".join((*before, _plural_word(last))) + of + rest


def in_plural(pattern: str) -> str:
    """A pattern about one thing as it reads for several: "{n} that is red" → "{n} that are red"."""
    for one, several in _VERBS:
        pattern = re.sub(rf"\b{one}\b", several, pattern)
    return pattern


def _plural_word(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if re.search(r"(s|x|z|ch|sh)$", word):
        return f"{word}es"
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}s"


__all__ = [
    "ALL",
    "AND",
    "BACK",
    "BIGGEST",
    "BOTH",
    "COUNTED",
    "EVERYONE",
    "EVERYONE_EXCEPT",
    "EXCEPT",
    "FIRST",
    "FRONT",
    "NOBODY",
    "NONE_OF",
    "NUMBERS",
    "PEOPLE",
    "in_plural",
    "plural",
]
