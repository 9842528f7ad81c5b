"""What one request, and all of them together, may cost.

A service that takes everything falls over when it is needed most. What is over a limit is refused at once, with a
reason.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from ...images.fetching import MOST_BYTES


@dataclass(frozen=True)
class Limits:
    """
    Args:
        upload: bytes of a photograph.
        pixels: of a photograph, by its header, before it is decoded.
        expressions: of a request.
        letters: of an expression.
        queue: requests that are being read, wait or are answered.
        together: photographs that are answered in one pass of the networks.
        seconds: from a request's first byte to its answer.
        readers: photographs that are decoded at a time, each with a few bytes for every pixel.
        fetch: whether a photograph may be a public address; it is fetched within the bounds of `images/fetching.py`.

    Raises:
        ValueError: one is not positive.
    """

    upload: int = MOST_BYTES
    pixels: int = 50_000_000
    expressions: int = 20
    letters: int = 1000
    queue: int = 64
    together: int = 8
    seconds: float = 30.0
    readers: int = 2
    fetch: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "fetch" and not value > 0:
                raise ValueError(f"{name}={value!r} of the limits: give a positive number.")

    @property
    def body(self) -> int:
        """Bytes of a request: the photograph as base64, and room for what is asked."""
        return self.upload * 4 // 3 + 2**20


class FullError(RuntimeError):
    """All places are taken."""


class Places:
    """
    Counts who is inside, and lets in no more than there are places.

    Args:
        most: places.
    """

    def __init__(self, most: int):
        self.most, self.inside = most, 0
        self._lock = Lock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """
        A place, until the end of the context.

        Raises:
            FullError: there is none.
        """
        with self._lock:
            if self.inside >= self.most:
                raise FullError(f"{self.inside} requests are being answered already: ask again later.")
            self.inside += 1
        try:
            yield
        finally:
            with self._lock:
                self.inside -= 1


__all__ = ["FullError", "Limits", "Places"]
