"""JSON files of a checkpoint with damage. Oracle: an answer of numbers that can be one, or an error that names it."""

import json
import math
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from checkpoints import save_tiny_checkpoint
from numpy.random import Generator

from pbrec_hf.inference.grounder import Grounder

from ..family import Case, Family, pick
from ..mutations import damage_bytes, damage_json, draw_bytes, draw_json
from ..outcome import Outcome, judge

_FILES = (
    "config.json", "config.json", "processor_config.json", "processor_config.json", "box_detector/config.json",
    "tokenizer.json", "tokenizer_config.json", "mask_detector/config.json",
)  # fmt: skip
# Fields that turn numbers into none without any shape changing, and sizes whose product matters.
_AIMED = {
    "config.json": (
        (("layer_norm_eps",), math.nan), (("layer_norm_eps",), -1.0), (("text_config", "layer_norm_eps"), math.nan),
        (("text_config", "vocab_size"), 9_999_999), (("text_config", "hidden_size"), 65536), (("d_model",), 16384),
        (("backbone_config", "hidden_sizes"), [8, 8, 8, 9_999_999]), (("hidden_act",), "nothing"),
        (("model_type",), None), (("text_config", "hidden_act"), "nothing"), (("text_config", "model_type"), "x"),
    ),
    "processor_config.json": (
        (("image_processor", "image_std"), [0, 0, 0]), (("image_processor", "image_std"), [math.nan] * 3),
        (("image_processor", "rescale_factor"), math.nan), (("image_processor", "image_mean"), [math.inf] * 3),
        (("image_processor", "size"), {"longest_edge": 10**9}), (("max_text_length",), 8192),
        (("selection",), {"mask_threshold": math.nan}), (("selection",), {"top_k": -1}),
        (("selection",), {"max_referents": 0}), (("calibration",), {}), (("calibration",), math.nan),
    ),
}  # fmt: skip

# Each of them is legal; together they are gigabytes.
_PRODUCT = (("set", ("text_config", "vocab_size"), 9_999_999), ("set", ("text_config", "hidden_size"), 64))


class CheckpointJson(Family):
    """The subject is a file; steps change values in it, or its bytes."""

    memory: ClassVar[int] = 2**30

    def __init__(self, folder: Path):
        super().__init__(folder)
        save_tiny_checkpoint(folder / "sound", masks=True)
        self.picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)

    @staticmethod
    def draw(rng: Generator) -> Case:
        name = pick(rng, _FILES)
        chance = rng.random()
        if chance < 0.03:
            return Case("config.json", _PRODUCT)
        if chance < 0.2:
            return Case(name, draw_bytes(rng, 2000))
        if chance < 0.5 and name in _AIMED:
            path, value = pick(rng, _AIMED[name])
            return Case(name, (("set", path, value),))
        if chance < 0.55:
            return Case(name, (("nest", 10 ** int(rng.integers(1, 6))),))
        return Case(name, tuple(("draw", int(rng.integers(2**31))) for _ in range(int(rng.integers(1, 3)))))

    def run(self, case: Case) -> Outcome:
        folder = self.folder / "case"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder / "sound", folder)
        path = folder / case.subject
        raw = path.read_bytes()
        names: list[Any] = [case.subject, folder, "nested", "are finite"]  # what is not finite is named by its part
        if case.steps and case.steps[0][0] in ("draw", "set", "nest"):
            content = json.loads(raw)
            for step in case.steps:
                if step[0] == "nest":
                    break
                # What there is to change is known only here; the step holds the seed of the choice.
                change = draw_json(np.random.default_rng(step[1]), content) if step[0] == "draw" else step
                content = damage_json(content, change)
                names += [key for key in change[1] if isinstance(key, str)]
                names += list(change[2]) if len(change) == 3 and isinstance(change[2], dict) else []
            text = json.dumps(content)
            if case.steps[0][0] == "nest":
                text = f'{{"nested": {"[" * case.steps[0][1]}{"]" * case.steps[0][1]}, {text.lstrip()[1:]}'
            path.write_text(text, encoding="utf-8", errors="surrogatepass")
        else:
            path.write_bytes(damage_bytes(raw, case.steps))
        return judge(lambda: self._answer(folder), self._problem, names)

    def _answer(self, folder: Path) -> list[dict[str, Any]]:
        return Grounder(folder)(self.picture, ["left dog", "the red car on the right"]).answers

    def _problem(self, answers: list[dict[str, Any]]) -> str | None:
        height, width = self.picture.shape[:2]
        if len(answers) != 2:
            return f"{len(answers)} answers for 2 expressions"
        for answer in answers:
            if not len(answer["scores"]):
                return "nothing found, without a threshold"
            score, (left, top, right, bottom) = float(answer["scores"][0]), answer["boxes"][0].tolist()
            if not 0 <= score <= 1:
                return f"a score of {score}"
            if not (-1e-3 <= left <= right <= width + 1e-3 and -1e-3 <= top <= bottom <= height + 1e-3):
                return f"the box {[left, top, right, bottom]} of a picture of {width}×{height}"
        return None


FAMILY = CheckpointJson
