"""From the accepted forms of expressions to lists of strings, one list per picture, and from these to tokens.

Training and answering read expressions alike: both tokenize here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

logger = logging.get_logger(__name__)

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
    tokens = tokenizer(expressions, **settings)
    return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}


def report_unread(
    tokenizer: PreTrainedTokenizerBase, expressions: list[str], tokens: Mapping[str, Tensor], most: int
) -> Tensor:
    """
    Warn of what the model cannot read of expressions: their ends, where they are cut, and words that are not known.

    Args:
        tokenizer: of the text encoder.
        expressions: E strings.
        tokens: as `tokenize` gives them.
        most: tokens that an expression may have.

    Returns:
        bool (E,), the expressions that were cut.
    """
    counts = tokens["attention_mask"].sum(dim=1).tolist()
    # Only what fills the limit can have been cut, and is read again as a whole: few expressions, or none.
    lengths = [
        count if count < most else _length(tokenizer, expression)
        for expression, count in zip(expressions, counts, strict=True)
    ]
    unknown = (tokens["input_ids"] == tokenizer.unk_token_id).any(dim=1).tolist()
    for expression, length, has_unknown in zip(expressions, lengths, unknown, strict=True):
        if length > most:
            logger.warning(
                f"Expression {expression[:40]!r}… has {length} tokens; only the first {most} are read. Shorten it, or "
                "raise `max_text_length` if the model was trained with more."
            )
        if has_unknown:
            logger.warning(
                f"Expression {expression[:40]!r} has words or signs that the tokenizer does not know, which the model "
                "cannot tell apart: use words of the language that it was trained with."
            )
    return torch.tensor(lengths) > most


def _length(tokenizer: PreTrainedTokenizerBase, expression: str) -> int:
    """Tokens of a whole expression, special ones included."""
    return len(tokenizer(expression, split_special_tokens=True, verbose=False)["input_ids"])


def _is_visible(character: str) -> bool:
    return character.isprintable() and not character.isspace()


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)) else [value]


__all__ = ["Texts", "as_groups", "is_nested", "report_unread", "tokenize"]
