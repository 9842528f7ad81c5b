"""One photograph and its expressions → a record: plain values for a line of the journal.

Numbers are rounded to what they are worth, so that a float's last bits make no difference between machines. Masks
become run lengths one by one: those of all expressions of a large photograph would fill the memory.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from ...images.reading import load_picture
from ...inference.grounder import Grounder
from ...inference.tiles import MOST_TILES, tiled_answers
from ...selection.answers import each_answer

UNREADABLE = (OSError, ValueError, EOFError, SyntaxError)  # what reading a damaged picture raises
_SCORE_DIGITS, _BOX_DIGITS = 6, 2


@dataclass(frozen=True)
class Asking:
    """
    How photographs are asked; what all records of a labelling have in common.

    Args:
        model: folder or Hub id; None = the bundled checkpoint.
        referents, threshold, top_k: see `PbrecProcessor.post_process_referring_expression`.
        masks: whether answers have masks.
        tiles: along the longer side of a photograph, which are looked at beside the whole; 1 = the whole alone. See
            `inference/tiles.py`.
        runtime, precision, compile: see [`Grounder`].

    Raises:
        ValueError: `tiles` is out of range.
    """

    model: str | None = None
    referents: str = "one"
    threshold: float | str | None = None
    top_k: int | None = None
    masks: bool = True
    tiles: int = 1
    runtime: str = "torch"
    precision: str = "fp32"
    compile: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.tiles <= MOST_TILES:
            raise ValueError(f"--tiles {self.tiles}: give a number from 1 to {MOST_TILES}.")

    def to_json(self) -> str:
        """The same as text, for another process."""
        return json.dumps(asdict(self))


class Labeller:
    """
    A loaded checkpoint that makes records.

    Args:
        asking: how photographs are asked.
        device: where to run.

    Raises:
        OSError, ValueError: as of [`Grounder`].
    """

    def __init__(self, asking: Asking, device: str = "cpu"):
        self.asking = asking
        self.grounder = Grounder(asking.model, device, asking.runtime, asking.precision, compile=asking.compile)

    def record(self, picture: Image.Image, expressions: list[str]) -> dict[str, Any]:
        """
        The answers of a photograph.

        Args:
            picture: upright RGB.
            expressions: what to find.

        Returns:
            `width`, `height` and `expressions`, an entry for each with `expression`, `boxes` (XYXY, pixels of the
            upright photograph), `scores`, `raw_scores` and `exists` if the checkpoint is calibrated, `unread` if words
            were not read, and `masks` (COCO run lengths; None for one that shows nothing of its box) if there are any
            but filled boxes.
        """
        entries = [
            _entry(expression, answer)
            for expression, answer in zip(expressions, self._answers(picture, expressions), strict=True)
        ]
        return {"width": picture.width, "height": picture.height, "expressions": entries}

    def record_of_source(self, image: Any, expressions: list[str]) -> dict[str, Any]:
        """The same of an unread photograph; of one that cannot be read, `error`, in one line."""
        try:
            picture = load_picture(image)
        except UNREADABLE as error:
            return error_record(error)
        return self.record(picture, expressions)

    def _answers(self, picture: Image.Image, expressions: list[str]) -> Iterator[dict[str, Any]]:
        asking, processor = self.asking, self.grounder.processor
        if asking.tiles > 1:
            return tiled_answers(
                self.grounder,
                picture,
                expressions,
                asking.tiles,
                asking.top_k,
                asking.threshold,
                asking.masks,
                asking.referents,
            )
        found = self.grounder.on_canvas(
            picture, expressions, asking.top_k, asking.threshold, asking.masks, asking.referents
        )
        return each_answer(found.referents, found.inputs, processor.settings.mask_threshold, asking.masks)


def error_record(error: Exception) -> dict[str, Any]:
    """The record of a photograph that cannot be read."""
    return {"error": " ".join(str(error).split()) or type(error).__name__}


def _entry(expression: str, answer: dict[str, Any]) -> dict[str, Any]:
    from ...images.segmentation import mask_to_rle

    entry: dict[str, Any] = {
        "expression": expression,
        "boxes": [[round(value, _BOX_DIGITS) for value in box] for box in answer["boxes"].tolist()],
        "scores": _rounded(answer["scores"].tolist()),
    }
    if answer["exists"] is not None:
        entry["raw_scores"] = _rounded(answer["raw_scores"].tolist())
        entry["exists"] = round(answer["exists"], _SCORE_DIGITS)
    if answer["unread"]:
        entry["unread"] = list(answer["unread"])
    if "masks" in answer and answer["mask_source"] != "box":
        entry["masks"] = [
            {**mask_to_rle(mask[0])} if _meet(box, mask[0]) else None
            for box, mask in zip(entry["boxes"], answer["masks"], strict=True)
        ]
    return entry


def _meet(box: list[float], mask: Tensor) -> bool:
    """Whether a mask shows anything in its box; one that was ranked apart may not."""
    left, top, right, bottom = box
    inside = mask[math.floor(top) : math.ceil(bottom), math.floor(left) : math.ceil(right)]
    return bool(inside.any())


def _rounded(scores: list[float]) -> list[float]:
    return [round(score, _SCORE_DIGITS) for score in scores]


__all__ = ["UNREADABLE", "Asking", "Labeller", "error_record"]
