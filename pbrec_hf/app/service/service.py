"""A question from its bytes to its answer, within its time; what the routes of HTTP and the tool of MCP share."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from fastapi import HTTPException

from ...images.reading import TooLargeError
from ...inference.grounder import Grounder
from ...version import __version__
from .answering import Answering, Asked, Question
from .batches import Batches
from .limits import Limits, Places
from .measures import Measures

_STUCK = 4  # times the time of a request: a batch of so long a time will not end


class Service:
    """
    Args:
        grounder: a loaded checkpoint.
        limits: what requests may cost.
        model: what answers call it.
    """

    def __init__(self, grounder: Grounder, limits: Limits | None = None, model: str = "bundled"):
        self.limits, self.model = limits or Limits(), model
        self.answering = Answering(grounder, self.limits)
        self.places = Places(self.limits.queue)
        self.measures = Measures(lambda: self.places.inside)
        self.batches: Batches[Question, dict[str, Any]] = Batches(
            self.answering.answer, lambda question: question.asked, self.limits.together, self.measures.batch
        )
        self._readers = ThreadPoolExecutor(self.limits.readers, thread_name_prefix="reads")

    async def answer(
        self,
        photograph: bytes | str,
        expressions: Sequence[str],
        asked: Asked,
        end: float,
        gone: Callable[[], Coroutine[Any, Any, None]] | None = None,
        name: str = "",
    ) -> dict[str, Any]:
        """
        The answers of a photograph, see `Answering.answer`.

        Args:
            photograph: the bytes of a file, or such as text.
            expressions, asked: what is asked, and how.
            end: when there is no more time, by the monotonic clock.
            gone: returns when nobody waits for the answer any more.
            name: of the file, for messages.

        Raises:
            HTTPException: 413 or 422, what was sent is too large or cannot be answered; 503, its turn did not come in
                time; 504, its answer did not; 499, nobody waits for it; 500, a fault. With a reason in one line.
        """
        waiting: list[Future[dict[str, Any]]] = []

        def read() -> Question:
            content = self.answering.photograph_of(photograph) if isinstance(photograph, str) else photograph
            return self.answering.read(content, expressions, asked, name)

        async def answered() -> dict[str, Any]:
            with _refused():
                question = await asyncio.wrap_future(self._readers.submit(read))
            waiting.append(self.batches.submit(question))
            return await asyncio.wrap_future(waiting[0])

        with _refused():
            self.answering.require(expressions, asked)
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(answered())]
        if gone is not None:
            tasks.append(asyncio.ensure_future(gone()))
        try:
            left = max(0.0, end - time.monotonic())
            done, _ = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0] in done and not tasks[0].cancelled():
                found: dict[str, Any] = tasks[0].result()
                self.measures.expressions(len(expressions))
                return found
        finally:
            for task in tasks:
                task.cancel()
        if tasks[0].cancelled() and tasks[0] in done:
            raise HTTPException(503, "The service is ending: ask again later.", {"Retry-After": "1"})
        if done:
            if waiting:
                waiting[0].cancel()
            raise HTTPException(499, "The client went away.")
        started = bool(waiting) and not waiting[0].cancel()
        seconds = f"{self.limits.seconds:g} seconds"
        if started:
            raise HTTPException(504, f"The answer took more than {seconds}: send a smaller photograph, or ask less.")
        wait = {"Retry-After": str(self.retry_after())}
        raise HTTPException(503, f"No turn came within {seconds}: ask again later.", wait)

    def close(self) -> None:
        """Answer what is being answered, and end."""
        self._readers.shutdown(cancel_futures=True)
        self.batches.close()

    def retry_after(self) -> int:
        """Whole seconds in which those who are inside will probably be answered."""
        return max(1, math.ceil(self.places.inside * self.batches.seconds_each))

    def health(self) -> dict[str, Any]:
        """Whether questions are answered, and by what."""
        stuck = not self.batches.alive or self.batches.busy_seconds > _STUCK * self.limits.seconds
        told = {"model": self.model, "version": __version__, "inside": self.places.inside}
        return {"status": "stuck" if stuck else "ok", **told}


@contextmanager
def _refused() -> Iterator[None]:
    """What a client sent that cannot be answered becomes a status with a reason."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise HTTPException(413 if isinstance(error, TooLargeError) else 422, reason) from error


__all__ = ["Service"]
