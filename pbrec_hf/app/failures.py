"""Answers that miss what was meant, and pictures of them. Expects rows of the image view, each with one referent."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.ops import box_iou

from ..images.reading import load_picture
from ..inference.grounder import Grounder

WRONG, MEANT = "#e6194b", "#3cb44b"


@dataclass(frozen=True)
class Failure:
    """
    Attributes:
        image: the upright photograph.
        expression: what was asked for.
        answer, truth: boxes (n, 4) XYXY in pixels of the photograph; either may be empty.
    """

    image: Image.Image
    expression: str
    answer: Tensor
    truth: Tensor

    def drawn(self) -> Image.Image:
        """A copy of the photograph with both boxes."""
        picture = self.image.copy()
        pen, width = ImageDraw.Draw(picture), max(2, max(self.image.size) // 160)
        for boxes, color in ((self.truth, MEANT), (self.answer, WRONG)):
            for box in boxes.tolist():
                pen.rectangle(box, outline=color, width=width)
        return picture


def find_failures(grounder: Grounder, rows: Iterable[Mapping[str, Any]]) -> tuple[list[Failure], int]:
    """
    Ask for every expression of `rows`.

    Returns:
        The answers whose box meets the true one with an IoU of 0.5 or less, or not at all; and the number of
        expressions. What refers to nothing is right when nothing is answered.
    """
    failures, count = [], 0
    for row in rows:
        sentences = row["expressions"]
        image = load_picture(row["image"])
        result = grounder(image, [sentence["expression"] for sentence in sentences])
        for sentence, answer in zip(sentences, result.answers, strict=True):
            count += 1
            known = [] if sentence["bbox"] is None else [sentence["bbox"]]
            truth = torch.tensor(known, dtype=torch.float32).reshape(-1, 4)
            right = (box_iou(answer["boxes"], truth) > 0.5).any() if len(truth) else not len(answer["boxes"])
            if not right:
                failures.append(Failure(result.image, sentence["expression"], answer["boxes"], truth))
    return failures, count
