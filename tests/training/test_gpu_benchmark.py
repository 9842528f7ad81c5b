"""The benchmark for GPUs, on a CPU with small networks: every kind of row, and what becomes of rows that fail."""

import json
import os
import subprocess
import sys

import pytest
from places import ROOT
from programs import run

COMMAND = ROOT / "scripts" / "benchmarks" / "gpu.sh"
SMALL = ["--cpu", "--tiny", "--repeats", "1"]
KINDS = [
    "inference, batch 1",  # eager, CUDA graph, compile
    "inference with masks, batch 1",
    "training, batch 2, expressions per picture 4",  # plain, cudnn.benchmark, compile
    "photograph file to box",
    "FSDP2 on one device",
]
MEASURED = {"took", "row", "ms", "expressions per second"}


def benchmark(*arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHON": sys.executable}
    return subprocess.run(
        ["bash", COMMAND, *SMALL, *arguments],
        capture_output=True,
        text=True,
        timeout=1800,
        env=environment,
    )


def test_every_kind_of_row_is_measured(tmp_path):
    done = benchmark("--out", tmp_path / "new", "--seconds", "1500", "--rows", *KINDS)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    report = json.loads((tmp_path / "new" / "gpu.json").read_text())
    product, *rows = report["rows"]
    assert product["TFLOP/s"] > 0
    assert len(rows) == 9
    for row in rows:
        assert row.keys() >= MEASURED, row
        assert row["row"] in done.stdout
        assert "FAILED" not in row.get("note", "")
        assert "share" in row or row["row"].startswith("photograph")
        assert "hours" in row or not row["row"].startswith(("training", "FSDP2"))
    assert report["machine"]["device"] == "CPU"


def measured(*arguments):
    """The command without its shell script."""
    code = "from scripts.benchmarks.gpu import main\nmain()"
    return run(code, *SMALL, *arguments, cwd=ROOT)


def test_rows_without_time_are_named():
    done = measured("--seconds", "0")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()[1:]
    assert len(lines) == 17
    assert all("NOT RUN: 0 s were left" in line for line in lines)


def test_a_row_that_fails_or_outruns_the_time_does_not_end_the_run(tmp_path):
    program = """
import sys, time
from pathlib import Path
from scripts.benchmarks.gpu import Budget, Row, run
from scripts.benchmarks.gpu_timing import Bench
def broken():
    raise RuntimeError("out of memory\\nand more")
rows = [Row("broken", broken, 0), Row("good", lambda: {"ms": 3.0}, 0), Row("slow", lambda: time.sleep(60), 0),
        Row("late", lambda: {}, 1)]
run(rows, Bench("cpu", True, 1), Budget(3), Path(sys.argv[1]))
"""
    done = run(program, tmp_path, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    _, broken, good, slow, late = done.stdout.splitlines()
    assert "FAILED: RuntimeError: out of memory" in broken and "and more" not in broken
    assert "3.00 ms" in good
    assert "FAILED: TimeoutError: stopped: the time is over" in slow
    assert "NOT RUN" in late
    kept = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert [row["row"] for row in kept] == ["broken", "good", "slow", "late"]


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        (measured, ["--rows", "inferences"], "no row begins with 'inferences'"),
        (benchmark, ["--wheels"], "--wheels: give a folder of wheels."),
    ],
)
def test_wrong_arguments_are_refused(command, arguments, said):
    done = command(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
