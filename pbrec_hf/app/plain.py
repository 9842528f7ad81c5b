"""Answers as plain values for JSON: the one form that `pbrec-hf ground --json` and the service give.

Takes the dicts of `post_process_referring_expression`. Boxes are XYXY in pixels of the upright original, masks are
COCO run lengths.
"""

from typing import Any


def all_answers(expression: str, answer: dict[str, Any], masks: bool = True) -> dict[str, Any]:
    """An expression, what is known of it, its `count` of answers, and these in `answers`, the best first."""
    found = [one_answer(answer, row, masks) for row in range(len(answer["scores"]))]
    return {"expression": expression, "count": len(found), **of_expression(answer), "answers": found}


def of_expression(answer: dict[str, Any]) -> dict[str, Any]:
    """What is known of an expression apart from its answers."""
    known = {} if answer["exists"] is None else {"exists": answer["exists"]}
    return known | ({"unread": answer["unread"]} if answer["unread"] else {})


def one_answer(answer: dict[str, Any], row: int, masks: bool = True) -> dict[str, Any]:
    """The answer at a place among those of its expression; `mask` only if it is asked for."""
    from ..images.segmentation import mask_to_rle

    raw = {} if answer["exists"] is None else {"raw_score": answer["raw_scores"][row].item()}
    found = {
        "score": answer["scores"][row].item(),
        **raw,
        "box": answer["boxes"][row].tolist(),
        "box_source": answer["box_source"],
    }
    if masks:
        found |= {"mask": mask_to_rle(answer["masks"][row, 0]), "mask_source": answer["mask_source"]}
    return found


__all__ = ["all_answers", "of_expression", "one_answer"]
