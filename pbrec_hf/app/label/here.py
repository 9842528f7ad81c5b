"""Labelling in this process: the next photographs are read while one is answered."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from PIL import Image

from ...images.reading import load_picture
from .labeller import UNREADABLE, Asking, Labeller, error_record
from .photographs import Photograph

_AHEAD = 2  # pictures that wait, decoded, for their turn


def label_here(
    photographs: Iterable[Photograph],
    asking: Asking,
    device: str,
    done: Callable[[Photograph, dict[str, Any]], None],
) -> None:
    """
    Answer one photograph after the other.

    Args:
        photographs: those to do; the checkpoint is loaded only if there are any.
        asking, device: see [`Labeller`].
        done: called with each record as soon as it is there.
    """
    labeller: Labeller | None = None
    for photograph, picture in _read_ahead(photographs):
        if labeller is None:
            labeller = Labeller(asking, device)
        if isinstance(picture, Exception):
            done(photograph, error_record(picture))
        else:
            done(photograph, labeller.record(picture, list(photograph.expressions)))


def _read_ahead(photographs: Iterable[Photograph]) -> Iterator[tuple[Photograph, Image.Image | Exception]]:
    """Photographs with their pictures, or with what went wrong."""
    rest = iter(photographs)
    waiting: deque[tuple[Photograph, Future[Image.Image | Exception]]] = deque()
    with ThreadPoolExecutor(1) as reader:
        try:
            while True:
                for photograph in islice(rest, _AHEAD - len(waiting)):
                    waiting.append((photograph, reader.submit(_read, photograph.image)))
                if not waiting:
                    return
                photograph, picture = waiting.popleft()
                yield photograph, picture.result()
        finally:
            for _, picture in waiting:
                picture.cancel()


def _read(image: Any) -> Image.Image | Exception:
    try:
        return load_picture(image)
    except UNREADABLE as error:
        return error


__all__ = ["label_here"]
