"""Memory of the full-size model: what a batch of eight photographs needs against one, and what is given back after.

Each size runs in a process of its own, because the allocator's habits outlast a batch.
"""

import ctypes
import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from .timing import Figure

BATCHES = (1, 8)


def measure(repeats: int) -> list[Figure]:
    """The rows about memory; `repeats` is not needed."""
    one, eight = (_in_a_process(batch) for batch in BATCHES)
    note = f"{one['activations']:.0f} and {eight['activations']:.0f} MB"
    return [
        Figure("memory of activations, batch 8 ÷ batch 1", eight["activations"] / one["activations"], "≤ 8", note),
        Figure("memory kept after batch 8 ÷ its activations", eight["kept"] / eight["activations"], "≤ 0.1"),
    ]


def _in_a_process(batch: int) -> dict:
    command = [sys.executable, "-m", __name__, str(batch)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    return json.loads(output.stdout.splitlines()[-1])


def _run(batch: int) -> dict:
    import torch

    from .full_size import EXPRESSIONS, FullSize
    from .peak import MEGABYTE, PeakMemory

    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        model = FullSize(folder)
        model.answer_many(1, EXPRESSIONS[:1], 1)  # what is made once and kept
        _give_back()
        with PeakMemory() as held:
            model.answer_many(batch, EXPRESSIONS[:1], batch)
            _give_back()
        kept = max(held.after - held.before, 0)
        return {"activations": (held.peak - held.before) / MEGABYTE, "kept": kept / MEGABYTE}


def _give_back() -> None:
    gc.collect()
    if sys.platform == "linux":  # elsewhere the allocator gives back as it likes
        ctypes.CDLL("libc.so.6").malloc_trim(0)


if __name__ == "__main__":
    print(json.dumps(_run(int(sys.argv[1]))))
