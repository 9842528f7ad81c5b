"""Labelling on a cluster by Ray Data: workers answer, this process alone writes the journal.

A worker that dies is started again, and what it had not handed over is done again; nothing is written twice, as only
what arrives here is written. Workers read photographs themselves: the folder has to be there for all of them. Which
cluster it is follows Ray's own rules (`RAY_ADDRESS`); without one, Ray runs on this machine.
Needs `pip install 'pbrec_hf[ray]'`.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .labeller import Asking, Labeller
from .photographs import Photograph

_WINDOW = 1000  # photographs that Ray knows at a time; pictures of tables are held with them
_BLOCK = 4  # photographs that a worker hands over together, and loses if it dies


@dataclass(frozen=True)
class OnRay:
    """
    An engine of [`Job`].

    Args:
        workers: how many processes answer.
        gpus: of each worker; None = one if `device` is a GPU, otherwise none.
        device: where a worker runs.

    Raises:
        ImportError: without the extra `ray`.
        ValueError: no worker.
    """

    workers: int
    device: str = "cpu"
    gpus: float | None = None

    def __post_init__(self) -> None:
        _ray()
        if self.workers < 1:
            raise ValueError(f"--workers {self.workers}: give a number of at least 1.")

    def __call__(
        self, photographs: Iterator[Photograph], asking: Asking, done: Callable[[Photograph, dict[str, Any]], None]
    ) -> None:
        """Label; `done` is called with each record, in any order."""
        ray = _ray()
        started = None
        while window := tuple(islice(photographs, _WINDOW)):
            if not ray.is_initialized():
                started = self._start()
            for number, record in self._records(window, asking):
                done(window[number], record)
        if started is not None:
            ray.shutdown()

    def _start(self) -> Any:
        ray = _ray()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent unless somebody asked for it
        local = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": max(self.workers + 1, os.cpu_count() or 1)}
        return ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR", **local)

    def _records(self, window: tuple[Photograph, ...], asking: Asking) -> Iterator[tuple[int, dict[str, Any]]]:
        ray = _ray()
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        rows = ray.data.from_items(
            [_row(number, photograph) for number, photograph in enumerate(window)],
            override_num_blocks=-(-len(window) // _BLOCK),
        )
        gpus = self.gpus if self.gpus is not None else float(self.device.startswith("cuda"))
        answered = rows.map_batches(
            RayLabeller,
            batch_size=_BLOCK,
            compute=ray.data.ActorPoolStrategy(size=min(self.workers, -(-len(window) // _BLOCK))),
            fn_constructor_kwargs={"asking": asking.to_json(), "device": self.device},
            num_cpus=1,
            num_gpus=gpus or None,
            max_restarts=-1,
            max_task_retries=-1,
        )
        for row in answered.iter_rows():
            yield int(row["number"]), json.loads(row["record"])


class RayLabeller:
    """
    A worker: a checkpoint that answers batches of rows.

    Args:
        asking: as of `Asking.to_json`.
        device: where to run.
    """

    def __init__(self, asking: str, device: str):
        self.labeller = Labeller(Asking(**json.loads(asking)), device)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Columns `number`, `name`, `content`, `expressions` → `number` and `record`, as JSON."""
        records = []
        for name, content, expressions in zip(batch["name"], batch["content"], batch["expressions"], strict=True):
            image = {"bytes": bytes(content), "path": str(name)} if len(content) else str(name)
            records.append(json.dumps(self.labeller.record_of_source(image, json.loads(expressions))))
        return {"number": list(batch["number"]), "record": records}


def _row(number: int, photograph: Photograph) -> dict[str, Any]:
    content = photograph.image.get("bytes") if isinstance(photograph.image, dict) else None
    name = photograph.name if isinstance(photograph.image, dict) else str(photograph.image)
    return {
        "number": number,
        "name": name,
        "content": content or b"",
        "expressions": json.dumps(photograph.expressions),
    }


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError("The engine ray needs Ray: pip install 'pbrec_hf[ray]'.") from error
    return ray


__all__ = ["OnRay", "RayLabeller"]
