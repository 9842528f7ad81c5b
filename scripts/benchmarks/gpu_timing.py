"""What all rows of gpu.py share: the device and the sizes, timing, memory, counting of arithmetic, and its peak."""

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from .timing import median_seconds

GIGABYTE = 2**30


class Bench:
    """
    Where and with what is measured.

    Args:
        device: "cuda" or "cpu".
        tiny: small networks, canvases and batches.
        repeats: timed calls, whose median counts.

    Attributes:
        peak: floating-point operations per second of a bf16 matrix product; None before it was measured.
        operations: of a training step, by its number of expressions; counted once.
    """

    def __init__(self, device: str, tiny: bool, repeats: int):
        self.device, self.tiny, self.repeats = torch.device(device), tiny, repeats
        self.size, self.canvas, self.batch = ("small", 64, 2) if tiny else ("published", 640, 64)
        self.matrix = 256 if tiny else 8192
        self.peak: float | None = None
        self.operations: dict[int, float] = {}

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name() if self.on_gpu else "CPU"

    def seconds(self, run: Callable[[], object], warm_up: int = 3) -> float:
        """Median seconds until the device has done what `run` asks of it."""
        return median_seconds(lambda: (run(), self.wait()), self.repeats, warm_up)

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def free(self) -> None:
        """Give back what the last row held, and forget how much that was."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def memory(self) -> float | None:
        """The most GiB that tensors took since `free`; None on a CPU."""
        return torch.cuda.max_memory_allocated() / GIGABYTE if self.on_gpu else None

    def figures(self, seconds: float, expressions: int, operations: float) -> dict[str, Any]:
        """The columns of a row that answers or trains `expressions` with that much arithmetic in `seconds`."""
        rate = operations / seconds
        return {
            "ms": seconds * 1000,
            "expressions per second": expressions / seconds,
            "TFLOP/s": rate / 1e12,
            "share": rate / self.peak if self.peak else None,
            "memory": self.memory(),
        }


def operations_of(run: Callable[[], object]) -> float:
    """Floating-point operations of matrix products, convolutions and attention in `run`."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def matmul_peak(bench: Bench) -> dict[str, Any]:
    """Operations per second of a large bf16 matrix product of random numbers, which `bench` keeps."""
    left, right = (torch.randn(bench.matrix, bench.matrix, device=bench.device).to(torch.bfloat16) for _ in range(2))
    calls = 10  # so that launching weighs nothing
    seconds = bench.seconds(lambda: [left @ right for _ in range(calls)]) / calls
    bench.peak = 2 * bench.matrix**3 / seconds
    return {"TFLOP/s": bench.peak / 1e12, "ms": seconds * 1000}
