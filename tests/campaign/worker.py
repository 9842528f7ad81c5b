"""A process of its own for the cases of one family, watched from outside: time, memory, and whether it still lives.

Memory is bounded twice. The watcher looks at what the process and its children hold. The system refuses to reserve
far more than that; this limit must be loose, since `torch` reserves much that it never uses.
Needs a POSIX system.
"""

import math
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
import time
from contextlib import ExitStack
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from .family import Case, Family
from .outcome import Outcome, wrong

_CONTEXT = multiprocessing.get_context("forkserver")
# Imported once, by the server that workers are forked from.
_CONTEXT.set_forkserver_preload(
    ["pbrec_hf.training.run", "pbrec_hf.detectors.solo", "pbrec_hf.inference.grounder", "pbrec_hf.data.own_data"]
)
_START_SECONDS = 180
_END_SECONDS = 10
_LOOK_SECONDS = 0.03


def load(name: str) -> type[Family]:
    """The class of a family by the name of its module."""
    found: type[Family] = import_module(f"{__package__}.families.{name}").FAMILY
    return found


class Worker:
    """
    Runs cases of a family; starts again after a case that ended, froze or filled its process.

    Args:
        family: the name of a module of `families`.
        undo: the name of a mend that is taken away in the process, or None.
    """

    def __init__(self, family: type[Family], undo: str | None = None):
        self.family, self.undo = family, undo
        self._process: multiprocessing.process.BaseProcess | None = None
        self._folder = ""

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._pipe.close()
            self._process.join(_END_SECONDS)
        self._stop()

    def run(self, case: Case) -> Outcome:
        """What became of `case`."""
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.pid is not None
        process = psutil.Process(self._process.pid)
        before, end = _held(process), time.monotonic() + self.family.seconds
        self._pipe.send(case)
        problem = None
        while not self._pipe.poll(_LOOK_SECONDS):
            if not self._process.is_alive():
                problem = f"the process ended with {self._process.exitcode}: {self._last_words()}"
            elif time.monotonic() > end:
                problem = f"no answer after {self.family.seconds:g} s"
            elif _held(process, before + self.family.memory) > before + self.family.memory:
                problem = f"more than {self.family.memory / 2**20:.0f} MiB of memory"
            if problem is not None:
                break
        else:
            try:
                outcome: Outcome = self._pipe.recv()
                return outcome
            except EOFError:
                self._process.join(5)
                problem = f"the process ended with {self._process.exitcode}: {self._last_words()}"
        self._stop()
        return wrong(problem)

    def _start(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="campaign-")
        self._pipe, other = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(self.family, self._folder, self.undo, other))
        self._process.start()
        other.close()
        if not self._pipe.poll(_START_SECONDS) or not self._process.is_alive():
            words = self._last_words()
            self._stop()
            raise RuntimeError(f"The family {self.family.__module__} did not start: {words}")
        self._pipe.recv()

    def _stop(self) -> None:
        if self._process is None:
            return
        assert self._process.pid is not None
        try:
            os.killpg(self._process.pid, signal.SIGKILL)  # with everything that it started
        except ProcessLookupError:
            self._process.kill()
        self._process.join()
        self._process = None
        self._pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _last_words(self) -> str:
        log = Path(self._folder, "log")
        return " / ".join(log.read_text(errors="replace").splitlines()[-4:]) if log.exists() else ""


def _held(process: psutil.Process, most: float = math.inf) -> int:
    """
    Bytes that a process and its children hold.

    Args:
        most: only above this are pages that a child shares with its parent told from its own, which takes time.
    """
    total = 0
    try:
        total = process.memory_info().rss
        children = process.children(recursive=True)
        held = sum(child.memory_info().rss for child in children)
        if total + held > most:
            held = sum(child.memory_full_info().uss for child in children)
        total += held
    except psutil.NoSuchProcess:
        pass
    return total


def _serve(family: type[Family], folder: str, undo: str | None, pipe: Connection) -> None:
    """In the worker's process."""
    os.setpgid(0, 0)
    with open(Path(folder, "log"), "wb", 0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    import torch

    torch.set_num_threads(1)
    with ExitStack() as stack:
        if undo is not None:
            from .undo import UNDOS

            stack.enter_context(UNDOS[undo].taken_away())
        work = Path(folder, "work")
        work.mkdir()
        running = family(work)
        stack.callback(running.close)
        pipe.send("ready")
        while True:
            try:
                case: Case = pipe.recv()
            except EOFError:  # the watcher is gone
                return
            _limit(2 * family.memory + 2**30)
            pipe.send(running.run(case))


def _limit(more: int) -> None:
    """Let this process reserve `more` bytes beyond what it has reserved."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = psutil.Process().memory_info().vms + more
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
