"""Figures of starting: what importing costs, and how long the command line takes from a cold start.

Each is a process of its own; those that are compared take turns.
"""

import subprocess
import sys
from collections.abc import Callable

from pbrec_hf.app.demo import demo_photographs

from .timing import Figure, compared

IMPORTS = "import torch, transformers"


def measure(repeats: int) -> list[Figure]:
    """The rows about importing and the cold start of `pbrec-hf ground`."""
    photograph = demo_photographs()[0]
    bare = _process("-c", IMPORTS)
    ours = compared(_process("-c", f"{IMPORTS}, pbrec_hf"), bare, repeats)
    ground = _process("-m", "pbrec_hf.app.cli", "ground", str(photograph["image"]), photograph["expressions"][0])
    cold = compared(ground, bare, repeats)
    above = [spent / imports - 1 for spent, imports in zip(cold.first, cold.second, strict=True)]
    note = cold.figure("").note
    return [
        ours.figure(f"{IMPORTS}, pbrec_hf ÷ without pbrec_hf", "≤ 1.1"),
        Figure(
            f"cold start of `pbrec-hf ground` above `{IMPORTS}` ÷ these imports",
            sorted(above)[len(above) // 2], "≤ 0.2", note, min(above), max(above),
        ),
    ]  # fmt: skip


def _process(*arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
