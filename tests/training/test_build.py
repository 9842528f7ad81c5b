"""From a config to rows: every field that says how data are read reaches the reader."""

import json

import datasets
import pytest
from refer_folders import write_refer_folder
from training_data import write_data

from pbrec_hf.training.build import load_rows, require_targets, training_rows, validation_rows
from pbrec_hf.training.config import TrainingConfig

datasets.disable_progress_bars()


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_boxes_of_width_and_height_train_too(tmp_path):
    write_data(tmp_path, pictures=1)
    table = write_jsonl(tmp_path / "xywh.jsonl", [{"image": "0.png", "expression": "dog", "bbox": [4, 6, 24, 30]}])
    config = TrainingConfig(init="a", data=table, validation_data=table, bbox_format="xywh")
    for rows in (training_rows(config), validation_rows(config)):
        assert rows[0]["expressions"][0]["bbox"] == [4, 6, 28, 36]


def test_expressions_of_coco_instances_train_too(tmp_path):
    write_data(tmp_path, pictures=1)
    content = {
        "images": [{"id": 7, "file_name": "0.png"}],
        "categories": [{"id": 18, "name": "dog"}],
        "annotations": [{"id": 5, "image_id": 7, "category_id": 18, "bbox": [4, 6, 24, 30]}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    table = write_jsonl(tmp_path / "expressions.jsonl", [{"ann_id": 5, "expression": "the dog"}])
    (row,) = training_rows(TrainingConfig(init="a", data=table, instances=str(tmp_path / "instances.json")))
    assert row["expressions"][0]["bbox"] == [4, 6, 28, 36] and row["expressions"][0]["category"] == "dog"


def test_expressions_that_mean_nothing_are_trained_on_or_left_out(tmp_path):
    refer_dir, image_dir = write_refer_folder(tmp_path, "grefcoco/unc")
    fields = {"dataset": "grefcoco", "refer_dir": str(refer_dir), "image_dir": str(image_dir), "check_counts": False}
    rows = training_rows(TrainingConfig(init="a", **fields))
    require_targets(rows, ["grounding", "segmentation"])
    kept = training_rows(TrainingConfig(init="a", drop_no_target=True, **fields))
    require_targets(kept, ["grounding", "segmentation"])
    sentences = [sentence for row in rows for sentence in row["expressions"]]
    left = [sentence["expression"] for row in kept for sentence in row["expressions"]]
    assert left == [sentence["expression"] for sentence in sentences if sentence["boxes"]]
    assert 0 < len(left) < len(sentences)


def test_referents_without_masks_are_told_before_masks_are_trained(tmp_path):
    refer_dir, image_dir = write_refer_folder(tmp_path, "grefcoco/unc")
    instances = json.loads((refer_dir / "grefcoco" / "instances.json").read_text())
    references = json.loads((refer_dir / "grefcoco" / "grefs(unc).json").read_text())
    pair = next(reference for reference in references if len(reference["ann_id"]) == 2)
    for annotation in instances["annotations"]:
        if annotation["id"] == pair["ann_id"][1]:
            annotation["segmentation"] = []
    (refer_dir / "grefcoco" / "instances.json").write_text(json.dumps(instances))
    rows = load_rows(dataset="grefcoco", refer_dir=str(refer_dir), image_dir=str(image_dir))
    require_targets(rows, ["grounding"])
    # Two expressions of the object alone, and two of the pair.
    with pytest.raises(ValueError, match=rf"^4 of \d+ expressions have no seg.* {pair['image_id']}: add it"):
        require_targets(rows, ["grounding", "segmentation"])


def test_a_published_set_needs_its_folder():
    with pytest.raises(ValueError, match="refer_dir"):
        load_rows(dataset="refcoco")
