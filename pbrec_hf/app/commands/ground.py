"""`pbrec-hf ground`: what expressions refer to in a photograph, as lines, as JSON or drawn."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..options import add_model, require_picture_name
from ..output import silence_libraries, spinner
from . import Commands, new_verb

HELP = "find what expressions refer to in a photograph"
_SMALLEST_SIDE = 16  # below this a person, too, sees nothing to refer to


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "ground", run, HELP)
    parser.add_argument("image", metavar="IMAGE", help="path or URL of the photograph")
    parser.add_argument("expressions", metavar="EXPRESSION", nargs="+", help="such as 'left dog'")
    parser.add_argument("--out", type=Path, help="write the photograph with the answers drawn here")
    parser.add_argument("--json", action="store_true", help="print JSON: expression, score, box, mask as COCO RLE")
    parser.add_argument("--threshold", type=float, default=0.0, help="leave out answers that score less (default 0)")
    parser.add_argument("--top_k", type=int, help="proposals that vote, where the checkpoint lets them vote")
    add_model(parser)


def run(options: argparse.Namespace) -> int:
    """Answer; status 1 where nothing was found for some expression."""
    from ...images.reading import load_picture

    silence_libraries()
    # Before the model is loaded: a mistyped path or an empty expression should not cost seconds.
    picture = load_picture(options.image)
    if max(picture.size) < _SMALLEST_SIDE:
        raise ValueError(
            f"{options.image} has only {picture.width}×{picture.height} pixels: give a picture of at least "
            f"{_SMALLEST_SIDE} pixels on its longer side."
        )
    for expression in options.expressions:
        if not expression.strip():
            raise ValueError("An expression is empty: give words, such as 'left dog'.")
    require_picture_name(options.out)
    with spinner("loading the checkpoint"):
        from ...inference.grounder import Grounder

        grounder = Grounder(options.model, options.device)
    masks = options.json or options.out is not None  # nothing else shows them
    result = grounder(picture, options.expressions, options.top_k, options.threshold, masks)
    if options.json:
        print(json.dumps([_as_json(*pair) for pair in zip(options.expressions, result.answers, strict=True)]))
    else:
        for expression, answer in zip(options.expressions, result.answers, strict=True):
            print(as_line(expression, answer))
    if options.out:
        from ..drawing import draw_answers

        draw_answers(result.image, result.answers).save(options.out)
        print(f"picture written to {options.out}", file=sys.stderr)
    return 0 if all(len(answer["scores"]) for answer in result.answers) else 1


def as_line(expression: str, answer: dict[str, Any]) -> str:
    """An answer of the processor in words."""
    if not len(answer["scores"]):
        return f"{expression}: nothing found"
    left, top, right, bottom = (round(value) for value in answer["boxes"][0].tolist())
    return f"{expression}: score {answer['scores'][0]:.2f}, box ({left}, {top}) to ({right}, {bottom})"


def _as_json(expression: str, answer: dict[str, Any]) -> dict[str, Any]:
    from ...images.segmentation import mask_to_rle

    if not len(answer["scores"]):
        keys = ("score", "box", "box_source", "mask", "mask_source")
        return {"expression": expression, **dict.fromkeys(keys)}
    return {
        "expression": expression,
        "score": answer["scores"][0].item(),
        "box": answer["boxes"][0].tolist(),
        "box_source": answer["box_source"],
        "mask": mask_to_rle(answer["masks"][0, 0]),
        "mask_source": answer["mask_source"],
    }
