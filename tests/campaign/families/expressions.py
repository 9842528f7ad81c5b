"""Expressions of any characters, answered and trained on. Oracle: the bare parts of the tokenizer."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from checkpoints import tiny_model, tiny_processor
from numpy.random import Generator

from pbrec_hf.data.collator import PbrecCollator

from ..family import Case, Family, pick
from ..outcome import Outcome, judge

_WORDS = ("left", "right", "dog", "red", "car", "the", "cat", "girl", "on", "zebra", "DOG", "dogs")
_SPECIAL = ("[SEP]", "[CLS]", "[PAD]", "[UNK]", "[MASK]", "[sep]", "</s>", "##dog", "[unused0]")
_ODD = (
    "\ud800", "\udfff", "a\udc00b", "\0", "\u200b", "\ufeff", "\u202e", "\U0001f436", "e\u0301", "ﬁ", "犬", "\t",
    "\r\n", "\x7f", "\xa0", "ا", "\U00010ffff"[:1], "\ufffd", "I\u0307", "ß", "١",
)  # fmt: skip
_MOST = 8


class Expressions(Family):
    """A step is a piece of the expression; the subject says by whom it is read."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        logging.disable(logging.WARNING)
        self.processor = tiny_processor()
        self.collator = PbrecCollator.for_model(
            tiny_model().config, self.processor.image_processor, self.processor.tokenizer, targets=False
        )
        self.picture = PIL.Image.fromarray(np.full((32, 48, 3), 90, np.uint8))

    @staticmethod
    def draw(rng: Generator) -> Case:
        pieces = []
        for _ in range(int(rng.integers(0, 9))):
            chance = rng.random()
            if chance < 0.5:
                pieces.append((pick(rng, _WORDS),))
            elif chance < 0.65:
                pieces.append((pick(rng, _SPECIAL),))
            elif chance < 0.75:
                pieces.append((pick(rng, _ODD),))
            else:
                codes = rng.integers(1, 0x110000 if rng.random() < 0.3 else 0x3000, int(rng.integers(1, 5)))
                pieces.append(("".join(chr(code) for code in codes),))
        return Case(pick(rng, ("alone", "with others", "training")), tuple(pieces))

    def run(self, case: Case) -> Outcome:
        text = " ".join(piece for (piece,) in case.steps)
        visible = any(character.isprintable() and not character.isspace() for character in text)

        def read() -> dict[str, Any]:
            if case.subject == "training":
                row = {"image": self.picture, "image_id": "0", "expressions": [
                    {"expression": text, "bbox": None, "segmentation": None, "ref_id": 0, "sent_id": 0}
                ]}  # fmt: skip
                return self.collator([row])
            others = ["left dog", "the red car on the right"] if case.subject == "with others" else []
            return self.processor(self.picture, [text, *others])

        def problem(batch: dict[str, Any]) -> str | None:
            if not visible and case.subject != "training":
                return "nothing that can be seen was read"
            ids = batch["input_ids"][0][batch["attention_mask"][0].bool()].tolist()
            expected, cut = self._expected(text)
            if ids != expected:
                return f"tokens {ids} instead of {expected}"
            truncated = batch.get("truncated")
            if truncated is not None and bool(truncated[0]) != cut:
                return f"truncated is {bool(truncated[0])}, but {'it was cut' if cut else 'all of it was read'}"
            return None

        return judge(read, problem, names=[repr(text), repr(text)[1:30], "xpression"])

    def _expected(self, text: str) -> tuple[list[int], bool]:
        """[CLS] pieces [SEP] by the tokenizer's bare parts, which know no special words; and whether it was cut."""
        backend = self.processor.tokenizer.backend_tokenizer
        normalized = backend.normalizer.normalize_str(text)
        words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normalized)]
        pieces = [token.id for word in words for token in backend.model.tokenize(word)]
        vocabulary = self.processor.tokenizer.get_vocab()
        kept = pieces[: _MOST - 2]
        return [vocabulary["[CLS]"], *kept, vocabulary["[SEP]"]], len(pieces) > len(kept)


FAMILY = Expressions
