"""Evaluation of the full-size model: what `scripts/evaluate.py` takes per photograph, against a single question.

200 photographs with 7 expressions each, as in the validation splits of RefCOCO, through the very function that the
script calls, one photograph at a time as it does on a CPU: reading, boxes, answers and point hits. Takes some minutes.
"""

import json
import shutil
import tempfile
from pathlib import Path

from pbrec_hf.training.build import load_rows
from pbrec_hf.training.evaluation import predict

from .full_size import EXPRESSIONS, FullSize
from .timing import Figure, median_seconds

PHOTOGRAPHS = 200
PER_PHOTOGRAPH = 7


def measure(repeats: int) -> list[Figure]:
    """The row about evaluation; `repeats` is of the single question."""
    with tempfile.TemporaryDirectory() as folder:
        ours = FullSize(folder)
        rows = load_rows(_data(Path(folder), ours.path))
        one = median_seconds(lambda: ours.answer(EXPRESSIONS[:1]), repeats)
        whole = median_seconds(
            lambda: predict(ours.model, ours.processor, rows, batch_size=1, oracles=False), repeats=1, warm_up=0
        )
    name = f"evaluation of {PHOTOGRAPHS} photographs, {PER_PHOTOGRAPH} expressions each ÷ as many single questions"
    return [Figure(name, whole / PHOTOGRAPHS / one, "≤ 1.6", f"{whole:.0f} s; one question {one:.2f} s")]


def _data(folder: Path, photograph: str) -> str:
    """Data of one's own about copies of a photograph."""
    lines = []
    for number in range(PHOTOGRAPHS):
        copy = folder / f"{number:03}.jpg"
        shutil.copy(photograph, copy)
        lines += [
            json.dumps({"image": copy.name, "expression": expression, "bbox": [100, 100, 300, 200 + number]})
            for expression in EXPRESSIONS[:PER_PHOTOGRAPH]
        ]
    path = folder / "photographs.jsonl"
    path.write_text("\n".join(lines))
    return str(path)
