"""The demo: the bundled checkpoint on photographs that ship with the package and that it was not trained on."""

import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from ..inference.grounder import Grounded, Grounder
from .drawing import contact_sheet, draw_answers, draw_proposals, draw_score_map

ASSETS = Path(__file__).parents[1] / "assets" / "demo"
_PROPOSALS = 12
_EXPLAINED = 2  # which photograph is shown with what is behind its answer


def demo_photographs() -> list[dict]:
    """The shipped photographs: `image` (path), `expressions`, `source`, `license`."""
    rows = json.loads((ASSETS / "demo.json").read_text())
    return [{**row, "image": ASSETS / row["image"]} for row in rows]


def run_demo(grounder: Grounder, on_answer: Callable[[dict, Grounded], None]) -> Image.Image:
    """
    Ground every expression of the demo and draw one sheet: all answers, and for one photograph what is behind its
    first answer, the map of scores and the best proposals.

    Args:
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
    letterbox = result.inputs["letterbox"][0].cpu()
    logits = result.outputs.center_logits if result.outputs.center_logits is not None else result.outputs.mass_logits
    side = round(logits.shape[1] ** 0.5)
    scores = draw_score_map(result.image, logits[0].sigmoid(), (side, side), letterbox)
    pictures = [(f"scores for «{result.inputs['expressions'][0]}»", scores)]
    if "boxes" in result.groups:
        answer = result.groups["boxes"]
        group = grounder.processor.rank(result.outputs, result.inputs, _PROPOSALS)["boxes"]
        boxes = group.boxes[0][group.values[0].isfinite()]
        chosen = answer.points[0, answer.winner[0]]
        winner = int((group.points[0] == chosen).nonzero()[0])  # every vote is among the best of these
        drawn = draw_proposals(result.image, boxes, winner, letterbox)
        pictures.append((f"the {len(boxes)} best proposals, and the answer", drawn))
    return pictures
