"""Recall of detectors: against plain loops, by number and quality of proposals, and from a shell."""

import json

import pytest
import torch
from checkpoints import tiny_box_detector, tiny_mask_detector
from torchvision.ops import box_iou
from training_data import write_data

from pbrec_hf import PbrecImageProcessor
from pbrec_hf.app.cli import main
from pbrec_hf.geometry.letterbox import Letterbox
from pbrec_hf.training.build import load_rows
from pbrec_hf.training.recall import Recall, detector_recall, table


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), pictures=5, expressions=2, masks=True)


@pytest.fixture(scope="module")
def rows(data):
    return load_rows(str(data))


PROCESSOR = PbrecImageProcessor(size={"longest_edge": 128})


@pytest.mark.parametrize(("top", "least"), [(3, 0.0), (None, 0.0), (50, 0.104), (None, 0.99)])
def test_recall_equals_counting(rows, top, least):
    detector = tiny_box_detector()
    hits = 0
    for row in rows:
        inputs = PROCESSOR(row["image"])
        proposals = detector.propose(inputs["pixel_values"])
        ranked = sorted(range(proposals.num_points), key=lambda point: -float(proposals.quality[0, point]))
        kept = [point for point in ranked if proposals.quality[0, point] >= least][:top]
        boxes = Letterbox.of(inputs["letterbox"][0]).boxes_to_original(proposals.boxes[0, kept])
        for sentence in row["expressions"]:
            hits += bool(len(kept)) and bool((box_iou(boxes, torch.tensor([sentence["bbox"]])) > 0.2).any())
    (found,) = detector_recall(detector, PROCESSOR, rows, [top], least, iou=0.2, batch_size=2)
    assert (found.kind, found.top, found.found, found.count) == ("boxes", top, hits, 10)


def test_more_proposals_recall_more(rows):
    few, many, every = detector_recall(tiny_box_detector(), PROCESSOR, rows, [1, 20, None], iou=0.1)
    assert few.found <= many.found <= every.found and every.found > 0


def test_masks_of_a_detector_without_boxes(rows):
    some, every = detector_recall(tiny_mask_detector(), PROCESSOR, rows, [2, None], iou=0.01)
    assert some.kind == "masks" and 0 < some.found <= every.found <= every.count == 10


def test_intervals_and_table():
    entry = Recall("boxes", 100, 0.0, 90, 100)
    low, high = entry.interval
    assert (round(low, 4), round(high, 4)) == (0.8256, 0.9448)  # Wilson's, by hand
    assert "| fcos | boxes | best 100 | 90.00 | 82.56 to 94.48 | 100 |" in table({"fcos": [entry]})
    assert Recall("boxes", None, 0.0, 0, 5).interval[0] == pytest.approx(0, abs=1e-9)


def test_from_a_shell(data, tmp_path, capsys):
    tiny_box_detector().save_pretrained(tmp_path / "boxes")
    command = ["recall", str(tmp_path / "boxes"), "--data", str(data), "--canvas", "128", "--cpu", "--top", "5", "all"]
    assert main([*command, "--out", str(tmp_path / "recall.json")]) == 0
    figures = json.loads((tmp_path / "recall.json").read_text())
    assert [(entry["top"], entry["count"]) for entry in figures] == [(5, 10), (None, 10)]
    assert "best 5" in capsys.readouterr().out
    assert main([*command[:-2], "none"]) == 2
    assert "--top none: give numbers of proposals" in capsys.readouterr().err
