"""How every benchmark measures: pinned threads, warm-up, medians of several, figures as ratios within one run.

Two things that are compared take turns, so that whatever else the machine does weighs on both.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

PACKAGES = (
    "torch", "torchvision", "transformers", "datasets", "accelerate", "onnxruntime", "openvino", "nncf", "pillow",
    "numpy",
)  # fmt: skip
Clock = Callable[[], float]


@dataclass
class Figure:
    """
    One row of a table.

    Attributes:
        name: what it is; for a ratio, with runtime and precision.
        value: the ratio (or seconds); None if it could not be measured.
        target: what it should be, such as "≤ 1.15".
        note: what else is worth knowing.
        least, most: of several rounds, whose median is the value.
        failed: why there is no value.
    """

    name: str
    value: float | None
    target: str = ""
    note: str = ""
    least: float | None = None
    most: float | None = None
    failed: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the target holds; None without one, or without a value."""
        if not self.target or self.value is None:
            return None
        sign, limit = self.target.split()
        return self.value <= float(limit) if sign == "≤" else self.value >= float(limit)


@dataclass
class Compared:
    """Seconds of two things that took turns, round by round."""

    first: list[float]
    second: list[float]

    def figure(self, name: str, target: str = "", note: str | None = None, factor: float = 1) -> Figure:
        """`factor` × the first's seconds ÷ the second's; the note says both medians unless another is given."""
        ratios = [factor * first / second for first, second in zip(self.first, self.second, strict=True)]
        if note is None:
            note = f"{statistics.median(self.first):.3g} s and {statistics.median(self.second):.3g} s"
        return Figure(name, statistics.median(ratios), target, note, min(ratios), max(ratios))


def compared(
    first: Callable[[], object],
    second: Callable[[], object],
    rounds: int = 5,
    warm_up: int = 1,
    clock: Clock = time.perf_counter,
) -> Compared:
    """Seconds of `first` and `second`, which take turns; `warm_up` calls of each do not count."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(warm_up + rounds):
        for run, spent in zip((first, second), times, strict=True):
            start = clock()
            run()
            if number >= warm_up:
                spent.append(clock() - start)
    return Compared(*times)


def measured(name: str, target: str, measure: Callable[[], Figure]) -> Figure:
    """What `measure` gives; a row that cannot be measured, as without a library that it needs, says why."""
    try:
        return measure()
    except Exception as error:
        text = str(error).strip() or "no message"
        return Figure(name, None, target, failed=f"{type(error).__name__}: {text.splitlines()[0][:200]}")


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


def heading() -> str:
    """The machine as text."""
    return ", ".join(f"{name} {value}" for name, value in machine().items())


def line(figure: Figure) -> str:
    """A figure as text, for lines below one another."""
    if figure.value is None:
        return f"{figure.name:<88} {'–':>8} {'':17} {figure.target:>7}  NOT MEASURED  {figure.failed}"
    mark = {True: "reached", False: "MISSED", None: ""}[figure.reached]
    spread = "" if figure.least is None else f"{figure.least:.3g} to {figure.most:.3g}"
    return f"{figure.name:<88} {figure.value:8.3f} {spread:17} {figure.target:>7}  {mark:<7}  {figure.note}".rstrip()


def as_json(figures: list[Figure]) -> str:
    """The figures as one JSON object with the machine."""
    rows = [{**asdict(figure), "reached": figure.reached} for figure in figures]
    return json.dumps({"machine": machine(), "figures": rows}, indent=1, ensure_ascii=False)


def report(figures: list[Figure], in_json: bool) -> None:
    """Print the figures as a table, or as JSON."""
    if in_json:
        print(as_json(figures))
        return
    print("\n".join([heading(), *map(line, figures)]))
