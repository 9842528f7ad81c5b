"""What is behind an answer, as pictures: the map of scores, and the proposals that it was chosen from."""

from PIL import Image

from ..inference.grounder import Grounded
from ..selection.groups import Group
from .drawing import draw_proposals, draw_score_map


def score_map(result: Grounded, expression: int = 0) -> Image.Image:
    """
    The photograph under the scores of an expression: center-ness, or mass-ness where there is no center head.

    Args:
        result: of one photograph.
        expression: its place among the expressions.
    """
    center, mass = result.outputs.center_logits, result.outputs.mass_logits
    logits = center if center is not None else mass
    assert logits is not None  # a model has one head at least
    side = round(logits.shape[1] ** 0.5)
    return draw_score_map(result.image, logits[expression].sigmoid(), (side, side), result.inputs["letterbox"][0])


def box_proposals(
    result: Grounded, expression: int = 0, ranked: Group | None = None
) -> tuple[Image.Image, int] | None:
    """
    The photograph with the boxes that an answer was chosen from, the answers on top.

    Args:
        result: of one photograph.
        expression: its place among the expressions.
        ranked: more boxes to draw; default: those that voted for the first answer.

    Returns:
        The picture and the number of boxes; None where no box was proposed.
    """
    chosen = result.groups.get("boxes")
    group = ranked or chosen
    if chosen is None or group is None or group.boxes is None:
        return None
    known = group.values[expression].isfinite()
    if not known.any():
        return None
    found = result.referents
    assert found.boxes is not None, "boxes were chosen"
    answers = found.boxes[found.expression == expression]
    if not len(answers):  # what would be the answer, if it scored enough
        answers = chosen.chosen("boxes")[expression, None]
    boxes = group.boxes[expression][known]
    return draw_proposals(result.image, boxes, answers, result.inputs["letterbox"][0]), len(boxes)
