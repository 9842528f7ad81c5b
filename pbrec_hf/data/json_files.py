"""JSON of foreign files: whatever is wrong with it is one ValueError, and no name is given twice.

Python's own reader raises other errors for numbers of thousands of digits and for lists that are nested too deep, and
silently takes the last of two values of one name. Knows nothing of what the values mean.
"""

import json
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from .values import shown

Hook = Callable[[dict[str, Any]], Any]
_MOST_DIGITS = 4000  # of a number; Python itself refuses a few more, with a remedy that is none


class JsonError(ValueError):
    """Text that is no JSON; the message is a short reason, without the text and its file."""


def parse_json(text: str, hook: Hook | None = None) -> Any:
    """
    The value that a text holds.

    Args:
        text: JSON; NaN and Infinity are taken, too.
        hook: called for every object as soon as it is complete; what it gives takes the object's place. Its errors
            pass through.

    Raises:
        JsonError: not JSON, or an object has a name twice.
    """

    def build(pairs: list[tuple[str, Any]]) -> Any:
        record = dict(pairs)
        if len(record) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in record if names.count(name) > 1)
            raise JsonError(f"the name {shown(twice)} is given twice in one object")
        return record if hook is None else hook(record)

    try:
        return json.loads(text, object_pairs_hook=build, parse_int=_whole)
    except RecursionError as error:
        raise JsonError("it is nested too deep") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise JsonError(f"{error.msg} at {where}") from error


def read_json(path: str | PathLike[str], hook: Hook | None = None) -> Any:
    """
    The content of a JSON file; `hook` as for `parse_json`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not JSON in UTF-8.
    """
    text = read_text(path)
    try:
        return parse_json(text, hook)
    except JsonError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): get the file again from where it is from.") from error


def read_text(path: str | PathLike[str]) -> str:
    """
    The content of a text file, with or without a byte order mark.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not UTF-8.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}: correct the path.")
    data = Path(path).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path} is not UTF-8 text (line {line}: {error.reason}): save it as UTF-8.") from error


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise JsonError(f"it holds a number of {len(digits)} digits")
    return int(digits)


__all__ = ["JsonError", "parse_json", "read_json", "read_text"]
