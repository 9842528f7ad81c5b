"""From the bytes of a photograph to answers: reading (in many threads) and answering (of several photographs at once).

A question holds what the networks see, not the photograph: a canvas has a bounded size, whatever was sent.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from transformers.feature_extraction_utils import BatchFeature

from ...geometry.letterbox import Letterbox
from ...images.fetching import fetch
from ...images.reading import TooLargeError, load_pixels, picture_size
from ...images.sources import ADDRESSES
from ...inference.grounder import Grounder
from ...pipeline_pbrec import join_batches
from ...selection.answers import each_answer
from ...selection.calibration import limits_of
from ..plain import all_answers
from .limits import Limits

NO_PICTURE = "No photograph: send one."
NO_ADDRESS = "Send the photograph itself, or as data:image/…;base64,…; no address."


@dataclass(frozen=True)
class Asked:
    """
    How expressions are asked; questions that are asked alike can be answered together.

    Attributes:
        referents, threshold, top_k: see `PbrecProcessor.post_process_referring_expression`.
        masks: whether answers have masks.
    """

    referents: str = "one"
    threshold: float | str | None = None
    top_k: int | None = None
    masks: bool = False


@dataclass(frozen=True)
class Question:
    """
    A photograph that was read, with its expressions.

    Attributes:
        batch: what the processor made of them.
        asked: how they are asked.
    """

    batch: BatchFeature
    asked: Asked


class Answering:
    """
    Args:
        grounder: a loaded checkpoint.
        limits: what a request may cost.
    """

    def __init__(self, grounder: Grounder, limits: Limits):
        self.grounder, self.limits = grounder, limits

    def require(self, expressions: Sequence[str], asked: Asked) -> None:
        """
        Check what is asked, before a photograph is read.

        Raises:
            ValueError: an expression or an option is not legal; in one line.
        """
        limits, processor = self.limits, self.grounder.processor
        if not expressions:
            raise ValueError("No expression: say what to find, such as: the dog on the left.")
        if len(expressions) > limits.expressions:
            raise ValueError(f"{len(expressions)} expressions at once: give at most {limits.expressions}.")
        for expression in expressions:
            if not expression.strip():
                raise ValueError("An expression is empty: give words, such as: the dog on the left.")
            if len(expression) > limits.letters:
                raise ValueError(
                    f"An expression has {len(expression)} letters, more than {limits.letters}: say it shorter."
                )
        limits_of(asked.threshold, asked.referents, processor.calibration)
        if asked.top_k is not None:
            replace(processor.settings, top_k=asked.top_k)

    def read(self, photograph: bytes, expressions: Sequence[str], asked: Asked, name: str = "") -> Question:
        """
        Decode a photograph and its expressions.

        Args:
            photograph: the bytes of a file.
            expressions, asked: see `require`, which was called.
            name: of the file, for messages.

        Raises:
            TooLargeError: the photograph has too many bytes or pixels.
            ValueError: it cannot be read; in one line.
        """
        limits = self.limits
        if not photograph:
            raise ValueError(NO_PICTURE)
        if len(photograph) > limits.upload:
            raise TooLargeError(
                f"A photograph of {len(photograph) / 2**20:.1f} MiB: send at most {limits.upload / 2**20:.1f} MiB."
            )
        file = BytesIO(photograph)
        file.name = name or "The photograph"
        height, width = picture_size(file)
        if height * width > limits.pixels:
            raise TooLargeError(
                f"A photograph of {width}×{height} pixels: scale it down to {limits.pixels / 10**6:g} million at most."
            )
        file.seek(0)
        batch = self.grounder.processor(load_pixels(file), list(expressions), return_proposals=False)
        return Question(batch, asked)

    def photograph_of(self, text: str) -> bytes:
        """
        The bytes of a file that are sent as text.

        Args:
            text: data:…;base64,… or base64 alone; an address where the limits allow it.

        Raises:
            ValueError: it is something else; in one line.
        """
        if not text:
            raise ValueError(NO_PICTURE)
        if text.startswith(ADDRESSES) and self.limits.fetch:
            return fetch(text, self.limits.seconds)
        head, comma, rest = text.partition(",")
        coded = rest if head.startswith("data:") and comma else text
        try:
            return base64.b64decode("".join(coded.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(NO_ADDRESS) from error

    def answer(self, questions: Sequence[Question]) -> list[dict[str, Any]]:
        """
        The answers of photographs that are asked alike, in one pass of the networks.

        Returns:
            For each `width`, `height` and `results`, an entry for each expression, see `all_answers`.
        """
        asked, grounder = questions[0].asked, self.grounder
        inputs = join_batches([question.batch for question in questions])
        _, _, found = grounder.ask(inputs, asked.top_k, asked.threshold, asked.masks, asked.referents)
        answers = each_answer(found, inputs, grounder.processor.settings.mask_threshold, asked.masks)
        told = []
        for question in questions:
            place = Letterbox.of(question.batch["letterbox"][0])
            expressions = question.batch["expressions"]
            results = [all_answers(text, next(answers), asked.masks) for text in expressions]
            told.append({"width": place.width, "height": place.height, "results": results})
        return told


__all__ = ["Answering", "Asked", "Question"]
