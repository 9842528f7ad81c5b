"""Which words of an expression a model can read, and which it cannot: emoji, other scripts, words it never met.

A tokenizer turns what it does not know into one and the same token, or spells it in pieces that mean nothing together.
Answering such words would be guessing.
"""

import re
from collections.abc import Collection, Sequence

from torch import Tensor
from transformers import PreTrainedTokenizerBase

_WORD = re.compile(r"\w+|[^\w\s]+")


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
    unread = []
    for expression, unknown in zip(expressions, has_unknown, strict=True):
        words = words_of(expression) if unknown or known is not None else []
        unread.append([word for word in words if not _is_read(tokenizer, word, known)])
    return unread


def _is_read(tokenizer: PreTrainedTokenizerBase, word: str, known: Collection[str] | None) -> bool:
    pieces = tokenizer.tokenize(word, split_special_tokens=True)
    if tokenizer.unk_token in pieces:
        return False
    spelled = len(pieces) > 1 and any(character.isalpha() for character in word)
    return not spelled or known is None or word.lower() in known


__all__ = ["unread_words", "words_of"]
