"""gRefCOCO from a shell: evaluated and calibrated by one command each, with figures that equal counting."""

import json
import shutil
from itertools import permutations

import numpy as np
import pytest
import torch
from checkpoints import save_tiny_checkpoint, tiny_model
from refer_folders import write_refer_folder
from torchvision.ops import box_iou

from pbrec_hf import PbrecProcessor
from pbrec_hf.app.cli import main
from pbrec_hf.geometry.letterbox import Letterbox
from pbrec_hf.images.segmentation import rasterise, rle_to_mask
from pbrec_hf.training.build import load_rows
from pbrec_hf.training.evaluation import Way, predict
from pbrec_hf.training.predictions import read_predictions


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with gRefCOCO (`refer`), and checkpoints with detectors of boxes (`boxes`) and of masks, too (`masks`).

    The objects of each photograph are where the checkpoints see the best ones, so that some answers are right.
    """
    folder = tmp_path_factory.mktemp("place")
    write_refer_folder(folder / "refer", "grefcoco/unc")
    save_tiny_checkpoint(folder / "boxes")
    save_tiny_checkpoint(folder / "masks", masks=True)
    path = folder / "refer" / "grefcoco" / "instances.json"
    instances = json.loads(path.read_text())
    for split in ("val", "testA"):
        rows = rows_of(folder, split)
        processor = PbrecProcessor.from_pretrained(folder / "boxes")
        for entry in predict(tiny_model(), processor, rows, way=Way("any", 0.0, masks=False), oracles=False):
            if entry["index"] == 0:
                mine = [a for a in instances["annotations"] if str(a["image_id"]) == entry["image_id"]]
                for annotation, (left, top, right, bottom) in zip(mine, entry["boxes"], strict=False):
                    annotation["bbox"] = [left, top, right - left, bottom - top]
                    annotation["segmentation"] = [[left, top, right, top, right, bottom, left, bottom]]
    path.write_text(json.dumps(instances))
    return folder


def data(place, *splits):
    folders = ["--refer_dir", str(place / "refer"), "--image_dir", str(place / "refer" / "images")]
    return ["--cpu", "--num_workers", "0", "--dataset", "grefcoco", *folders, "--split", *splits, "--no_check_counts"]


def rows_of(place, split):
    refer = place / "refer"
    return load_rows(None, "grefcoco", split, None, str(refer), str(refer / "images"), False)


@pytest.fixture(scope="module")
def threshold(place):
    """What about half of the expressions have two answers of."""
    processor = PbrecProcessor.from_pretrained(place / "boxes")
    way = Way("any", 0.0, masks=False)
    every = predict(tiny_model(), processor, rows_of(place, "val"), way=way, oracles=False)
    return float(np.median([entry["scores"][1] for entry in every]))


@pytest.fixture(scope="module")
def evaluated(place, threshold):
    """The folder that one command writes."""
    out = place / "evaluation"
    command = ["evaluate", str(place / "masks"), *data(place, "val", "testA"), "--threshold", str(threshold)]
    assert main([*command, "--output_dir", str(out)]) == 0
    return out


def plain_scores(predictions, rows):
    """What the papers of GREC and GRES define, by trying all assignments and counting pixels."""
    found = {(entry["row"], entry["index"]): entry for entry in predictions}
    solved, rejected, kept, overlaps, shared, total = [], [], [], [], 0, 0
    for row, picture in enumerate(rows):
        size = picture["height"], picture["width"]
        for index, sentence in enumerate(picture["expressions"]):
            answer, boxes = found[row, index], sentence["boxes"]
            some = answer["boxes"]
            (kept if boxes else rejected).append(bool(some) == bool(boxes))
            iou = box_iou(torch.tensor(some).view(-1, 4), torch.tensor(boxes).view(-1, 4)).tolist()
            solved.append(
                len(some) == len(boxes)
                and any(
                    all(iou[i][j] >= 0.5 for i, j in enumerate(order)) for order in permutations(range(len(boxes)))
                )
            )
            true, mask = np.zeros(size, bool), np.zeros(size, bool)
            for struct in sentence["segmentations"]:
                true |= rasterise(struct, *size).numpy().astype(bool)
            for rle in answer["masks"]:
                mask |= rle_to_mask(rle).numpy()
            both, either = int((true & mask).sum()), int((true | mask).sum())
            shared, total = shared + both, total + either
            overlaps.append(both / either if either else 1.0)
    means = {"f1_precision": solved, "n_acc": rejected, "t_acc": kept, "giou": overlaps}
    return {name: np.mean(values) for name, values in means.items()} | {"ciou": shared / total}


@pytest.mark.parametrize("split", ["val", "testA"])
def test_one_command_gives_what_counting_gives(place, evaluated, threshold, split):
    report = json.loads((evaluated / "scores.json").read_text())
    predictions = read_predictions(evaluated / f"predictions-{split}.jsonl")
    expected = plain_scores(predictions, rows_of(place, split))
    found = report["scores"][split]
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert report["asked"][split] == {"referents": "any", "threshold": threshold, "exists_threshold": 0}
    assert report["calibrated_on"] is None
    assert len({len(entry["boxes"]) for entry in predictions}) > 1
    assert split != "val" or 0 < found["f1_precision"] < 1
    assert all(len(entry["masks"]) == len(entry["boxes"]) for entry in predictions)
    bins = report["reliability"][split]
    assert sum(entry["count"] for entry in bins) == found["answers"] == sum(len(e["boxes"]) for e in predictions)
    assert (evaluated / f"reliability-{split}.svg").read_text().startswith("<svg")


def test_the_oracles_are_of_every_referent(place, evaluated):
    processor = PbrecProcessor.from_pretrained(place / "boxes")
    rows = rows_of(place, "val")
    several = 0
    for entry in read_predictions(evaluated / "predictions-val.jsonl"):
        picture = rows[entry["row"]]
        boxes = picture["expressions"][entry["index"]]["boxes"]
        inputs = processor(picture["image"]["path"], "dog")
        proposed = inputs["box_proposals"].boxes[0]
        proposed = Letterbox.of(inputs["letterbox"][0]).boxes_to_original(proposed)
        expected = [box_iou(proposed, torch.tensor([box])).max().item() for box in boxes]
        assert entry["box_oracles"] == pytest.approx(expected, abs=1e-5)
        assert len(entry["mask_oracles"]) == len(boxes)
        assert (entry["point_hit"] is None) is (not boxes)
        several += len(boxes) > 1
    assert several


def test_without_a_calibration_the_remedy_is_named(place, tmp_path, capsys):
    assert main(["evaluate", str(place / "boxes"), *data(place, "val"), "--output_dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "has no calibration" in error and "--threshold" in error and "pbrec-hf calibrate" in error


def test_one_referent_may_be_asked_for(place, tmp_path):
    command = ["evaluate", str(place / "boxes"), *data(place, "val"), "--referents", "one"]
    assert main([*command, "--output_dir", str(tmp_path)]) == 0
    assert all(len(entry["boxes"]) == 1 for entry in read_predictions(tmp_path / "predictions-val.jsonl"))
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["scores"]["val"]["n_acc"] == 0 and found["asked"]["val"] == {
        "referents": "one", "threshold": 0, "exists_threshold": 0,
    }  # fmt: skip


@pytest.fixture(scope="module")
def calibrated(place):
    """A calibrated copy; the checkpoint itself stays as it was."""
    before = {path: path.read_bytes() for path in (place / "boxes").rglob("*") if path.is_file()}
    command = ["calibrate", str(place / "boxes"), *data(place, "val"), "--out", str(place / "calibrated")]
    assert main(command) == 0
    assert before == {path: path.read_bytes() for path in (place / "boxes").rglob("*") if path.is_file()}
    return place / "calibrated"


def test_the_calibration_is_loaded_and_saved_again(calibrated, tmp_path):
    processor = PbrecProcessor.from_pretrained(calibrated)
    assert processor.calibration.fitted_on == "grefcoco/val (36 expressions, 6 absent)"
    assert processor.calibration.answers == 36
    processor.save_pretrained(tmp_path)
    assert PbrecProcessor.from_pretrained(tmp_path).calibration == processor.calibration


def test_the_stored_threshold_counts(place, calibrated, tmp_path, capsys):
    assert main(["evaluate", str(calibrated), *data(place, "val"), "--output_dir", str(tmp_path)]) == 0
    calibration = PbrecProcessor.from_pretrained(calibrated).calibration
    report = json.loads((tmp_path / "scores.json").read_text())
    limits = {"threshold": calibration.threshold, "exists_threshold": calibration.exists_threshold}
    assert report["asked"]["val"] == {"referents": "any"} | limits
    assert report["calibrated_on"] == calibration.fitted_on
    predictions = read_predictions(tmp_path / "predictions-val.jsonl")
    for entry in predictions:
        expected = calibration.any(torch.tensor(entry["raw_scores"])).tolist()
        assert entry["scores"] == pytest.approx(expected) and min(expected, default=1) >= calibration.threshold
        assert 0 < entry["exists"] < 1
        assert not entry["boxes"] or entry["exists"] >= calibration.exists_threshold
    assert any(entry["boxes"] for entry in predictions)
    assert "| present_auroc |" in capsys.readouterr().out


def test_a_folder_is_calibrated_in_place_and_again(place, calibrated, tmp_path, capsys):
    folder = tmp_path / "mine"
    shutil.copytree(place / "boxes", folder)
    for split in ("testA", "val"):  # the second takes the place of the first
        assert main(["calibrate", str(folder), *data(place, split)]) == 0
        said = capsys.readouterr().out
        assert "Each half of the pictures" in said and f"of grefcoco/{split}" in said and "| f1_precision |" in said
    assert PbrecProcessor.from_pretrained(folder).calibration == PbrecProcessor.from_pretrained(calibrated).calibration
    before, after = (json.loads((where / "processor_config.json").read_text()) for where in (place / "boxes", folder))
    after.pop("calibration")
    assert after == before


def test_what_cannot_be_calibrated_is_told_before_anything_is_written(place, calibrated, tmp_path, capsys):
    assert main(["calibrate", str(place / "boxes"), *data(place, "val"), "--out", str(calibrated)]) == 2
    assert "is not empty: name a new folder" in capsys.readouterr().err
    rows = [
        {"image": str(place / "refer/images" / path.name), "expression": "the dog", "bbox": [5, 5, 90, 90]}
        for path in sorted((place / "refer/images").iterdir())[:4]
    ]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["calibrate", str(place / "boxes"), "--cpu", "--num_workers", "0", "--data", str(tmp_path / "all.jsonl")]
    out = tmp_path / "out"
    assert main([*command, "--out", str(out)]) == 2 and not out.exists()
    error = capsys.readouterr().err
    assert all(
        said in error for said in ("no absent expressions", "no_target: true", "--absent 5", "--without_absent")
    )
    assert main([*command, "--out", str(out), "--without_absent"]) == 0
    found = PbrecProcessor.from_pretrained(out).calibration
    assert found.exists == found.one and "none absent" in found.fitted_on
