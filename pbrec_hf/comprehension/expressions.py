"""From the accepted forms of expressions to lists of strings, one list per picture, and from these to tokens.

Training and answering read expressions alike: both tokenize here.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase

Texts = str | Sequence[str] | Sequence[Sequence[str]]
# Padding and truncation are the state of a fast tokenizer, which every call sets anew.
_turns = {"lock": threading.RLock()}
if hasattr(os, "register_at_fork"):  # where another thread of the parent may have held the lock
    os.register_at_fork(after_in_child=lambda: _turns.update(lock=threading.RLock()))


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
                short = expression is None or isinstance(expression, (str, int, float))
                shown = repr(expression) if short else f"of type {type(expression).__name__}"
                raise ValueError(
                    f"An expression of picture {picture} is {shown}: give a string of words such as 'left dog'."
                )
    return groups


def is_nested(text: Any) -> bool:
    """Whether `text` is a sequence that contains lists of expressions."""
    return isinstance(text, Sequence) and not isinstance(text, str) and any(isinstance(t, (list, tuple)) for t in text)


def tokenize(tokenizer: PreTrainedTokenizerBase, expressions: list[str], **settings: Any) -> dict[str, Tensor]:
    """
    Tokens of E expressions; what looks like a special token is a word.

    Args:
        tokenizer: of the text encoder.
        expressions: E visible strings.
        settings: of the tokenizer, `max_length` among them.

    Returns:
        `input_ids` and `attention_mask`, int64 (E, L).

    Raises:
        ValueError: an expression has half of a surrogate pair, which is no character.
    """
    for expression in expressions:
        if any("\ud800" <= character <= "\udfff" for character in expression):
            raise ValueError(
                f"The expression {expression[:40]!a} has half of a surrogate pair, which is no character: decode "
                "the text that it is from as what it is, such as UTF-8."
            )
    settings = {
        "padding": True,
        "truncation": True,
        "return_token_type_ids": False,
        "return_tensors": "pt",
        "split_special_tokens": True,
        "verbose": False,
        **settings,
    }
    with taking_turns():
        tokens = tokenizer(expressions, **settings)
    return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}


@contextmanager
def taking_turns() -> Iterator[None]:
    """For all uses of a tokenizer: threads that set its padding at the same time would get each other's."""
    with _turns["lock"]:
        yield


def _is_visible(character: str) -> bool:
    return character.isprintable() and not character.isspace()


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)) else [value]


__all__ = ["Texts", "as_groups", "is_nested", "taking_turns", "tokenize"]
