"""Random numbers of augmentation, from a generator that is passed in; None is torch's own."""

import hashlib

import torch
from torch import Generator


def row_generator(seed: int, epoch: int, key: str) -> Generator:
    """A generator that depends on these three alone, not on workers, processes or the order of rows."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{key}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def uniform(low: float, high: float, generator: Generator | None = None) -> float:
    """A number uniform in [low, high)."""
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float32).item()


def chance(probability: float, generator: Generator | None = None) -> bool:
    """True with this probability."""
    return torch.rand((), generator=generator, dtype=torch.float32).item() < probability


def integer(count: int, generator: Generator | None = None) -> int:
    """Uniform in 0 … count - 1."""
    return int(torch.randint(count, (), generator=generator))


__all__ = ["chance", "integer", "row_generator", "uniform"]
