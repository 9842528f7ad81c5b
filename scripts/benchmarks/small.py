"""Figures of the bundled checkpoint, from a photograph that ships with the package to answers.

Compared with CLIPSeg, with itself for more expressions, and with itself at an older commit.
"""

from collections.abc import Callable
from functools import cache

import torch

from pbrec_hf import Grounder
from pbrec_hf.app.options import PHOTOGRAPHS

from .before import COMMIT, Before
from .peers import ClipSeg
from .timing import Figure, compared, measured, median_seconds

PATH = PHOTOGRAPHS / "images/giraffes.jpg"
NOUNS = ["giraffe", "tree", "man", "dog", "sky", "fence", "grass", "bird"]
SIDES = ["on the left", "on the right", "in the middle", "at the top", "at the bottom", "in front", "behind", "nearby"]
EXPRESSIONS = [f"the {noun} {side}" for side in SIDES for noun in NOUNS]
RUNTIMES = {"fp32": ("torch", "onnx", "openvino"), "int8": ("onnx", "openvino")}


def measure(repeats: int) -> list[Figure]:
    """All rows; runtimes that do not run here are left out of the choice of the fastest."""
    torch.manual_seed(0)
    rounds = repeats * 2
    peer = ClipSeg(PATH)

    @cache
    def asked(runtime: str, precision: str = "fp32", expressions: int = 1) -> Callable[[], object]:
        grounder = _grounder(runtime, precision)
        return lambda: grounder(PATH, EXPRESSIONS[:expressions])

    def fastest(precision: str, target: str) -> Figure:
        runtime = _fastest(precision, asked, repeats)
        name = f"CLIPSeg (torch fp32) ÷ pbrec-mt-small ({runtime} {precision}, its fastest)"
        return compared(peer.answer, asked(runtime, precision), rounds, 2).figure(name, target)

    def both() -> Figure:
        name = "CLIPSeg ÷ pbrec-mt-small, both OpenVINO fp32"
        return compared(peer.in_openvino(), asked("openvino"), rounds, 2).figure(name)

    def alone() -> Figure:
        return Figure("pbrec-mt-small (torch fp32), ms", median_seconds(asked("torch"), rounds, 2) * 1000)

    def older() -> Figure:
        with Before(torch.get_num_threads()) as before:
            times = compared(lambda: before.answer(PATH, EXPRESSIONS[0]), asked("torch"), rounds, 2)
        return times.figure(f"pbrec-mt-small, commit {COMMIT} ÷ now, both torch fp32", "≥ 1.6")

    def more(count: int, target: str) -> Figure:
        times = compared(asked("torch", "fp32", count), asked("torch"), rounds, 2)
        return times.figure(f"pbrec-mt-small (torch fp32), {count} expressions ÷ one", target)

    return [
        measured("pbrec-mt-small (torch fp32), ms", "", alone),
        measured("CLIPSeg (torch fp32) ÷ pbrec-mt-small (fastest, fp32)", "≥ 3.5", lambda: fastest("fp32", "≥ 3.5")),
        measured("CLIPSeg (torch fp32) ÷ pbrec-mt-small (fastest, int8)", "≥ 4.5", lambda: fastest("int8", "≥ 4.5")),
        measured("CLIPSeg ÷ pbrec-mt-small, both OpenVINO fp32", "", both),
        measured(f"pbrec-mt-small, commit {COMMIT} ÷ now, both torch fp32", "≥ 1.6", older),
        measured("pbrec-mt-small (torch fp32), 8 expressions ÷ one", "≤ 1.4", lambda: more(8, "≤ 1.4")),
        measured("pbrec-mt-small (torch fp32), 64 expressions ÷ one", "≤ 4", lambda: more(64, "≤ 4")),
    ]


@cache
def _grounder(runtime: str, precision: str) -> Grounder:
    return Grounder() if (runtime, precision) == ("torch", "fp32") else Grounder(runtime=runtime, precision=precision)


def _fastest(precision: str, asked: Callable[[str, str], Callable[[], object]], repeats: int) -> str:
    """The runtime that answers soonest, among those that are there.

    Raises:
        RuntimeError: none is.
    """
    seconds, missing = {}, []
    for runtime in RUNTIMES[precision]:
        try:
            seconds[runtime] = median_seconds(asked(runtime, precision), repeats, 2)
        except Exception as error:
            missing.append(f"{runtime}: {error}")
    if not seconds:
        raise RuntimeError("; ".join(missing))
    return min(seconds, key=seconds.__getitem__)
