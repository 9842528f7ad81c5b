"""The training script on two photographs: it measures, saves, and goes on exactly where it was interrupted."""

import json
import runpy
import shutil
import sys

import torch
from PIL import Image
from places import ROOT
from safetensors.torch import load_file
from solo_golden import TINY_RESNET

from pbrec_hf.detectors.solo import SoloConfig, SoloDetector

SCRIPT = ROOT / "scripts" / "train_detector.py"
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
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return load_file(out / "last" / "model.safetensors")


def test_an_interrupted_run_ends_as_an_uninterrupted_one(monkeypatch, tmp_path):
    photographs(tmp_path)
    small = {"neck_channels": 8, "channels": 8, "norm_groups": 4, "stacked_convs": 1, "proposal_level": 0}
    levels = {"level_maps": [0], "strides": [8], "num_grids": [4], "scale_ranges": [[0, 999]]}
    torch.manual_seed(0)
    SoloDetector(SoloConfig(backbone_config=TINY_RESNET, **small, **levels)).save_pretrained(tmp_path / "start")
    before = load_file(tmp_path / "start" / "model.safetensors")
    whole = train(monkeypatch, tmp_path, tmp_path / "run")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert len(log) == 2 and log[1]["objects"] == 1 and 0 <= log[1]["best"] <= 1 and "objects" not in log[0]
    changed = {name for name in before if not torch.equal(before[name], whole[name])}
    assert changed and not any(name.startswith("backbone.") for name in changed)

    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000002")
    again = train(monkeypatch, tmp_path, tmp_path / "run")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
