"""A checkpoint measured on data sets of the Hub from a shell: scores equal brute force and say what they are of."""

import json

import numpy as np
import pytest
from hub_tables import PICTURES, REFERENTS, mask_of, parquet, picture_rows, publish, referent_row

from pbrec_hf.app.cli import main
from pbrec_hf.data.hub_sets import names
from pbrec_hf.images.segmentation import rle_to_mask

TEXTS = (["left dog", "the dog"], ["red car"], ["right dog", "the cat"], ["girl on the left"], ["the red car"])
BOXES = ([0, 0, 64, 48], [20, 4, 40, 40], [2, 3, 60, 30], [0, 10, 50, 38], [30, 0, 34, 48])


@pytest.fixture
def evaluate(hub, checkpoint, tmp_path, capsys):
    """Runs the verb on the CPU; returns what it printed, scores.json, and predictions by picture and expression."""

    def run(*arguments, split="val"):
        out = tmp_path / "out"
        assert main(["evaluate", checkpoint, "--cpu", "--num_workers", "0", "--output_dir", str(out), *arguments]) == 0
        lines = (out / f"predictions-{split}.jsonl").read_text().splitlines()
        predictions = {(entry["image_id"], entry["expression"]): entry for entry in map(json.loads, lines)}
        assert len(predictions) == len(lines)
        return capsys.readouterr().out, json.loads((out / "scores.json").read_text()), predictions

    return run


def box_iou(one, other):
    """By counting: share of a fine grid."""
    (a, b, c, d), (e, f, g, h) = one, other
    common = max(0, min(c, g) - max(a, e)) * max(0, min(d, h) - max(b, f))
    return common / ((c - a) * (d - b) + (g - e) * (h - f) - common)


def mask_iou(one, other):
    return (one & other).sum() / max((one | other).sum(), 1)


def rows_of_referents():
    numbers = (5, 9, 5, 5, 9)
    return [referent_row(*case) for case in zip(numbers, range(1, 6), BOXES, TEXTS, strict=True)]


def test_scores_on_rows_of_referents_equal_brute_force(evaluate, hub):
    commit = publish(hub, "me/set", {"val": parquet(rows_of_referents(), REFERENTS)})
    printed, report, predictions = evaluate("--dataset", "hub:me/set", "--split", "val")
    boxes, masks = [], []
    for row in rows_of_referents():
        x, y, width, height = row["bbox"]
        truth = np.zeros((48, 64), bool)
        truth[y : y + height, x : x + width] = True
        for text in row["answer"]:
            found = predictions[str(int(row["file_name"].split("_")[2])), text]
            boxes.append(box_iou(found["boxes"][0], [x, y, x + width, y + height]) if found["boxes"] else 0.0)
            masks.append(mask_iou(rle_to_mask(found["masks"][0]).numpy(), truth) if found["masks"] else 0.0)
    scores = report["scores"]["val"]
    assert len(boxes) == scores["count"] == 7 and max(boxes) > 0
    assert scores["box_mean_iou"] == pytest.approx(np.mean(boxes), abs=1e-5)
    assert scores["mask_mean_iou"] == pytest.approx(np.mean(masks), abs=1e-5)
    for threshold in (0.5, 0.6, 0.7):
        assert scores[f"accuracy@{threshold}"] == pytest.approx(np.mean(np.array(boxes) >= threshold))
    told = f"me/set@{commit} val: 5 rows, 5 referents, 7 expressions. Its counts are not known, so none were checked."
    assert f"val: 7 expressions in 2 images. {told}" in printed.splitlines()
    homepage = f"{hub.url}/datasets/me/set/tree/{commit}"
    assert report["data"]["val"] == {"images": 2, "expressions": 7, "description": told, "homepage": homepage}


def test_scores_on_rows_of_pictures_equal_brute_force(evaluate, hub):
    publish(hub, "me/pictures", {"validation": parquet(picture_rows(), PICTURES)})
    _, report, predictions = evaluate("--dataset", "hub:me/pictures", split="validation")  # all splits but train
    masks = []
    for row in picture_rows():
        for entry in row["samples"]:
            for text in entry["sentences"]:
                found = predictions[str(row["image_id"]), text]
                found_mask = rle_to_mask(found["masks"][0]).numpy() if found["masks"] else np.zeros((48, 64), bool)
                masks.append(mask_iou(found_mask, mask_of(entry["bbox"]).astype(bool)))
    assert report["scores"]["validation"]["count"] == 6
    assert report["scores"]["validation"]["mask_mean_iou"] == pytest.approx(np.mean(masks), abs=1e-5)


def test_a_known_set_is_measured_on_all_its_splits_and_pins_its_version(evaluate, hub, monkeypatch):
    content = parquet(rows_of_referents(), REFERENTS)
    commit = publish(hub, "me/known", {"train": content, "testA": content, "testB": content})
    splits = {"testA": {"rows": 5, "note": "Mind this."}, "testB": {"rows": 5}}
    monkeypatch.setitem(names.KNOWN, "me/known", {"revision": commit, "splits": splits})
    printed, report, _ = evaluate("--dataset", "hub:me/known", split="testB")
    assert set(report["scores"]) == {"testA", "testB"}
    assert f"me/known@{commit} testA: 5 rows, 5 referents, 7 expressions. Mind this." in printed


def test_a_part_is_measured_and_scored_again(evaluate, hub, tmp_path, capsys):
    publish(hub, "me/set", {"val": parquet(rows_of_referents(), REFERENTS)})
    arguments = ["--dataset", "hub:me/set", "--split", "val", "--first", "2"]
    printed, report, _ = evaluate(*arguments)
    assert report["scores"]["val"]["count"] == 3
    assert report["data"]["val"]["description"].startswith("the first 2 rows of me/set@")
    assert main(["evaluate", "--rescore", str(tmp_path / "out/predictions-val.jsonl"), *arguments]) == 0
    assert capsys.readouterr().out == printed


def test_recall_is_measured_on_them(hub, checkpoint, capsys):
    publish(hub, "me/set", {"val": parquet(rows_of_referents(), REFERENTS)})
    arguments = ["--cpu", "--dataset", "hub:me/set", "--canvas", "128"]
    assert main(["recall", f"{checkpoint}/box_detector", *arguments]) == 0
    assert "7" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--dataset", "hub:refcoco"], "'hub:refcoco' is no data set on the Hub: give hub:owner/name"),
        (["--dataset", "hub:me/set", "--refer_dir", "."], "--refer_dir is not for a data set on the Hub"),
        (["--dataset", "hub:me/set", "--split_by", "unc"], "--split_by is not for a data set on the Hub"),
        (["--dataset", "refcoco", "--first", "3"], "--first is for data sets on the Hub"),
        (
            ["--dataset", "hub:lmms-lab/RefCOCO", "--split", "testC"],
            "has no split 'testC': give one of val, test, testA",
        ),
        (["--dataset", "hub:me/none"], "me/none is no data set on the Hub, or it is not open to you"),
    ],
)
def test_mistaken_options_are_one_line(hub, checkpoint, arguments, told, capsys):
    assert main(["evaluate", checkpoint, "--cpu", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("pbrec-hf: error: ") and told in error
