"""The most memory that this process holds while something runs, by looking again and again, on any system."""

import threading
from types import TracebackType

import psutil

MEGABYTE = 2**20


class PeakMemory:
    """A context that looks every few milliseconds; `before`, `peak` and `after` are in bytes."""

    def __init__(self, seconds: float = 0.002):
        self.process, self.seconds = psutil.Process(), seconds
        self.before = self.peak = self.after = 0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self.before = self.peak = self._held()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        self._thread.join()
        self.after = self._held()
        self.peak = max(self.peak, self.after)

    def _held(self) -> int:
        return int(self.process.memory_info().rss)

    def _look(self) -> None:
        while not self._ends.wait(self.seconds):
            self.peak = max(self.peak, self._held())
