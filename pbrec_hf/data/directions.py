"""Words of direction: how an expression reads for the mirrored picture, and which expressions name a place.

Swaps whole words and their usual forms and compounds (leftmost, right-hand, left's, bottomleft), never letters inside
another word (bright, upright). English only.
"""

import re

_PLACES = "top|bottom|upper|lower|far|mid|middle|center|centre|front|back|rear|on|very"
_SIDE = re.compile(
    rf"\b(?P<before>(?:{_PLACES})?)(?P<side>left|right)"
    rf"(?P<after>(?:hand(?:ed)?|side|most|ish|er|est|wards?|ie|y|s|{_PLACES})?)\b",
    re.IGNORECASE,
)
_CONTAINS_SIDE = re.compile(r"\w*(?:left|right)\w*", re.IGNORECASE)
_INNOCENT = re.compile(
    r"\w*bright\w*|\w*upright\w*|\w*fright\w*|\w*wright\w*|\w*copyright\w*|outright|birthright|forthright"
    r"|cleft|leftovers?|right(?:eous|ful|fully|ly)",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"o\W?clock|clockwise", re.IGNORECASE)
_POSITIONAL = re.compile(
    r"\b(?:top|bottom|upper|lower|uppermost|lowest|highest|middle|mid|center|centre|central|corner|edge|side|end"
    r"|first|second|third|fourth|fifth|sixth|last|\d+(?:st|nd|rd|th)|far|farthest|furthest)\b",
    re.IGNORECASE,
)


def swap_left_right(expression: str) -> str | None:
    """
    The expression that is true of the mirrored picture; capitalisation is kept.

    None where a swap of words cannot make it true: clock positions, and left or right inside an unknown word.
    """
    if _CLOCK.search(expression):
        return None
    for word in _CONTAINS_SIDE.findall(expression):
        if not _SIDE.fullmatch(word) and not _INNOCENT.fullmatch(word):
            return None
    return _SIDE.sub(lambda found: found["before"] + _opposite(found["side"]) + found["after"], expression)


def is_positional(expression: str) -> bool:
    """Whether the expression names a place in the picture or an order, which a crop would make untrue."""
    return bool(_POSITIONAL.search(expression) or _SIDE.search(expression) or swap_left_right(expression) is None)


def _opposite(side: str) -> str:
    other = "right" if side.lower() == "left" else "left"
    if side.isupper():
        return other.upper()
    return other.capitalize() if side[0].isupper() else other


__all__ = ["is_positional", "swap_left_right"]
