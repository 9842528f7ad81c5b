"""Joins what is asked at the same time: one thread answers, and takes along what waits and can be answered together.

Nothing waits for company. While a batch is answered, the next one gathers; alone, a question is answered at once.
Knows nothing of pictures or HTTP.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from threading import Condition, Thread
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

Question = TypeVar("Question")
Answer = TypeVar("Answer")
_REMEMBERED = 0.9  # share of the past in the running mean of seconds


class Batches(Generic[Question, Answer]):
    """
    Args:
        answer: the answers to questions of one kind, one each; it is called in one thread only.
        kind: questions of equal kind can be answered together.
        most: questions of a batch.
        done: is told the size of each batch and the seconds it took.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Question]], Sequence[Answer]],
        kind: Callable[[Question], Hashable],
        most: int,
        done: Callable[[int, float], None] = lambda size, seconds: None,
    ):
        self.answer, self.kind, self.most, self.done = answer, kind, most, done
        self.seconds_each = 0.0
        self._since: float | None = None
        self._waiting: deque[tuple[Question, Future[Answer]]] = deque()
        self._changed = Condition()
        self._closed = False
        self._thread = Thread(target=self._run, name="answers", daemon=True)
        self._thread.start()

    def submit(self, question: Question) -> "Future[Answer]":
        """
        The answer to come; cancelled if this is closed. A question that is cancelled before its turn is not answered.
        """
        future: Future[Answer] = Future()
        with self._changed:
            if self._closed:
                future.cancel()
                return future
            self._waiting.append((question, future))
            self._changed.notify()
        return future

    @property
    def waiting(self) -> int:
        """Questions whose turn has not come."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether somebody answers."""
        return self._thread.is_alive()

    @property
    def busy_seconds(self) -> float:
        """How long the present batch has been answered; 0 where there is none."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def close(self) -> None:
        """Answer what is being answered, cancel what waits, and end."""
        with self._changed:
            self._closed = True
            for _, future in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            self._since = time.monotonic()
            self._settle(batch)
            self._since = None

    def _next(self) -> list[tuple[Question, "Future[Answer]"]]:
        """The longest waiting question and those of its kind; nothing after the end."""
        with self._changed:
            while True:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return []
                kind: Hashable = None
                batch: list[tuple[Question, Future[Answer]]] = []
                rest: deque[tuple[Question, Future[Answer]]] = deque()
                for entry in self._waiting:
                    kind = self.kind(entry[0]) if kind is None else kind
                    if len(batch) == self.most or self.kind(entry[0]) != kind:
                        rest.append(entry)
                    elif entry[1].set_running_or_notify_cancel():
                        batch.append(entry)
                self._waiting = rest
                if batch:
                    return batch

    def _settle(self, batch: list[tuple[Question, "Future[Answer]"]]) -> None:
        """Answer a batch; where that fails, each question alone, so that one does not spoil the others."""
        start = time.monotonic()
        try:
            answers = self.answer([question for question, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            logger.exception("a batch failed; its questions are asked one by one")
            for entry in batch:
                self._settle([entry])
            return
        self._count(len(batch), time.monotonic() - start)
        for (_, future), answer in zip(batch, answers, strict=True):
            future.set_result(answer)

    def _count(self, size: int, seconds: float) -> None:
        share = _REMEMBERED if self.seconds_each else 0.0
        self.seconds_each = share * self.seconds_each + (1 - share) * seconds / size
        self.done(size, seconds)


__all__ = ["Batches"]
