"""Whatever a verb writes: a limit on files, a full disk and a folder that takes nothing are one line, and nothing half
written is left.
"""

import errno
import os
import sys
from contextlib import contextmanager

import pytest
from checkpoints import save_tiny_checkpoint
from places import ROOT, SCENES
from training_data import write_data

from pbrec_hf.app.cli import main

resource = pytest.importorskip("resource", reason="this system has no limit on the size of files")

LIMIT = 100  # bytes
SOURCES = ["--annotations", str(SCENES / "instances.json"), "--images", str(SCENES / "images")]
VERBS = {
    "ground": ["ground", "PICTURE", "dog", "--model", "CHECKPOINT", "--out", "OUT/answer.png"],
    "ground several": ["ground", "PICTURE", "PICTURE", "-e", "dog", "--model", "CHECKPOINT", "--out", "OUT/drawn"],
    "demo": ["demo", "--model", "CHECKPOINT", "--out", "OUT/demo.png"],
    "failures": ["failures", "CHECKPOINT", "--data", "ROWS", "--out", "OUT/failures.png"],
    "evaluate": ["evaluate", "CHECKPOINT", "--cpu", "--data", "ROWS", "--num_workers", "0", "--output_dir", "OUT/e"],
    "precompute": ["precompute", "CHECKPOINT", "--cpu", "--data", "ROWS", "--num_workers", "0", "--out", "OUT/p"],
    "train": [
        *("train", "--cpu", "--init", "CHECKPOINT", "--data", "ROWS", "--validation_split", "", "--epochs", "1"),
        *("--batch_size", "8", "--num_workers", "0", "--trackers", "none", "--output_dir", "OUT/run"),
    ],
    "space": ["space", "me/mine", "OUT/space"],
    "push": ["push", "CHECKPOINT", "me/mine", "--card", "CARD", "--with_code", "--folder", "OUT/mine"],
    "parquet": ["data", "parquet", "ROWS", "--to", "OUT/parquet"],
    "preview": ["data", "preview", *SOURCES, "--count", "1", "--out", "OUT/preview.png"],
    "scenes": ["scenes", *SOURCES, "--out", "OUT/scenes", "--train", "1", "--held_out", "1"],
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    save_tiny_checkpoint(folder / "checkpoint", masks=True)
    rows = write_data(folder, pictures=3, expressions=2, masks=True)
    card = folder / "card.yaml"
    text = (ROOT / "model_cards" / "cards.yaml").read_text(encoding="utf-8")
    card.write_text(text.replace("pbrec-mt-small:", "mine:", 1), encoding="utf-8")
    places = {"CHECKPOINT": folder / "checkpoint", "ROWS": rows, "PICTURE": rows.parent / "0.png", "CARD": card}
    return {name: str(path) for name, path in places.items()}


@contextmanager
def small_files():
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def arguments_of(verb, files, out):
    places = {**files, "OUT": str(out)}
    words = []
    for word in VERBS[verb]:
        first, slash, rest = word.partition("/")
        words.append(places.get(first, first) + slash + rest)
    return words


def left_in(out):
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize("verb", VERBS)
def test_a_limit_on_files_is_told_in_one_line(verb, files, tmp_path, capsys):
    with small_files():
        status = main(arguments_of(verb, files, tmp_path))
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert status == 2 and len(errors) == 1, errors
    assert errors[0].startswith(f"pbrec-hf: error: Cannot write to {tmp_path}")
    assert "a file would be larger than the limit on files. Raise it (`ulimit -f`)" in errors[0]
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("verb", ["ground", "evaluate", "space", "parquet", "scenes"])
@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "the disk is full ("),
        (errno.EROFS, "Read-only file system"),
        (errno.EACCES, "Permission denied"),
    ],
)
def test_a_disk_that_takes_nothing_is_told_in_one_line(verb, number, told, files, tmp_path, capsys, monkeypatch):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pbrec_hf.hub.writing.os.replace", refuse)
    assert main(arguments_of(verb, files, tmp_path)) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert error.startswith(f"pbrec-hf: error: Cannot write to {tmp_path}") and told in error
    assert left_in(tmp_path) == set()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
def test_answers_that_cannot_be_printed_are_told(files, monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        status = main(["ground", files["PICTURE"], "dog", "--model", files["CHECKPOINT"], "--json"])
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space left"):
            full.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
    assert status == 2
    assert capsys.readouterr().err.splitlines()[-1] == "pbrec-hf: error: [Errno 28] No space left on device"
