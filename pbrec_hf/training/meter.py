"""What a run shows of itself while it trains: loss, throughput, memory and time left."""

import time

import psutil
import torch
from accelerate import Accelerator
from torch import Tensor

from .scores import Scores


class Meter:
    """
    Collects over steps and is read now and then.

    Args:
        steps: number of steps to come.
        accelerator: of the processes that train together.
    """

    def __init__(self, steps: int, accelerator: Accelerator):
        self.steps, self.accelerator, self.done = steps, accelerator, 0
        self.memory = _Memory(accelerator.device)
        self.loss = torch.zeros((), device=accelerator.device)
        self.expressions, self.count, self.start = 0.0, 0, time.perf_counter()

    def add(self, loss: Tensor, expressions: float) -> None:
        """Take in this process's share of a step's loss, and the step's expressions over all processes."""
        self.done += 1
        self.count += 1
        self.loss, self.expressions = self.loss + loss, self.expressions + expressions
        self.memory.look()

    def read(self) -> Scores:
        """
        What happened since the last reading; all processes must call it.

        Returns:
            "loss" (mean over the steps), "expressions_per_second", "memory_gib" (the most so far, of the GPU or else
            of this process) and "hours_left".
        """
        loss = self.accelerator.reduce(self.loss, reduction="sum").item() / self.count
        seconds = time.perf_counter() - self.start
        values = {
            "loss": loss,
            "expressions_per_second": self.expressions / seconds,
            "memory_gib": self.memory.most / 2**30,
            "hours_left": (self.steps - self.done) * seconds / self.count / 3600,
        }
        self.loss = torch.zeros_like(self.loss)
        self.expressions, self.count, self.start = 0.0, 0, time.perf_counter()
        return values


class _Memory:
    """The most memory in bytes: of a GPU as CUDA counts it, or what this process held whenever `look` was called."""

    def __init__(self, device: torch.device):
        self.device, self.process, self.seen = device, psutil.Process(), 0

    def look(self) -> None:
        if self.device.type != "cuda":
            self.seen = max(self.seen, self.process.memory_info().rss)

    @property
    def most(self) -> int:
        return torch.cuda.max_memory_reserved(self.device) if self.device.type == "cuda" else self.seen
