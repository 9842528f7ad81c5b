"""Expressions as a model reads them, and what it cannot read: ends that are cut, emoji, other scripts, unknown words.

A tokenizer turns what it does not know into one and the same token, or spells it in pieces that mean nothing together.
Answering such words would be guessing.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from .expressions import taking_turns, tokenize

logger = logging.get_logger(__name__)
_WORD = re.compile(r"\w+|[^\w\s]+")


def read_expressions(
    tokenizer: PreTrainedTokenizerBase,
    expressions: list[str],
    known: Collection[str] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """
    Tokens of E expressions, with a warning of what the model cannot read; once for each word.

    Args:
        tokenizer: of the text encoder.
        expressions: E visible strings.
        known: see `unread_words`.
        settings: of the tokenizer, `max_length` among them.

    Returns:
        `input_ids` and `attention_mask`, int64 (E, L); `truncated` bool (E,), the expressions that were cut; `unread`,
        E lists of words that cannot be read; `readable` bool (E,), whether any word of an expression is read; and
        `expressions`.

    Raises:
        ValueError: as `tokenize`.
    """
    with taking_turns():
        tokens = tokenize(tokenizer, expressions, **settings)
        truncated = _report_cut(tokenizer, expressions, tokens, settings["max_length"])
        unread = unread_words(tokenizer, expressions, tokens["input_ids"], known)
    for word in dict.fromkeys(word for words in unread for word in words):
        logger.warning_once(
            f"{word[:40]!r} is not read, since the model was not trained with it: use words of its language, and see "
            "`unread` of the answers."
        )
    readable = [len(words) < len(words_of(text)) for words, text in zip(unread, expressions, strict=True)]
    return {
        **tokens,
        "truncated": truncated,
        "unread": unread,
        "readable": torch.tensor(readable),
        "expressions": expressions,
    }


def words_in(known_words: object) -> frozenset[str] | None:
    """
    The words of a text, separated by spaces; None for None.

    Raises:
        ValueError: it is no text.
    """
    if known_words is not None and not isinstance(known_words, str):
        raise ValueError(f"known_words={known_words!r}: give words separated by spaces, or leave it out.")
    return None if known_words is None else frozenset(known_words.split())


def words_of(expression: str) -> list[str]:
    """The words of an expression, and its runs of other signs."""
    return _WORD.findall(expression)


def unread_words(
    tokenizer: PreTrainedTokenizerBase,
    expressions: Sequence[str],
    input_ids: Tensor,
    known: Collection[str] | None = None,
) -> list[list[str]]:
    """
    The words of E expressions that cannot be read, in their order.

    Args:
        tokenizer: of the text encoder.
        expressions: E strings.
        input_ids: int64 (E, L), their tokens.
        known: words in lower case that the model was trained with although they are spelled in several pieces; None =
            every word that the tokenizer can spell.

    Returns:
        E lists of words.
    """
    has_unknown = (input_ids == tokenizer.unk_token_id).any(dim=1).tolist()
    words = [
        words_of(expression) if unknown or known is not None else []
        for expression, unknown in zip(expressions, has_unknown, strict=True)
    ]
    # Expressions about a picture share most of their words.
    is_read = {word: _is_read(tokenizer, word, known) for word in set(chain.from_iterable(words))}
    return [[word for word in some if not is_read[word]] for some in words]


def _is_read(tokenizer: PreTrainedTokenizerBase, word: str, known: Collection[str] | None) -> bool:
    pieces = tokenizer.tokenize(word, split_special_tokens=True)
    if tokenizer.unk_token in pieces:
        return False
    spelled = len(pieces) > 1 and any(character.isalpha() for character in word)
    return not spelled or known is None or word.lower() in known


def _report_cut(
    tokenizer: PreTrainedTokenizerBase, expressions: list[str], tokens: Mapping[str, Tensor], most: int
) -> Tensor:
    """Warn of expressions of more than `most` tokens; bool (E,), which these are."""
    counts = tokens["attention_mask"].sum(dim=1).tolist()
    # Only what fills the limit can have been cut, and is read again as a whole: few expressions, or none.
    lengths = [
        count if count < most else len(tokenizer(expression, split_special_tokens=True, verbose=False)["input_ids"])
        for expression, count in zip(expressions, counts, strict=True)
    ]
    for expression, length in zip(expressions, lengths, strict=True):
        if length > most:
            logger.warning(
                f"Expression {expression[:40]!r}… has {length} tokens; only the first {most} are read. Shorten it, or "
                "raise `max_text_length` if the model was trained with more."
            )
    return torch.tensor(lengths) > most


__all__ = ["read_expressions", "unread_words", "words_in", "words_of"]
