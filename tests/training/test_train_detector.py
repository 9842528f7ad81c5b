"""The scripts of detectors on a few photographs: training measures, saves and resumes exactly; box AP is counted."""

import json
import re
import runpy
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from places import ROOT
from safetensors.torch import load_file
from solo_golden import TINY_RESNET

from pbrec_hf.detectors.solo import SoloConfig, SoloDetector
from pbrec_hf.training.detection import evaluate
from pbrec_hf.training.detection.run import main

SCRIPT = ROOT / "scripts" / "train_detector.py"
EVALUATION = ROOT / "scripts" / "evaluate_detector.py"
SQUARE = [10, 10, 40, 10, 40, 40, 10, 40]


def photographs(folder):
    content = {
        "categories": [{"id": 1, "name": "person"}],
        "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 64} for i in range(5)],
        "annotations": [{"image_id": i, "category_id": 1, "segmentation": [SQUARE], "iscrowd": 0} for i in range(5)],
    }
    for number in range(5):
        Image.new("RGB", (64, 64), (number * 50, 100, 200)).save(folder / f"{number}.png")
    (folder / "instances.json").write_text(json.dumps(content))
    (folder / "dev.jsonl").write_text('{"image_id": 0}\n')


def start(folder):
    """A folder with a detector to start from; returns its weights."""
    small = {"neck_channels": 8, "channels": 8, "norm_groups": 4, "stacked_convs": 1, "proposal_level": 0}
    levels = {"level_maps": [0], "strides": [8], "num_grids": [4], "scale_ranges": [[0, 999]]}
    torch.manual_seed(0)
    SoloDetector(SoloConfig(backbone_config=TINY_RESNET, **small, **levels)).save_pretrained(folder / "start")
    return load_file(folder / "start" / "model.safetensors")


def train(monkeypatch, folder, out):
    arguments = {
        "--model": folder / "start",
        "--images": folder,
        "--annotations": folder / "instances.json",
        "--exclude": folder / "dev.jsonl",
        "--out": out,
    }
    numbers = {"--canvas": 64, "--epochs": 2, "--batch_size": 2, "--workers": 0, "--held_out": 0.25}
    words = [str(word) for pair in (arguments | numbers).items() for word in pair]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--cpu", "--freeze_trunk", *words])
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert done.value.code == 0
    return load_file(out / "last" / "model.safetensors")


def test_an_interrupted_run_ends_as_an_uninterrupted_one(monkeypatch, tmp_path):
    photographs(tmp_path)
    before = start(tmp_path)
    whole = train(monkeypatch, tmp_path, tmp_path / "run")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert len(log) == 2 and log[1]["objects"] == 1 and 0 <= log[1]["best"] <= 1 and "objects" not in log[0]
    changed = {name for name in before if not torch.equal(before[name], whole[name])}
    assert changed and not any(name.startswith("backbone.") for name in changed)

    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000002")
    again = train(monkeypatch, tmp_path, tmp_path / "run")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["--annotations", "absent.json"], r"no file absent\.json"),
        (["--held_out", "1.5"], "--held_out 1.5"),
        (["--model", "nowhere"], "no config.json"),
        (["--part_weights", "arm", "{start}"], "--part_weights arm .*has the parts"),
    ],
)
def test_bad_input_is_told_in_one_line(tmp_path, capsys, change, told):
    photographs(tmp_path)
    start(tmp_path)
    folder = str(tmp_path)
    given = ["--model", f"{folder}/start", "--images", folder, "--annotations", f"{folder}/instances.json"]
    change = [word.format(start=f"{folder}/start") for word in change]
    try:
        status = main([*given, "--out", f"{folder}/run", "--cpu", *change])
    except SystemExit as exit:  # argparse's own way
        status = exit.code
    lines = capsys.readouterr().err.strip().splitlines()
    assert status == 2 and re.search(told, lines[-1]) and "Traceback" not in "".join(lines)


def test_a_damaged_detector_is_named(tmp_path, capsys):
    photographs(tmp_path)
    start(tmp_path)
    (tmp_path / "start" / "config.json").write_text("[]")
    photographs_of = ["--images", str(tmp_path), "--annotations", str(tmp_path / "instances.json")]
    assert main(["--model", str(tmp_path / "start"), *photographs_of, "--out", str(tmp_path / "run"), "--cpu"]) == 2
    assert evaluate.main([str(tmp_path / "start"), *photographs_of]) == 2
    lines = capsys.readouterr().err.strip().splitlines()[-2:]
    assert all("start cannot be loaded: config.json is damaged (no object in braces)" in line for line in lines)


class Truthful:
    """Stands for a detector: the square of every photograph, whatever the canvas shows."""

    device = torch.device("cpu")

    def __init__(self):
        self.config = SimpleNamespace(id2label={0: "dog", 1: "person"})

    def to(self, device):
        return self

    def eval(self):
        return self

    def detect(self, pixel_values, min_score):
        boxes = torch.tensor([[10.0, 10, 40, 40]]) * pixel_values.shape[-1] / 64
        return [{"boxes": boxes, "scores": torch.ones(1), "labels": torch.ones(1).long()}] * len(pixel_values)


@pytest.mark.parametrize("arguments", [[], ["--no_antialias"], ["--limit", "2"]])
def test_box_ap_of_a_detector_that_finds_everything(tmp_path, monkeypatch, capsys, arguments):
    photographs(tmp_path)
    content = json.loads((tmp_path / "instances.json").read_text())
    content["images"][4]["partial_categories"] = True
    for number, annotation in enumerate(content["annotations"]):
        annotation |= {"id": number + 1, "bbox": [10, 10, 30, 30], "area": 900}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    monkeypatch.setattr(evaluate.AutoModel, "from_pretrained", lambda *args, **kwargs: Truthful())
    given = ["anything", "--annotations", str(tmp_path / "instances.json"), "--images", str(tmp_path), "--size", "128"]
    assert evaluate.main([*given, *arguments]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["images"], report["AP"], report["AR1"]) == (2 if arguments[:1] == ["--limit"] else 4, 1.0, 1.0)


def test_a_detector_of_other_classes_is_refused(tmp_path, monkeypatch, capsys):
    photographs(tmp_path)
    detector = Truthful()
    detector.config.id2label = {0: "cat"}
    monkeypatch.setattr(evaluate.AutoModel, "from_pretrained", lambda *args, **kwargs: detector)
    given = ["anything", "--annotations", str(tmp_path / "instances.json"), "--images", str(tmp_path)]
    assert evaluate.main(given) == 2
    assert "No class of the detector (cat, …) is a category" in capsys.readouterr().err


@pytest.mark.parametrize("script", [SCRIPT, EVALUATION])
def test_scripts_are_thin_and_explain_themselves(script, monkeypatch, capsys):
    assert len(script.read_text().splitlines()) <= 30
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(script), run_name="__main__")
    assert done.value.code == 0 and "--annotations" in capsys.readouterr().out
