"""Training runs in processes of their own: one or several on gloo, killed if wanted.

The processes come from a fork server that has imported the package: they start at once, and inherit no threads.
"""

import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator

from pbrec_hf.training.config import TrainingConfig
from pbrec_hf.training.run import train

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pbrec_hf.training.run", "pbrec_hf.detectors.solo"])


def start(function: Callable, *arguments, processes: int = 1) -> list:
    """Start `function` in so many processes that find each other on gloo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(processes):
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
        environment = {name: str(value) for name, value in ranks.items()} if processes > 1 else {}
        environment |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "1", "HF_HUB_OFFLINE": "1"}
        process = _CONTEXT.Process(target=_run, args=(environment, function, arguments), daemon=True)
        process.start()
        started.append(process)
    return started


def run(function: Callable, *arguments, processes: int = 1) -> None:
    """The same, to the end; AssertionError if one of them fails."""
    started = start(function, *arguments, processes=processes)
    for process in started:
        process.join(300)
    assert [process.exitcode for process in started] == [0] * processes


def kill_when(condition: Callable[[], bool], process) -> None:
    """SIGKILL `process` as soon as `condition` holds; AssertionError if it ends before."""
    while not condition():
        assert process.is_alive()
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def train_and_record(config: TrainingConfig, processes: int = 1) -> None:
    """Train; what is logged goes to OUTPUT_DIR/log.jsonl."""
    torch.set_num_threads(1)
    path = Path(config.output_dir) / "log.jsonl"

    def log(self, values, step=None, **_):
        assert self.num_processes == processes
        if self.is_main_process:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(values | {"step": step}) + "\n")

    Accelerator.log = log
    train(config)


def losses(folder: Path) -> list[float]:
    """The loss of each step that `train_and_record` logged."""
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [line["train/loss"] for line in lines if "train/loss" in line]


def _run(environment: dict[str, str], function: Callable, arguments: tuple) -> None:
    os.environ.update(environment)
    function(*arguments)
