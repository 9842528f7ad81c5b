"""What an undone mend is. Knows none."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock


@dataclass(frozen=True)
class Undo:
    """
    A mend that can be taken away.

    Attributes:
        family: the family that must find the fault then.
        taken_away: makes the context in which the mend is undone.
    """

    family: str
    taken_away: Callable[[], AbstractContextManager[Any]]


def replaced(family: str, *replacements: Callable[[], tuple[Any, str, Any]]) -> Undo:
    """An undo by replacing attributes; each replacement gives (owner, name, value), late, since it imports."""

    def taken_away() -> AbstractContextManager[Any]:
        stack = ExitStack()
        for replacement in replacements:
            stack.enter_context(mock.patch.object(*replacement()))
        return stack

    return Undo(family, taken_away)
