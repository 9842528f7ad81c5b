"""The demo: answers on photographs that ship with the package, which the bundled checkpoint was not trained on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from ..inference.grounder import Grounded, Grounder
from .drawing import contact_sheet, draw_answers
from .explain import box_proposals, score_map

ASSETS = Path(__file__).parents[1] / "assets" / "demo"
_PROPOSALS = 12
_EXPLAINED = 2  # the photograph that is shown with what is behind its answer


def demo_photographs() -> list[dict[str, Any]]:
    """The shipped photographs: `image` (path), `expressions`, `source`, `license`."""
    rows = json.loads((ASSETS / "demo.json").read_text(encoding="utf-8"))
    return [{**row, "image": ASSETS / row["image"]} for row in rows]


def run_demo(grounder: Grounder, on_answer: Callable[[dict[str, Any], Grounded], None]) -> Image.Image:
    """
    Answer every expression of the demo and draw one sheet: all answers, and for one photograph what is behind its
    first answer.

    Args:
        grounder: the checkpoint.
        on_answer: called with each photograph's row and its result.
    """
    pictures: list[tuple[str, Image.Image]] = []
    for row in demo_photographs():
        result = grounder(row["image"], row["expressions"])
        on_answer(row, result)
        pictures.append((", ".join(row["expressions"]), draw_answers(result.image, result.answers)))
        if len(pictures) == _EXPLAINED:
            pictures += _behind(grounder, result)
    return contact_sheet(pictures)


def _behind(grounder: Grounder, result: Grounded) -> list[tuple[str, Image.Image]]:
    """What is behind the first answer: the map of scores, and the best proposals."""
    pictures = [(f"scores for «{result.inputs['expressions'][0]}»", score_map(result))]
    ranked = grounder.processor.rank(result.outputs, result.inputs, _PROPOSALS, return_masks=False)
    if (drawn := box_proposals(result, ranked=ranked.get("boxes"))) is not None:
        pictures.append((f"the {drawn[1]} best proposals, and the answer", drawn[0]))
    return pictures
