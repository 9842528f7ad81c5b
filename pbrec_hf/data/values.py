"""Single values of foreign files: which ones are taken, and how messages show the others.

A file of a few bytes may hold a value whose text would fill memory (a list that holds another one ten times, and so
on), so messages never spell out more than `shown` does. Knows nothing of files, records and pictures.
"""

import math
import re
import reprlib
import sys
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, TypeVar, overload

Id = int | str
T = TypeVar("T")
D = TypeVar("D")
_REQUIRED: Any = object()  # stands for "no default"
_MOST_SHOWN = 80  # characters
_DIGITS = re.compile(r"[+-]?\d{1,19}(\.0*)?", re.ASCII)


class _Short(reprlib.Repr):
    """The library's own looks at all of a dictionary, of bytes and of a number before it shortens them."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxdict = self.maxlist = self.maxtuple = 8
        self.maxstring = self.maxother = _MOST_SHOWN

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        if level <= 0:
            return "{...}"
        entries = islice(x.items(), self.maxdict)
        pieces = [f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}" for key, value in entries]
        return "{" + ", ".join(pieces) + (", ..." if len(x) > len(pieces) else "") + "}"

    def repr_set(self, x: set[Any], level: int) -> str:
        return f"a set of {len(x)}"

    def repr_frozenset(self, x: frozenset[Any], level: int) -> str:
        return f"a set of {len(x)}"

    def repr_bytes(self, x: bytes, level: int) -> str:
        return repr(x[: self.maxstring])

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() < 200 else f"a number of about {int(x.bit_length() * math.log10(2))} digits"


_short = _Short()


def shown(value: object) -> str:
    """The beginning of `repr(value)`, at most 80 characters, in a time that does not depend on the value's size."""
    text = _short.repr(value)
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 3] + "..."


def whole_number(value: object, bits: int = 64) -> int:
    """
    A whole number, which files also write as 12.0 or "12".

    Raises:
        ValueError: another value, or one that does not fit into `bits` bits.
    """
    number: int | None = None
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        number = int(value.partition(".")[0])
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    if number is None or not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise ValueError(f"give a whole number of {bits} bits")
    return number


def identifier(value: object) -> Id:
    """
    A number or a text that names something. Whole floats (12.0) are numbers; a text stays as it is.

    Raises:
        ValueError: neither.
    """
    try:
        return text(value) if isinstance(value, str) else whole_number(value)
    except ValueError as error:
        raise ValueError("give a number or a text") from error


def text(value: object) -> str:
    """
    A text that is not empty and can be stored.

    Raises:
        ValueError: another value.
    """
    if not isinstance(value, str) or not value or not can_be_stored(value):
        raise ValueError("give a text without NUL characters and halves of surrogate pairs")
    return value


def can_be_stored(value: str) -> bool:
    """Whether a text has neither NUL characters nor halves of surrogate pairs."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def is_visible(value: str) -> bool:
    """Whether some character of a text can be seen; a zero-width space cannot."""
    return any(character.isprintable() and not character.isspace() for character in value)


def is_number(value: object) -> bool:
    """Whether `value` is a finite number, and no integer beyond those that floating point has."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


@overload
def field_of(record: Mapping[str, Any], name: str, parse: Callable[[Any], T]) -> T: ...
@overload
def field_of(record: Mapping[str, Any], name: str, parse: Callable[[Any], T], default: D) -> T | D: ...
def field_of(
    record: Mapping[str, Any], name: str, parse: Callable[[Any], T], default: T | None = _REQUIRED
) -> T | None:
    """
    A field in its type, or `default` where it is absent or null.

    Raises:
        ValueError: it is absent without a default, or `parse` refuses it; names the field and says what to do.
    """
    value = record.get(name)
    if value is None:
        if default is _REQUIRED:
            raise ValueError(f"it has no {name!r}; add it")
        return default
    try:
        return parse(value)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name}={shown(value)}: {error}") from error


__all__ = ["Id", "can_be_stored", "field_of", "identifier", "is_number", "is_visible", "shown", "text", "whole_number"]
