"""The benchmark's arithmetic: ratios of turns, targets, rows without a library, an older commit, slopes of growth."""

import json
import subprocess
import sys

import pytest
from places import ROOT, SCENES

from scripts.benchmarks import growth, precisions, timing
from scripts.benchmarks.before import Before
from scripts.benchmarks.timing import Compared, Figure


def test_two_things_take_turns_and_only_counted_rounds_count():
    calls, now = [], iter(range(100))
    times = timing.compared(lambda: calls.append("a"), lambda: calls.append("b"), 3, 2, lambda: float(next(now)))
    assert calls == ["a", "b"] * 5
    assert times == Compared([1.0] * 3, [1.0] * 3)


def test_a_ratio_is_the_median_of_its_turns_with_least_and_most():
    figure = Compared([2.0, 9.0, 3.0], [1.0, 3.0, 3.0]).figure("ours", "≥ 3.5", factor=2)
    assert (figure.value, figure.least, figure.most) == (4.0, 2.0, 6.0)
    assert figure.note == "3 s and 3 s"
    assert "4.000 2 to 6" in timing.line(figure) and "reached" in timing.line(figure)


@pytest.mark.parametrize(
    ("value", "target", "reached"),
    [(1.0, "≤ 1", True), (1.01, "≤ 1", False), (3.4, "≥ 3.5", False), (3.5, "≥ 3.5", True), (9.0, "", None)],
)
def test_a_target_is_reached_or_missed(value, target, reached):
    figure = Figure("row", value, target)
    assert figure.reached is reached
    assert ("MISSED" in timing.line(figure)) == (reached is False)


def test_a_row_without_its_library_says_so():
    def broken() -> Figure:
        raise ImportError("openvino is not installed: pip install openvino\nand more")

    figure = timing.measured("ours (OpenVINO)", "≥ 15", broken)
    assert figure.reached is None
    assert "NOT MEASURED  ImportError: openvino is not installed" in timing.line(figure)
    assert "and more" not in timing.line(figure)
    (row,) = json.loads(timing.as_json([figure]))["figures"]
    assert row["value"] is None and row["target"] == "≥ 15" and row["failed"]


def test_a_history_without_the_commit_is_told_of():
    with pytest.raises(LookupError, match="no commit 0000000 here"):
        Before(1, "0000000")


def test_the_machine_names_the_runtimes():
    assert {"machine", "python", "torch", "onnxruntime", "openvino", "transformers"} <= timing.machine().keys()


def test_slopes_are_exponents_of_the_upper_half():
    rows = [{"value": n, "seconds": max(1.0, n * n / 100), "megabytes": 3.0} for n in (1, 2, 4, 16, 64, 256)]
    assert growth.slope(rows, "seconds") == pytest.approx(2.0)
    assert growth.slope(rows, "megabytes") == pytest.approx(0.0)


def test_tables_are_named():
    command = [sys.executable, ROOT / "scripts" / "benchmark.py", "fast"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "train-step" in done.stderr


def test_precisions_are_compared_on_the_same_questions(tmp_path, capsys):
    rows = [
        {"file_name": "dog.jpg", "expression": "the dog", "bbox": [25, 15, 440, 365]},
        {"file_name": "dog.jpg", "expression": "the brown dog", "bbox": [0, 0, 20, 20]},
        {"file_name": "dog.jpg", "expression": "the cat", "bbox": None},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    images = SCENES / "images"
    arguments = {"rows": tmp_path / "rows.jsonl", "images": images, "only": "torch:bf16", "rounds": 1}
    arguments["json"] = tmp_path / "out.json"
    precisions.main([word for name, value in arguments.items() for word in (f"--{name}", str(value))])
    plain, half = json.loads((tmp_path / "out.json").read_text())
    assert plain["way"] == "torch:fp32" and plain["expressions"] == 2 and plain["as torch"] == 1
    assert plain["right"] == half["right"] == 0.5  # the second box is of nothing
    assert "| torch, bf16 | 2 | 0.500" in capsys.readouterr().out
