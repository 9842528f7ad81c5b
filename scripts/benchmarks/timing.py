"""How every benchmark measures: pinned threads, warm-up, median of several, figures as ratios within one run."""

import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

PACKAGES = ("torch", "torchvision", "transformers", "datasets", "accelerate", "pillow", "numpy")


@dataclass
class Figure:
    """One row of a table: what it is, the ratio (or seconds), and what it should be, such as "≤ 1.15"."""

    name: str
    value: float
    target: str = ""
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the target holds; None without one."""
        if not self.target:
            return None
        sign, limit = self.target.split()
        return self.value <= float(limit) if sign == "≤" else self.value >= float(limit)


def median_seconds(run: Callable[[], object], repeats: int = 5, warm_up: int = 1) -> float:
    """Median wall time of `run` over `repeats` calls, after `warm_up` calls that do not count."""
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def machine() -> dict[str, str]:
    """Processor, threads and versions: without them no figure means anything."""
    return {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def report(figures: list[Figure], as_json: bool) -> None:
    """Print the figures as a table, or as one JSON object with the machine."""
    if as_json:
        rows = [{**asdict(figure), "reached": figure.reached} for figure in figures]
        print(json.dumps({"machine": machine(), "figures": rows}, indent=1))
        return
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        mark = {True: "reached", False: "MISSED", None: ""}[figure.reached]
        print(f"{figure.name:<{width}}  {figure.value:8.3f}  {figure.target:>7}  {mark:<7}  {figure.note}")
