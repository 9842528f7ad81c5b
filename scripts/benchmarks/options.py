"""Options that are off by default: `torch.compile` and bfloat16, each against the plain full-size model of the run.

On a processor without bfloat16 arithmetic (no AVX-512 BF16 or AMX) the second row says how much slower it is.
"""

import tempfile

import torch

from .full_size import EXPRESSIONS, FullSize
from .timing import Figure, median_seconds


def measure(repeats: int) -> list[Figure]:
    """Seconds of the plain model ÷ seconds with the option: above 1 the option is faster."""
    with tempfile.TemporaryDirectory() as folder:
        plain = FullSize(folder)
        seconds = median_seconds(lambda: plain.answer(EXPRESSIONS[:1]), repeats)
        figures = []
        compiled = FullSize(folder)
        compiled.model.model.backbone.compile()
        compiled.processor.box_detector.compile()
        spent = median_seconds(lambda: compiled.answer(EXPRESSIONS[:1]), repeats, 2)
        figures.append(Figure("plain ÷ torch.compile, one expression", seconds / spent, "", f"{spent:.2f} s"))
        half = FullSize(folder)
        half.model.to(torch.bfloat16)
        half.processor.to(torch.bfloat16)
        spent = median_seconds(lambda: half.answer(EXPRESSIONS[:1]), max(1, repeats // 3))
        figures.append(Figure("plain ÷ bfloat16, one expression", seconds / spent, "", f"{spent:.2f} s"))
    return figures
