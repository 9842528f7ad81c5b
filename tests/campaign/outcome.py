"""What became of a case, and how an error is told from a refusal. Knows nothing of families and processes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

REFUSED, ANSWERED, WRONG = "refused", "answered", "wrong"
# What the package promises to raise; everything else is a raw error that says nothing to whoever gets it.
PROMISED = (OSError, ValueError, TypeError)


@dataclass(frozen=True)
class Outcome:
    """
    What became of a case.

    Attributes:
        kind: REFUSED, ANSWERED or WRONG.
        reason: the message of the refusal, or what is wrong.
    """

    kind: str
    reason: str = ""


def answered() -> Outcome:
    return Outcome(ANSWERED)


def refused(reason: object = "") -> Outcome:
    return Outcome(REFUSED, _one_line(reason))


def wrong(reason: object) -> Outcome:
    return Outcome(WRONG, _one_line(reason))


def judge(
    call: Callable[[], Any],
    check: Callable[[Any], str | None],
    names: Iterable[object] = (),
    promised: tuple[type[BaseException], ...] = PROMISED,
) -> Outcome:
    """
    Call, and tell what became of it.

    Args:
        check: gets the answer; returns what is wrong with it, or None.
        names: a refusal must contain one of these (the field, the value, the file); empty = any refusal is clear.
        promised: the kinds of errors that are refusals.
    """
    try:
        answer = call()
    except promised as error:
        return judge_refusal(error, names)
    except Exception as error:
        return wrong(f"raw {type(error).__name__}: {error}")
    problem = check(answer)
    return answered() if problem is None else wrong(problem)


def judge_refusal(error: BaseException, names: Iterable[object] = ()) -> Outcome:
    """A refusal, or what it lacks."""
    text, wanted = str(error), [str(name) for name in names]
    if not text.strip():
        return wrong(f"{type(error).__name__} without a message")
    if wanted and not any(name in text for name in wanted):
        return wrong(f"{type(error).__name__} names none of {wanted}: {text}")
    return refused(text)


def _one_line(reason: object, most: int = 600) -> str:
    text = " ".join(str(reason).split())
    return text if len(text) <= most else text[: most - 1] + "…"
