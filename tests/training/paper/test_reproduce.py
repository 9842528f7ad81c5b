"""The paper's figures by one command, from nothing, on a generated data set in two processes."""

import json
import os
import subprocess

import pytest
from places import ROOT

COMMAND = ROOT / "scripts" / "paper" / "reproduce.sh"
TABLES = ["table1", "table2", "table3", "table5"]
STEPS = ["generated", "detectors", "proposals", "training", "evaluation", *TABLES]


def reproduce(*arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(["bash", COMMAND, *arguments], capture_output=True, text=True, timeout=1800, env=environment)


def test_every_step_runs_in_two_processes_and_is_not_repeated(tmp_path):
    done = reproduce("--dry-run", "refcoco", "2", tmp_path / "run")
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "run"
    assert sorted(path.name for path in (run / "done").iterdir()) == sorted(STEPS)
    assert "pictures added by process 1" in done.stdout
    report = json.loads((run / "evaluation" / "scores.json").read_text())
    # Eight pictures of three things with two expressions each, in turn to four splits.
    assert {split: scores["count"] for split, scores in report["scores"].items()} == dict.fromkeys(
        ("val", "testA", "testB"), 12
    )
    trained = json.loads((run / "model" / "best" / "config.json").read_text())
    assert trained["tasks"] == ["grounding", "segmentation"] and trained["soft_targets"] == "paper"
    tables = {path.stem for path in (run / "tables").glob("table*.md")}
    assert tables == set(TABLES)
    again = reproduce("--dry-run", "refcoco", "2", run)
    assert again.returncode == 0
    left_out = [line.removesuffix(": done") for line in again.stderr.splitlines() if line.endswith(": done")]
    assert left_out == STEPS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["refcoco"], "DATASET GPUS"),
        (["flickr", "2"], "DATASET=flickr: give refcoco, refcoco+, refcocog or referit."),
        (["refcoco", "all"], "GPUS=all: give the number of processes"),
    ],
)
def test_a_mistyped_command_is_refused_before_anything_is_written(arguments, said, tmp_path):
    done = subprocess.run(["bash", COMMAND, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr
    assert not list(tmp_path.iterdir())
