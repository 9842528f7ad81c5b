"""A folder with what the pages name: photographs, rows, checkpoints, and the repository's own folders."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from checkpoints import save_tiny_checkpoint
from hub_server import Repo
from PIL import Image
from places import ROOT, SCENES

from pbrec_hf import PbrecProcessor
from pbrec_hf.selection.calibration import Calibration, ScoreMap

# The last stands in for the bundled one, which takes longer to answer and to train than a page should.
CHECKPOINTS = ("CHECKPOINT", "runs/mine/best", "pbrec_hf/checkpoints/pbrec-mt-small")
ON_THE_HUB = ("org/pbrec-mt", "me/mine")
PHOTOGRAPHS = ("photo", "a", "b", "one", "two", "photos/17", "photos/18")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_checkpoint(folder, masks=True)
    processor = PbrecProcessor.from_pretrained(folder)
    sure = ScoreMap([0.0, 1.0], [0.5, 0.9])  # of every answer, so that pages have some to show
    processor.calibration = Calibration(sure, sure, sure, threshold=0.4, fitted_on="nothing", answers=1)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def place(tmp_path, tiny, hub, monkeypatch) -> Path:
    """The current folder while a page's code runs."""
    (tmp_path / "pbrec_hf").mkdir()
    for name in ("hub_configs", "scripts", "pbrec_hf/assets"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "photos").mkdir()
    with Image.open(SCENES / "images" / "giraffes.jpg") as photograph:
        small = photograph.resize((256, 171))
    for name in PHOTOGRAPHS:
        small.save(tmp_path / f"{name}.jpg")
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "dark.jpg")
    for name in CHECKPOINTS:
        shutil.copytree(tiny, tmp_path / name)
    files = {path.relative_to(tiny).as_posix(): path.read_bytes() for path in tiny.rglob("*") if path.is_file()}
    cards = [f"org/{path.stem}" for path in (ROOT / "model_cards").glob("*.md")]
    for name in (*ON_THE_HUB, *cards):
        hub.repos["model", name] = Repo()
        hub.repos["model", name].commit("main", files)
    rows = [
        {"image": f"{name}.jpg", "expression": text, "bbox": [left := 10 + 8 * n, 12, left + 80, 100]}
        for name in ("a", "b")
        for n, text in enumerate(("left dog", "the red car", "the cat", "right dog"))
    ]
    for row in rows:
        x, y, right, bottom = row["bbox"]
        row["segmentation"] = [[x, y, right, y, right, bottom, x, bottom]]
    none = [{"image": f"{name}.jpg", "expression": "the girl", "no_target": True} for name in ("a", "b", "dark")]
    write_rows(tmp_path / "my.jsonl", rows)
    write_rows(tmp_path / "held_out.jsonl", rows + none)
    (tmp_path / "expressions.txt").write_text("the dog\nthe car\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
