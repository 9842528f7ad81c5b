"""The rows, code and commands of docs/data.md do what it says."""

import json
import re
import shlex

import datasets
import pytest
from PIL import Image
from places import ROOT
from refer_folders import write_refer_folder

from pbrec_hf.app.cli import parse
from pbrec_hf.data.own_data import load_own_data
from pbrec_hf.data.referents import referents_of
from pbrec_hf.data.schema import GENERALIZED_COLUMNS, features

datasets.disable_progress_bars()
TEXT = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg")
    return tmp_path


def test_the_rows_of_tables_are_read(place):
    (place / "rows.jsonl").write_text(blocks("json")[0])
    rows = load_own_data(place / "rows.jsonl").remove_columns("image")
    assert [len(referents_of(row)) for row in rows] == [1, 2, 0]


def test_the_rows_that_name_objects_are_read(place):
    annotations = [{"id": number, "image_id": 1, "bbox": [number, 5, 20, 20]} for number in (5, 6)]
    content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": annotations}
    (place / "instances.json").write_text(json.dumps(content))
    (place / "rows.jsonl").write_text(blocks("json")[1])
    rows = load_own_data(place / "rows.jsonl", instances=place / "instances.json").remove_columns("image")
    assert [len(referents_of(row)) for row in rows] == [2, 1, 0]


def test_the_columns_are_those_of_the_schema():
    named = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", TEXT, flags=re.MULTILINE)))
    assert set(named) == {"bbox", "segmentation", *GENERALIZED_COLUMNS} <= features(generalized=True).keys()


def test_the_code_runs(place, monkeypatch):
    write_refer_folder(place / "data", "grefcoco/unc")
    (place / "data" / "images").rename(place / "train2014")
    (place / "data" / "images").mkdir()
    (place / "train2014").rename(place / "data" / "images" / "train2014")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(place / "cache"))
    names: dict = {}
    for code in blocks("python"):
        exec(compile(code, "docs/data.md", "exec"), names)
    assert set(names["meant"]) == {0, 1, 2}
    assert names["config"].target_styles == {"grounding": "hard", "segmentation": "paper"}


def test_the_commands_are_understood():
    commands = [line for text in blocks("bash") for line in text.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`(pbrec-hf .*?)`", TEXT)
    assert len(commands) == 2 and len(inline) == 1
    for command in commands:
        parse(shlex.split(command)[1:])
    given = "--out scenes --annotations instances.json --images photographs"
    options = parse(shlex.split(f"{inline[0]} {given}")[1:])
    assert (options.plurals, options.absent) == (3, 2)
