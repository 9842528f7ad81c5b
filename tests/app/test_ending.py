"""How programs end: interrupted ones say how to go on, mistyped paths are told before anything slow is imported."""

import runpy
import subprocess
import sys

import pytest
from places import ROOT

from pbrec_hf.app import ending
from pbrec_hf.app.cli import main


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.fixture
def files(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"image": "a.png", "expression": "dog", "bbox": [0, 0, 9, 9]}\n')
    return str(tmp_path / "rows.jsonl"), str(tmp_path)


@pytest.mark.parametrize(
    ("work", "arguments", "purpose"),
    [
        (
            "training.run.train",
            ["train", "--init", "a", "--data", "ROWS", "--output_dir", "a b"],
            "to resume from the last checkpoint",
        ),
        ("training.run.train", ["train", "--init", "a", "--data", "ROWS", "--no_resume"], "to start over"),
        ("training.reports.evaluate_checkpoint", ["evaluate", "a", "--data", "ROWS"], "to start over"),
        ("hub.opening.opening", ["precompute", "a", "--cpu", "--data", "ROWS", "--out", "o"], "to go on where"),
        (
            "training.overfit.overfit",
            ["overfit", "--annotations", "ROWS", "--images", "FOLDER"],
            "to resume from the last checkpoint",
        ),
        ("data.refer.download.download_refcoco", ["data", "refcoco", "--to", "FOLDER"], "to go on where it stopped"),
    ],
)
def test_an_interruption_says_how_to_go_on(monkeypatch, capsys, files, work, arguments, purpose):
    rows, folder = files
    arguments = [{"ROWS": rows, "FOLDER": folder}.get(word, word) for word in arguments]
    monkeypatch.setattr(f"pbrec_hf.{work}", interrupt)
    assert main(arguments) == 130
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith(f"pbrec-hf: interrupted: run the same command again {purpose}")
    assert line.endswith(": pbrec-hf " + " ".join(word.replace("a b", "'a b'") for word in arguments))


def test_what_does_not_resume_is_only_told(monkeypatch, capsys):
    monkeypatch.setattr("pbrec_hf.hub.cards.render_cards", interrupt)
    assert main(["cards"]) == 130
    assert capsys.readouterr().err == "pbrec-hf: interrupted\n"


def test_of_several_processes_one_speaks_and_no_launcher_is_forgotten(monkeypatch, capsys, files):
    monkeypatch.setattr("pbrec_hf.training.run.train", interrupt)
    monkeypatch.setenv("WORLD_SIZE", "2")
    arguments = ["train", "--init", "a", "--data", files[0]]
    for rank, told in (
        ("0", "pbrec-hf: interrupted: run the same command again to resume from the last checkpoint\n"),
        ("1", ""),
    ):
        monkeypatch.setenv("RANK", rank)
        assert main(arguments) == 130
        assert capsys.readouterr().err.endswith(told) and (told or "again" not in capsys.readouterr().err)


@pytest.mark.parametrize(
    ("script", "module", "purpose"),
    [
        ("train_detector.py", "training.detection.run", "to resume from the last epoch"),
        ("evaluate_detector.py", "training.detection.evaluate", None),
        ("small/train.py", "training.small.train", "to go on where it stopped"),
        ("small/pool.py", "training.small.pool", "to go on where it stopped"),
        ("small/export.py", "training.small.export", None),
        ("train.py", "app.commands.train", "to resume from the last checkpoint"),
    ],
)
def test_scripts_end_as_the_verbs_do(monkeypatch, capsys, files, script, module, purpose):
    path = str(ROOT / "scripts" / script)
    arguments = ["--init", "a", "--data", files[0]] if script == "train.py" else ["--some", "thing"]
    monkeypatch.setattr(sys, "argv", [path, *arguments])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(f"pbrec_hf.{module}.{'run' if script == 'train.py' else 'main'}", interrupt)
    with pytest.raises(SystemExit) as left:
        runpy.run_path(path, run_name="__main__")
    assert left.value.code == 130
    name = "pbrec-hf" if script == "train.py" else path.rpartition("/")[2]
    way_on = f": run the same command again {purpose}: python {path} {' '.join(arguments)}" if purpose else ""
    assert capsys.readouterr().err == f"{name}: interrupted{way_on}\n"


def test_a_script_s_bad_input_is_one_line_and_its_fault_a_traceback(monkeypatch, capsys):
    def end_with(error):
        def fail():
            raise error

        return ending.ended("x.py", fail, lambda: None)

    assert end_with(OSError("no\nfile")) == 2
    assert capsys.readouterr().err == "x.py: error: no file\n"
    assert end_with(KeyError("fault")) == 3
    assert "Traceback" in capsys.readouterr().err


HEAVY = "sorted({'torch', 'pyarrow', 'datasets', 'accelerate'} & set(sys.modules))"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ground", "nosuch.jpg", "dog"], "No picture at nosuch.jpg: check the path."),
        (["train", "--config", "nosuch.yaml"], "There is no configuration 'nosuch.yaml': give a path, or one of"),
        (["train", "--init", "a", "--data", "nosuch.jsonl"], "--data nosuch.jsonl: there is no such file or folder"),
        (["evaluate", "a", "--data", "nosuch.jsonl"], "--data nosuch.jsonl: there is no such file"),
        (["precompute", "a", "--data", "nosuch.jsonl", "--out", "o"], "--data nosuch.jsonl: there is no such file"),
        (["failures", "a", "--data", "nosuch.csv", "--out", "o.png"], "--data nosuch.csv: there is no such file"),
        (["scenes", "--out", "o", "--annotations", "no.json", "--images", "i"], "--annotations no.json: there is no"),
        (["overfit", "--annotations", "no.json", "--images", "i"], "--annotations no.json: there is no such file"),
        (["data", "parquet", "no.csv", "--to", "o"], "There is no table no.csv: correct the path."),
        (["convert", "fcos", "no.pth", "out"], "There is no file no.pth: correct the path."),
        (["demo", "--model", "no/such/folder"], "There is no folder no/such/folder: correct the path"),
        (["evaluate", "./no", "--data", "."], "There is no folder ./no: correct the path, or give a Hub id"),
        (["export", "out", "--model", "../no"], "There is no folder ../no: correct the path"),
        (["train", "--init", "/no/such", "--data", "."], "There is no folder /no/such: correct the path"),
        (["push", "a", "me/mine", "--card", "no.yaml"], "There is no file no.yaml: correct the path of the card."),
    ],
)
def test_a_mistyped_path_is_told_before_anything_slow_is_imported(arguments, told, tmp_path):

    code = f"import sys\nfrom pbrec_hf.app.cli import main\nprint(main({arguments!r}), {HEAVY})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout == "2 []\n", done.stderr
    assert done.stderr.startswith(f"pbrec-hf: error: {told}") and done.stderr.count("\n") == 1
