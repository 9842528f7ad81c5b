"""Trainings that are killed, that share a folder, that may not write much. Oracle: a run that nothing disturbed."""

import multiprocessing
import os
import resource
import shutil
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ClassVar

import torch
from checkpoints import save_tiny_checkpoint
from numpy.random import Generator
from training_data import tiny_config, write_data

from pbrec_hf.training.run import train

from ..family import Case, Family, pick
from ..outcome import Outcome, answered, refused, wrong

_STEPS = 3
_WEIGHTS = "last/model.safetensors"


class Training(Family):
    """Subjects: killed (moments), crowded (delays of further trainings), limited (bytes that a file may have)."""

    seconds: ClassVar[float] = 90
    memory: ClassVar[int] = 2**31

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.context = multiprocessing.get_context("fork")  # this process never trains itself
        save_tiny_checkpoint(folder / "start")
        write_data(folder / "data", pictures=_STEPS, expressions=1)
        self._finish("unbroken")
        self.unbroken = (folder / "unbroken" / _WEIGHTS).read_bytes()

    @staticmethod
    def draw(rng: Generator) -> Case:
        subject = pick(rng, ("killed", "killed", "crowded", "limited"))
        if subject == "killed":
            kinds = ("partial", "complete", "last", "time")
            moments = [
                ("kill", pick(rng, kinds), int(rng.integers(1, _STEPS + 1)), float(rng.uniform(0, 0.3)))
                for _ in range(int(rng.integers(1, 3)))
            ]
            return Case(subject, tuple(moments))
        if subject == "crowded":
            delays = [("start", float(rng.uniform(0, 0.2))) for _ in range(int(rng.integers(1, 3)))]
            return Case(subject, tuple(delays))
        return Case(subject, (("bytes", int(2 ** rng.uniform(6, 19))),))

    def run(self, case: Case) -> Outcome:
        output = self.folder / "output"
        shutil.rmtree(output, ignore_errors=True)
        self.refusal: str | None = None
        problem: Outcome | None = getattr(self, f"_{case.subject}")(case, output)
        if problem is not None:
            return problem
        # Whatever happened: the same command again ends it, as if nothing had happened.
        if (told := self._finish("output")) is not None:
            return wrong(f"afterwards: {told}")
        if (output / _WEIGHTS).read_bytes() != self.unbroken:
            return wrong("the weights are not those of an unbroken run")
        return answered() if self.refusal is None else refused(self.refusal)

    def _killed(self, case: Case, output: Path) -> None:
        for _, kind, step, seconds in case.steps:
            process, _told = self._start("output")
            name = f"step-{step:08}"
            marks = {
                "partial": output / "checkpoints" / f"{name}.partial", "complete": output / "checkpoints" / name,
                "last": output / "last.partial",
            }  # fmt: skip
            end = time.monotonic() + seconds
            while process.is_alive():
                if marks[kind].exists() if kind in marks else time.monotonic() > end:
                    break
                time.sleep(0.0005)
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
            process.join()

    def _crowded(self, case: Case, output: Path) -> Outcome | None:
        started = [self._start("output")]
        for _, seconds in case.steps:
            time.sleep(seconds)
            started.append(self._start("output"))
        told = [_end(process, pipe) for process, pipe in started]
        if all(reason is not None for reason in told):
            return wrong(f"no training came to an end: {told}")
        for reason in told:
            if reason is not None and not (reason[0] == "ValueError" and "output_dir" in reason[1]):
                return wrong(f"a training was lost to {reason}")
        if (output / _WEIGHTS).read_bytes() != self.unbroken:
            return wrong("the weights are not those of an unbroken run")
        return None

    def _limited(self, case: Case, output: Path) -> Outcome | None:
        told = _end(*self._start("output", case.steps[0][1] if case.steps else None))
        if told is None:
            return None
        kind, message = told
        if kind not in ("CannotWriteError", "OSError") or "\n" in message or str(output) not in message:
            return wrong(f"a file-size limit is told as {told}")
        self.refusal = message
        return None

    def _start(self, name: str, most_bytes: int | None = None) -> tuple[BaseProcess, Any]:
        pipe, other = self.context.Pipe()
        process = self.context.Process(target=_train, args=(self.folder, name, most_bytes, other))
        process.start()
        other.close()
        return process, pipe

    def _finish(self, name: str) -> tuple[str, str] | None:
        return _end(*self._start(name))


def _end(process: BaseProcess, pipe: Any) -> tuple[str, str] | None:
    """Wait for a training; the kind and message of its error, or None."""
    try:
        told: tuple[str, str] | None = pipe.recv()
    except EOFError:
        told = ("killed", "")
    process.join()
    return told


def _train(folder: Path, name: str, most_bytes: int | None, pipe: Any) -> None:
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    torch.set_num_threads(1)
    os.environ["ACCELERATE_USE_CPU"] = "1"
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    config = tiny_config(
        folder / "start", folder / "data/data.jsonl", folder / name, batch_size=1, epochs=1, ema_decay=0.9
    )
    try:
        train(config)
    except Exception as error:
        pipe.send((type(error).__name__, str(error)))
    else:
        pipe.send(None)


FAMILY = Training
