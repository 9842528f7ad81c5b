"""What a family is: a seeded generator of cases, and a judge of one case. Knows nothing of processes and tables."""

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from .outcome import Outcome

Step = tuple[Any, ...]


@dataclass(frozen=True)
class Case:
    """
    One thing to try, in plain values, so that it can be printed, sent to another process and made smaller.

    Attributes:
        subject: what is tried.
        steps: what is done to it, in this order; a case with fewer steps is a legal, smaller case.
    """

    subject: str
    steps: tuple[Step, ...] = ()

    def without(self, number: int) -> "Case":
        """The case without one of its steps."""
        return replace(self, steps=self.steps[:number] + self.steps[number + 1 :])


class Family(ABC):
    """
    A family of cases. An object of it lives in the worker's process and runs one case after the other.

    Args:
        folder: empty, for this object alone.

    Attributes:
        seconds, memory: limits of one case; bytes are those that it takes beyond what the worker held before.
    """

    seconds: ClassVar[float] = 30
    memory: ClassVar[int] = 2**30

    def __init__(self, folder: Path):
        self.folder = folder

    @staticmethod
    @abstractmethod
    def draw(rng: Generator) -> Case:
        """The next case of a generator."""

    @abstractmethod
    def run(self, case: Case) -> Outcome:
        """Try and judge a case."""

    def close(self) -> None:  # noqa: B027  (most have nothing to free)
        """Free what `__init__` opened."""


def generator(seed: int, family: str, number: int) -> Generator:
    """The generator of a family's case `number`: cases can be repeated alone, and do not depend on each other."""
    return np.random.default_rng([seed, zlib.crc32(family.encode()), number])


def pick(rng: Generator, values: Any) -> Any:
    """One of `values`, as it is (NumPy's own choice would convert it)."""
    listed = list(values)
    return listed[int(rng.integers(len(listed)))]
