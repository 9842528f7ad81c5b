"""Pseudo-labels: a file that scenes are read from, boxes inside the pictures, evaluated pictures untouched."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pbrec_hf.bundled import bundled_checkpoint
from pbrec_hf.coco_classes import COCO_CLASSES
from pbrec_hf.data.scenes import read_photographs

SCRIPT = Path(__file__).parents[1] / "scripts/small_pseudo_labels.py"
PHOTOGRAPHS = sorted((Path(__file__).parents[1] / "pbrec_hf/assets/demo").glob("*.jpg"))[:2]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Folder of the data and the file written: three pictures, of which the first is annotated, the last evaluated."""
    data = tmp_path_factory.mktemp("data")
    (data / "images").mkdir()
    records = []
    for number, path in enumerate((PHOTOGRAPHS[0], PHOTOGRAPHS[0], PHOTOGRAPHS[1]), start=1):
        width, height = Image.open(path).size
        records.append({"id": number, "file_name": f"{number}.jpg", "width": width, "height": height,
                        "annotated": number == 1})  # fmt: skip
        shutil.copy(path, data / "images" / f"{number}.jpg")
    categories = [{"id": 10 * number, "name": name} for number, name in enumerate(COCO_CLASSES, start=1)]
    empty = {"annotations": [], "categories": categories}
    (data / "instances_train2017.json").write_text(json.dumps({"images": records[:1], **empty}))
    (data / "instances_val2017.json").write_text(json.dumps({"images": records[1:], **empty}))
    (data / "expressions_mine_dev.jsonl").write_text(json.dumps({"image_id": 3, "expression": "the dog"}))
    detector = Path(bundled_checkpoint()) / "mask_detector"
    command = [
        sys.executable,
        SCRIPT,
        "--data",
        data,
        "--mask_detector",
        detector,
        "--out",
        data / "pseudo.json",
        "--unsure",
        "0.1",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return data


def test_only_what_nobody_annotated_or_is_evaluated_on_is_labelled(labelled):
    content = json.loads((labelled / "pseudo.json").read_text())
    assert [(image["id"], image["partial_categories"]) for image in content["images"]] == [(2, True)]
    assert {annotation["image_id"] for annotation in content["annotations"]} == {2}
    assert {annotation["iscrowd"] for annotation in content["annotations"]} == {0, 1}


def test_scenes_are_read_with_boxes_and_masks_inside_the_picture(labelled):
    [scene] = read_photographs(labelled / "pseudo.json", labelled / "images")
    height, width = scene.size
    assert not scene.complete
    assert any(not item.vague for item in scene.objects)
    for item in scene.objects:
        left, top, right, bottom = item.box
        assert 0 <= left < right <= width + 0.01 and 0 <= top < bottom <= height + 0.01
        assert item.mask.shape == scene.size and item.mask.any()
