"""Speed of the full-size model on a GPU, row by row: inference, training, FSDP2. Random weights, no network, no data.

    python -m scripts.benchmarks.gpu [--out FOLDER] [--seconds 450] [--rows NAME …]
    python -m scripts.benchmarks.gpu --cpu --tiny      # the same code on a CPU with small networks

Each row is printed and written to FOLDER/gpu.json as soon as it is measured. A row that fails says why, and the next
one follows. A row that the remaining seconds do not allow is named as not run; one that outruns them is stopped. The
important rows come first. `gpu.sh` also brings packages along.

"share" is the part of the bf16 matrix product's speed that the row before reached: arithmetic that was counted once,
over time. "hours" are of 15 epochs of RefCOCO at this speed, if the loader keeps up and all groups of expressions are
full.
"""

import argparse
import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .gpu_inference import Networks, end_to_end, forward_pass
from .gpu_timing import Bench, matmul_peak
from .gpu_training import sharded, training
from .timing import machine
from .train_step import Choices

Measured = dict[str, Any]


@dataclass
class Row:
    """
    A row of the table.

    Attributes:
        name: what it is.
        measure: gives its figures.
        seconds: what it takes, roughly; it does not start with less time left.
    """

    name: str
    measure: Callable[[], Measured]
    seconds: float = 10


class Budget:
    """The seconds that all rows have together; `stopping` ends a row that outruns them."""

    def __init__(self, seconds: float):
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    def __enter__(self) -> None:
        def stop(*_: object) -> None:
            raise TimeoutError("stopped: the time is over")

        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, max(self.left, 0.01))

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)


def rows_of(bench: Bench, budget: Budget) -> list[Row]:
    """All rows, the most important ones first."""
    networks: dict[str, Networks] = {}

    def answer(batch: int, how: str, masks: bool = False) -> Row:
        def measure() -> Measured:
            kind = "boxes and masks" if masks else "boxes"
            if kind not in networks:
                networks[kind] = Networks(bench, masks)
            return forward_pass(networks[kind], batch, how)

        what = "inference with masks" if masks else "inference"
        return Row(f"{what}, batch {batch}, {how}", measure, 100 if how == "compile" else 15)

    def train(batch: int, expressions: int, *, compiled: bool = False, autotuned: bool = False) -> Row:
        choices = Choices(True, fused=True, expressions=expressions, compiled=compiled)
        how = ", compile" * compiled + ", cudnn.benchmark" * autotuned
        name = f"training, batch {batch}, expressions per picture {expressions}{how}"
        return Row(name, partial(training, bench, batch, choices, autotuned), 120 if compiled else 20)

    full = bench.batch
    return [
        Row("bf16 matrix product", partial(matmul_peak, bench)),
        answer(1, "CUDA graph"),
        answer(full, "CUDA graph"),
        train(full, 1),
        train(full, 4),
        answer(1, "eager"),
        answer(full, "eager"),
        Row("photograph file to box, batch 1", partial(end_to_end, bench)),
        Row("FSDP2 on one device through Accelerate", lambda: sharded(bench, budget.left), 30),
        train(full, 4, autotuned=True),
        answer(1, "CUDA graph", masks=True),
        answer(full, "CUDA graph", masks=True),
        train(full, 1, autotuned=True),
        train(full, 4, compiled=True),
        answer(1, "compile"),
        answer(full, "compile"),
        train(full, 1, compiled=True),
    ]


def run(rows: list[Row], bench: Bench, budget: Budget, out: Path | None) -> list[Measured]:
    """Measure the rows, one after the other; each is printed and written at once."""
    table: list[Measured] = []
    facts = {**machine(), "device": bench.name}
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    for row in rows:
        entry: Measured = {"row": row.name}
        start = time.monotonic()
        if budget.left < row.seconds:
            entry["not run"] = f"{max(budget.left, 0):.0f} s were left, it takes about {row.seconds:.0f}"
        else:
            try:
                with budget:
                    entry |= row.measure()
            except Exception as error:
                text = str(error).strip() or "no message"
                entry["failed"] = f"{type(error).__name__}: {text.splitlines()[0][:300]}"
                entry["failed at length"] = text[-2000:]
            entry["took"] = round(time.monotonic() - start, 1)
        bench.free()
        table.append(entry)
        print(line(entry), flush=True)
        if out is not None:
            (out / "gpu.json").write_text(json.dumps({"machine": facts, "rows": table}, indent=1))
    return table


_FORMS = {
    "TFLOP/s": "{:.0f} TFLOP/s",
    "ms": "{:.2f} ms",
    "expressions per second": "{:.0f} expressions/s",
    "share": "{:.0%} of the matrix product",
    "memory": "{:.1f} GiB",
    "hours": "{:.2f} h for 15 epochs of RefCOCO",
    "note": "{}",
    "not run": "NOT RUN: {}",
    "failed": "FAILED: {}",
    "took": "[{:.0f} s]",
}


def line(entry: Measured) -> str:
    """A row as text."""
    figures = [form.format(entry[name]) for name, form in _FORMS.items() if entry.get(name) is not None]
    return f"{entry['row']:<68} " + "  ".join(figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for gpu.json")
    parser.add_argument("--seconds", type=float, default=450, help="for all rows (default: %(default)s)")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="only rows whose names begin so, and the product")
    parser.add_argument("--repeats", type=int, default=10, help="timed calls per figure (default: %(default)s)")
    parser.add_argument("--cpu", action="store_true", help="run on the CPU: a test of this program, not of speed")
    parser.add_argument("--tiny", action="store_true", help="small networks, canvases and batches")
    options = parser.parse_args()
    budget = Budget(options.seconds)
    if not options.cpu and not torch.cuda.is_available():
        parser.error("there is no GPU that torch can use: give --cpu --tiny to test this program on a CPU")
    bench = Bench("cpu" if options.cpu else "cuda", options.tiny, options.repeats)
    rows = rows_of(bench, budget)
    if options.rows:
        names = tuple(options.rows)
        rows = [row for number, row in enumerate(rows) if number == 0 or row.name.startswith(names)]
        if len(rows) < 2:
            parser.error(f"no row begins with {' or '.join(map(repr, names))}")
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    table = run(rows, bench, budget, options.out)
    raise SystemExit(any("failed" in entry for entry in table))


if __name__ == "__main__":
    main()
