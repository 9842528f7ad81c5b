"""The verbs of `pbrec-hf`: one module each, loaded only when asked for, and the scripts that stand for them."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT, SCENES
from training_data import write_data

import pbrec_hf
from pbrec_hf.app.cli import VERBS, command, main, parse
from pbrec_hf.app.options import photographs_of
from pbrec_hf.data.own_data import load_own_data

COMMANDS = Path(pbrec_hf.__file__).parent / "app" / "commands"
# Scripts that only start what the package has; others are programs of their own.
SCRIPTS = sorted(
    path for path in (ROOT / "scripts").rglob("*.py") if "import run_" in path.read_text(encoding="utf-8")
)


def python(*arguments, cwd=None):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(write_data(tmp_path_factory.mktemp("data"), pictures=3, expressions=2, masks=True))


def test_every_module_is_a_verb():
    assert {path.stem for path in COMMANDS.glob("*.py")} - {"__init__"} == set(VERBS)
    for verb in VERBS:
        assert command(verb).HELP and "\n" not in command(verb).HELP


def test_help_lists_every_verb_and_loads_no_library():
    code = (
        "import sys\n"
        "from pbrec_hf.app.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers.models', 'datasets', 'accelerate', 'evaluate', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = python("-c", code)
    assert all(f"\n    {verb}" in done.stdout for verb in VERBS), done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_package_runs_as_a_module():
    done = python("-m", "pbrec_hf", "--version")
    assert done.stdout == f"pbrec-hf {pbrec_hf.__version__}\n"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_thin(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 30 and "sys.path" not in text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert not (ROOT / "scripts" / f"{node.module}.py").exists(), ast.unparse(node)


def test_a_script_hides_no_library(data, checkpoint, tmp_path):
    """scripts/evaluate.py lies beside the script that runs, and the library `evaluate` is needed."""
    out = tmp_path / "out"
    done = python(ROOT / "scripts/evaluate.py", checkpoint, "--cpu", "--data", data, "--output_dir", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "| accuracy@0.5 |" in done.stdout and "Traceback" not in done.stderr
    scores = json.loads((out / "scores.json").read_text())
    assert scores["scores"]["data"]["count"] == 6 and scores["config"]["checkpoint"] == checkpoint
    assert main(["evaluate", "--rescore", str(out / "predictions-data.jsonl"), "--data", data]) == 0


def test_the_same_predictions_get_the_same_scores(data, checkpoint, tmp_path, capsys):
    out = str(tmp_path / "out")
    arguments = ["--cpu", "--data", data, "--output_dir", out, "--num_workers", "0"]
    assert main(["evaluate", checkpoint, *arguments]) == 0
    first = capsys.readouterr().out
    assert main(["evaluate", "--rescore", f"{out}/predictions-data.jsonl", "--data", data]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["evaluate", "--data", "a"], "Give a checkpoint, or --rescore"),
        (["evaluate", "a", "--data", "a", "--dataset", "b"], "Give --data"),
        (["evaluate", "a", "--data", "a", "--threshold", "2"], "--threshold 2: give a number from 0 to 1, or auto."),
        (
            ["evaluate", "a", "--data", "a", "--threshold", "high"],
            "--threshold high: give a number from 0 to 1, or auto.",
        ),
        (["calibrate", "a"], "Give --data"),
        (["calibrate", "a", "--data", "a", "--batch_size", "0"], "--batch_size 0: give a number of at least 1."),
        (["evaluate", "a", "--data", "a", "--batch_size", "0"], "--batch_size 0: give a number of at least 1."),
        (["precompute", "a", "--out", "b"], "Give --data"),
        (["failures", "a", "--data", "a", "--out", "a.jpg"], "--data a: there is no such file or folder"),
        (["failures", "a", "--data", "a", "--out", "a.txt"], "name a .png or .jpg file"),
        (["train", "--config", "pbrec-mt-refcoc"], "one of pbrec-mt-refcoco, "),
        (["train", "--init", "a"], "Give `data`"),
    ],
)
def test_mistaken_options_are_one_line(arguments, told, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("pbrec-hf: error: ") and told in error and "\n" not in error


def test_proposals_are_computed_once_and_used(data, checkpoint, tmp_path, capsys):
    folder = str(tmp_path / "proposals")
    arguments = ["precompute", checkpoint, "--cpu", "--data", data, "--num_workers", "0", "--out", folder]
    assert main([*arguments, "--kinds", "boxes"]) == 0 and main([*arguments, "--kinds", "boxes"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "data: 3 pictures added by process 0",
        "data: 0 pictures added by process 0",
    ]
    assert main([*arguments, "--kinds", "points"]) == 2
    assert "choose from boxes, masks" in capsys.readouterr().err
    out = str(tmp_path / "out")
    evaluation = ["evaluate", checkpoint, "--cpu", "--data", data, "--num_workers", "0", "--output_dir", out]
    assert main([*evaluation, "--proposals", folder]) == 0


def test_rows_are_packed_with_their_pictures(data, tmp_path, capsys):
    moved = tmp_path / "elsewhere" / "packed.parquet"
    assert main(["data", "parquet", data, "--to", str(tmp_path / "out")]) == 0
    packed = Path(capsys.readouterr().out.strip())
    assert packed == tmp_path / "out" / f"{Path(data).stem}.parquet"
    moved.parent.mkdir()
    packed.rename(moved)
    rows = load_own_data(moved, view="image")
    assert rows.num_rows == 3 and rows[0]["image"].size == load_own_data(data, view="image")[0]["image"].size
    assert main(["data", "parquet", data, data, "--to", str(tmp_path / "out")]) == 2
    assert "rename one" in capsys.readouterr().err


def test_failures_are_counted_and_drawn(data, checkpoint, tmp_path, capsys):
    out = tmp_path / "failures.jpg"
    assert main(["failures", checkpoint, "--data", data, "--out", str(out)]) == 0
    wrong, _, count = capsys.readouterr().out.split()[:3]
    assert int(wrong) <= int(count) == 6 and out.exists() == (wrong != "0")


def test_cards_are_rendered_where_their_data_lie(tmp_path, capsys):
    (tmp_path / "cards.yaml").write_text((ROOT / "model_cards" / "cards.yaml").read_text(encoding="utf-8"))
    assert main(["cards", str(tmp_path)]) == 0
    for name in capsys.readouterr().out.split():
        assert Path(name).read_text() == (ROOT / "model_cards" / Path(name).name).read_text()


def test_scenes_and_overfit_take_the_photographs_of_the_package(tmp_path, capsys):
    annotations, images = SCENES / "instances.json", SCENES / "images"
    sources = ["--annotations", str(annotations), "--images", str(tmp_path)]
    assert photographs_of(parse(["overfit"])) == (annotations, images)
    assert photographs_of(parse(["overfit", *sources])) == (annotations, tmp_path)
    for lacking, given in (("images", sources[:2]), ("annotations", sources[2:])):
        assert main(["scenes", "--out", str(tmp_path), *given]) == 2
        assert f"{' '.join(given)}: give --{lacking}, too, or neither" in capsys.readouterr().err
    out = tmp_path / "scenes"
    assert main(["scenes", "--out", str(out), "--train", "2", "--held_out", "1"]) == 0
    assert {"train.jsonl", "held_out.jsonl"} < {path.name for path in out.iterdir()}


def test_output_that_cannot_be_written_is_not_bad_input(data, checkpoint, tmp_path):
    """Words that the terminal's encoding lacks are escaped; a reader that leaves ends the program quietly."""
    picture = str(Path(data).parent / "0.png")
    command = [sys.executable, "-m", "pbrec_hf", "ground", picture, "左边的狗 dog", "--model", checkpoint]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0 and done.stdout.startswith(b"\\u5de6") and b"score 0." in done.stdout, done.stderr
    known = [*command[:5], "left dog", *command[6:]]  # of words that are not, standard error would tell
    with subprocess.Popen(known, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        told = process.stderr.read()
    assert process.returncode == 141
    assert b"pbrec-hf" not in told and b"Traceback" not in told and b"Exception ignored" not in told, told


def test_a_fault_of_the_program_is_no_negative_answer(monkeypatch, capsys):
    def fail(_):
        raise KeyError("a fault")

    monkeypatch.setattr("pbrec_hf.app.commands.cards.run", fail)
    assert main(["cards"]) == 3
    assert "Traceback" in capsys.readouterr().err
