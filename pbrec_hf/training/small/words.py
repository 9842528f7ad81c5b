"""Texts as the frozen text encoder reads them, each read once and kept in half precision."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ...comprehension.expressions import tokenize
from ...comprehension.unread import words_of
from ...hub.writing import replaced_file

MAX_TOKENS = 20
_LEAST_TEXTS = 2  # that a word must be in, or it is a misspelling that nobody learns


class Words:
    """
    Texts and the states of their tokens.

    Args:
        tokenizer: of the encoder.
        encoder: frozen; its last states are kept.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, encoder: PreTrainedModel):
        self.tokenizer, self.encoder = tokenizer, encoder
        self.known: dict[str, Tensor] = {}
        self._joined = torch.empty(0), torch.empty(0, dtype=torch.int64)

    @torch.inference_mode()
    def read(self, texts: Sequence[str], batch: int = 512) -> None:
        """Read those of `texts` that are new, short ones together."""
        new = sorted({text for text in texts if text not in self.known}, key=lambda text: (len(text), text))
        for start in range(0, len(new), batch):
            chosen = new[start : start + batch]
            tokens = tokenize(self.tokenizer, chosen, max_length=MAX_TOKENS)
            states = (
                self.encoder(**{name: value.to(self.encoder.device) for name, value in tokens.items()})
                .last_hidden_state.half()
                .cpu()
            )
            for text, state, length in zip(chosen, states, tokens["attention_mask"].sum(1).tolist(), strict=True):
                self.known[text] = state[:length].clone()

    def save(self, path: Path) -> None:
        """Write everything read so far, for `load`."""
        states, lengths = self.joined()
        with replaced_file(path) as partial:
            save_file({"states": states, "lengths": lengths}, partial, {"texts": json.dumps(list(self.known))})

    def load(self, path: Path) -> None:
        """Take over what `save` wrote, with the same encoder."""
        with safe_open(path, "pt") as file:
            states, lengths = file.get_tensor("states"), file.get_tensor("lengths").tolist()
            self.known |= dict(zip(json.loads(file.metadata()["texts"]), states.split(lengths), strict=True))

    def joined(self) -> tuple[Tensor, Tensor]:
        """The states (n, D) of all texts in a row, of which `known` is views, and how many (N,) each has."""
        if len(self._joined[1]) < len(self.known):
            lengths = [len(state) for state in self.known.values()]
            states = torch.cat(list(self.known.values()))
            self.known = dict(zip(self.known, states.split(lengths), strict=True))
            self._joined = states, torch.tensor(lengths)
        return self._joined

    def batch(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The states (E, L, D) of texts that were read, and their attention mask (E, L)."""
        states = [self.known[text] for text in texts]
        words = torch.nn.utils.rnn.pad_sequence(states, batch_first=True).float()
        lengths = torch.tensor([len(state) for state in states])
        return words, (torch.arange(words.shape[1]) < lengths[:, None]).long()


def saved_texts(path: Path) -> list[str]:
    """The texts that `Words.save` wrote."""
    with safe_open(path, "pt") as file:
        texts: list[str] = json.loads(file.metadata()["texts"])
    return texts


def spelled_words(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> list[str]:
    """The words of at least two of the texts that the tokenizer spells in pieces, in alphabetical order."""
    counts = Counter(word for text in set(texts) for word in set(words_of(text.lower())) if word.isalpha())
    frequent = sorted(word for word, count in counts.items() if count >= _LEAST_TEXTS)
    return [word for word in frequent if len(tokenizer.tokenize(word)) > 1]
