"""Normalises expressions from the accepted input forms to lists of strings, one list per picture."""

from collections.abc import Sequence
from typing import Any

Texts = str | Sequence[str] | Sequence[Sequence[str]]


def as_groups(text: Any, pictures: int, nested: bool) -> list[list[str]]:
    """
    The expressions of each picture.

    Args:
        text: an expression or a list of expressions; if `nested`, a list of such entries.
        pictures: number of pictures.
        nested: whether `text` has one entry per picture; otherwise all of it refers to one picture.

    Raises:
        ValueError: the number of entries is wrong, a picture has no expression, or an expression is blank or not a
            string.
    """
    groups = [_as_list(entry) for entry in _as_list(text)] if nested else [_as_list(text)]
    if nested and len(groups) != pictures:
        raise ValueError(
            f"There are {len(groups)} entries in `text` for {pictures} pictures: give one expression, or one list of "
            "expressions, per picture."
        )
    for picture, group in enumerate(groups):
        if not group:
            raise ValueError(f"Picture {picture} has no expression: give at least one.")
        for expression in group:
            if not isinstance(expression, str) or not any(map(_is_visible, expression)):
                raise ValueError(
                    f"An expression of picture {picture} is {expression!r}: give a string of words such as 'left dog'."
                )
    return groups


def is_nested(text: Any) -> bool:
    """Whether `text` is a sequence that contains lists of expressions."""
    return isinstance(text, Sequence) and not isinstance(text, str) and any(isinstance(t, (list, tuple)) for t in text)


def _is_visible(character: str) -> bool:
    return character.isprintable() and not character.isspace()


def _as_list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)


__all__ = ["Texts", "as_groups", "is_nested"]
