"""The demo: answers on photographs, nearly all of the package, which the bundled checkpoint was not trained on."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from ..inference.grounder import Grounded, Grounder
from .drawing import contact_sheet, draw_answers
from .explain import box_proposals, score_map
from .options import PHOTOGRAPHS

_PROPOSALS = 12
_EXPLAINED = 2  # the row that is shown with what is behind its answer


def demo_photographs() -> list[dict[str, Any]]:
    """
    The rows of the demo: `image` (path), `expressions`, `source`, `license`. A photograph may be in several.

    A row that names a `package` is there where that is installed: its photographs may be looked at, but not passed on.
    """
    origins = json.loads((PHOTOGRAPHS / "ORIGINS.json").read_text(encoding="utf-8"))
    rows = []
    for row in json.loads((PHOTOGRAPHS / "demo.json").read_text(encoding="utf-8")):
        if (package := row.pop("package", None)) is None:
            row |= _origin(origins[f"images/{row['image']}"])
            rows.append(row | {"image": PHOTOGRAPHS / "images" / row["image"]})
        elif (path := _packaged(package, row["image"])) is not None:
            rows.append(row | {"image": path})
    return rows


def _packaged(package: str, name: str) -> Path | None:
    """A photograph of another package, if that is installed and has it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "images" / name
    return path if path.is_file() else None


def _origin(listed: dict[str, Any]) -> dict[str, str]:
    source = ", ".join(dict.fromkeys(listed["authors"]))
    license_name = listed["licence"].replace("LicenseRef-", "").replace("-", " ").replace(" AND ", ", ")
    return {"source": source, "license": license_name}


def run_demo(grounder: Grounder, on_answer: Callable[[dict[str, Any], Grounded], None]) -> Image.Image:
    """
    Answer every expression of the demo and draw one sheet: all answers, and for one photograph what is behind its
    first answer.

    A calibrated checkpoint answers with as many things as an expression means, or none; others with one.

    Args:
        grounder: the checkpoint.
        on_answer: called with each row and its result.
    """
    calibrated = grounder.processor.calibration is not None
    pictures: list[tuple[str, Image.Image]] = []
    for row in demo_photographs():
        result = grounder(row["image"], row["expressions"], referents="any" if calibrated else "one")
        on_answer(row, result)
        pictures.append((_title(row["expressions"], result), draw_answers(result.image, result.answers)))
        if len(pictures) == _EXPLAINED:
            pictures += _behind(grounder, result)
    return contact_sheet(pictures)


def _title(expressions: list[str], result: Grounded) -> str:
    """The expressions; behind one without an answer, that there is none."""
    answered = zip(expressions, result.answers, strict=True)
    return ", ".join(text if len(answer["scores"]) else f"{text}: nothing found" for text, answer in answered)


def _behind(grounder: Grounder, result: Grounded) -> list[tuple[str, Image.Image]]:
    """What is behind the first answer: the map of scores, and the best proposals."""
    pictures = [(f"scores for «{result.inputs['expressions'][0]}»", score_map(result))]
    ranked = grounder.processor.rank(result.outputs, result.inputs, _PROPOSALS, return_masks=False)
    if (drawn := box_proposals(result, ranked=ranked.get("boxes"))) is not None:
        pictures.append((f"the {drawn[1]} best proposals, and the answer", drawn[0]))
    return pictures
