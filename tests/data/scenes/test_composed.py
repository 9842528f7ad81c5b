"""Photographs and composed scenes: deterministic, masks and boxes that belong together, expressions that hold."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from programs import run_script

from pbrec_hf.data.own_data import load_own_data
from pbrec_hf.data.scenes.composed import ComposedScenes, _covered
from pbrec_hf.data.scenes.objects import SceneObject, box_of_mask
from pbrec_hf.data.scenes.photographs import read_photographs
from pbrec_hf.data.scenes.scene import Scene, crop, draw, flip, vary, with_expressions


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Two drawn photographs with three rectangles each, written and read as a COCO-format set."""
    folder = tmp_path_factory.mktemp("coco")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    categories = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 18, "name": "dog"}]
    for image_id in (1, 2, 3):
        pixels = rng.integers(90, 110, size=(240, 320, 3), dtype=np.uint8)
        for number, (category, x) in enumerate(((1, 20), (3, 120), (18, 220))):
            y, width, height = 60 + 20 * number, 60, 80
            pixels[y : y + height, x : x + width] = ((200, 30, 30), (30, 30, 200), (30, 160, 30))[number]
            polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
            annotations.append(
                {"id": len(annotations), "image_id": image_id, "category_id": category, "iscrowd": 0,
                 "bbox": [x, y, width, height], "area": width * height, "segmentation": [polygon]}
            )  # fmt: skip
        Image.fromarray(pixels).save(folder / f"{image_id}.png")
        images.append({"id": image_id, "file_name": f"{image_id}.png", "width": 320, "height": 240})
    images[2]["annotated"] = False
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return read_photographs(path, folder, longest_edge=160)


def assert_consistent(scene):
    for item in scene.objects:
        assert item.mask.shape == scene.size
        assert np.allclose(box_of_mask(item.mask), item.box, atol=1.5)


def test_photographs_are_scaled_with_their_masks(photographs):
    assert [scene.name for scene in photographs] == ["1", "2"]
    assert all(scene.size == (120, 160) for scene in photographs)
    assert [item.category for item in photographs[0].objects] == ["person", "car", "dog"]
    for scene in photographs:
        assert_consistent(scene)


def test_excluded_images_are_left_out(photographs, tmp_path):
    scene = photographs[0]
    Image.fromarray(scene.image).save(tmp_path / "7.png")
    record = {"id": 7, "file_name": "7.png", "width": 160, "height": 120}
    annotation = {
        "image_id": 7,
        "category_id": 1,
        "bbox": [10, 10, 50, 50],
        "segmentation": [[10, 10, 60, 10, 60, 60]],
    }
    content = {"images": [record], "annotations": [annotation], "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    assert len(read_photographs(tmp_path / "instances.json", tmp_path)) == 1
    assert read_photographs(tmp_path / "instances.json", tmp_path, exclude={7}) == []


def turned_photograph(folder, **record):
    """A photograph of 40 × 60 pixels, red at the top, that is stored on its side; its red half is annotated."""
    pixels = np.full((60, 40, 3), 250, dtype=np.uint8)
    pixels[:30] = (200, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored picture is to be turned by 90 degrees
    Image.fromarray(np.rot90(pixels)).save(folder / "7.png", exif=exif)
    annotation = {
        "image_id": 7,
        "category_id": 1,
        "bbox": [0, 0, 40, 30],
        "segmentation": [[0, 0, 40, 0, 40, 30, 0, 30]],
    }
    image = {"id": 7, "file_name": "7.png", "width": 40, "height": 60} | record
    content = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "person"}]}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json"


def test_photographs_are_read_upright(tmp_path):
    (scene,) = read_photographs(turned_photograph(tmp_path), tmp_path)
    assert scene.size == (60, 40) and scene.objects[0].mask.shape == (60, 40)
    red = (scene.image == (200, 0, 0)).all(-1)
    assert np.array_equal(scene.objects[0].mask, red) and red[:30].all()


def test_annotations_of_the_picture_on_its_side_are_refused(tmp_path):
    path = turned_photograph(tmp_path, width=60, height=40)
    with pytest.raises(ValueError, match=r"Image 7 is annotated at 40×60 .*7\.png has 60×40 when it is upright"):
        read_photographs(path, tmp_path)


def test_flip_and_crop_keep_masks_and_boxes_together(photographs):
    flipped = flip(photographs[0])
    assert_consistent(flipped)
    assert flipped.objects[0].center[0] > flipped.objects[2].center[0]
    part = crop(photographs[0], 20, 10, 120, 110)
    assert part.size == (100, 100)
    assert part.objects[0].vague and not part.objects[1].vague
    assert_consistent(part)
    for seed in range(5):
        assert_consistent(vary(photographs[1], np.random.default_rng(seed)))


def test_composed_scenes_depend_on_the_seed_alone(photographs):
    first, second = ComposedScenes(photographs, longest_edge=160), ComposedScenes(photographs, longest_edge=160)
    second.sample(4)
    one, other = first.sample(9), second.sample(9)
    assert np.array_equal(one.image, other.image) and one.expressions == other.expressions
    assert not np.array_equal(one.image, first.sample(10).image)


def test_composed_scenes_are_consistent_and_named(photographs):
    scenes = ComposedScenes(photographs, longest_edge=160)
    named = 0
    for seed in range(12):
        scene = scenes.sample(seed)
        assert max(scene.size) == 160
        assert_consistent(scene)
        for expression in scene.expressions:
            assert not any(scene.objects[target].vague for target in expression.targets)
            named += 1
    assert named > 40


def test_covered_objects_become_vague():
    mask = np.zeros((100, 100), dtype=bool)
    mask[20:60, 20:60] = True
    item = SceneObject("dog", box_of_mask(mask), mask)
    cover = np.zeros_like(mask)
    cover[20:50] = True
    assert _covered(item, cover).vague
    assert _covered(item, np.ones_like(mask)) is None


def test_a_set_without_cutouts_is_refused():
    with pytest.raises(ValueError, match="40 pixels"):
        ComposedScenes([Scene(np.zeros((50, 50, 3), dtype=np.uint8), ())])


def test_preview_shows_picture_and_texts(photographs):
    scenes = ComposedScenes(photographs, longest_edge=160)
    scene = scenes.sample(1)
    picture = scenes.preview(1)
    assert picture.size == (320, scene.size[0] + 14 * len(scene.expressions) + 4)
    bare = draw(replace(scene, expressions=()))
    assert bare.size[1] == scene.size[0] + 4


def test_expressions_of_a_photograph(photographs):
    scene = with_expressions(photographs[0], np.random.default_rng(1), count=5)
    assert len(scene.expressions) == 5


def test_the_script_writes_data_of_the_kinds_and_sizes_asked_for(tmp_path):
    asked = ["--train", "12", "--held_out", "3", "--kinds", "noun", "--smallest", "40"]
    done = run_script("scripts/make_scenes.py", "--out", tmp_path, *asked)
    assert done.returncode == 0, done.stderr
    rows = load_own_data(tmp_path / "train.jsonl")
    assert len(rows) > 0 and (tmp_path / "held_out.jsonl").exists()
    for left, top, right, bottom in rows["bbox"]:
        assert min(right - left, bottom - top) >= 40
    assert not any("left" in words or "right" in words for words in map(str.split, rows["expression"]))


def test_the_script_names_the_kinds_there_are(tmp_path):
    result = run_script("scripts/make_scenes.py", "--out", tmp_path, "--train", "3", "--kinds", "nuon")
    assert result.returncode == 2 and "--kinds nuon" in result.stderr and "noun, " in result.stderr
    assert "Traceback" not in result.stderr and not list(tmp_path.glob("*.jsonl"))
