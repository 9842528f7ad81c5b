"""Figures of starting: what importing costs, and how long the command line takes from a cold start."""

import statistics
import subprocess
import sys
import time

from pbrec_hf.app.demo import demo_photographs

from .timing import Figure


def _process_seconds(arguments: list[str], repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])  # the first run fills the file cache


def measure(repeats: int) -> list[Figure]:
    """The rows about importing and the cold start of `pbrec-hf ground`."""
    bare = _process_seconds(["-c", "import transformers, torch"], repeats)
    ours = _process_seconds(["-c", "import transformers, torch, pbrec_hf"], repeats)
    # What the command needs of transformers and torch, without this package's work.
    imports = "import torch, torchvision; from transformers import AutoModel, pipeline, PreTrainedModel, AutoProcessor"
    needed = _process_seconds(["-c", imports], repeats)
    photograph = demo_photographs()[0]
    arguments = ["ground", str(photograph["image"]), photograph["expressions"][0]]
    ground = _process_seconds(["-m", "pbrec_hf.app.cli", *arguments], repeats)
    return [
        Figure("import pbrec_hf ÷ import transformers, torch", ours / bare, "≤ 1.1", f"{bare:.2f} s bare"),
        Figure("cold start of ground, seconds above the imports", ground - needed, "≤ 1.5", f"{ground:.2f} s in all"),
    ]
