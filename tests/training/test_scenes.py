"""Composed scenes written as own data: what the rows mean is what the expressions mean."""

import datasets
import pytest
from places import SCENES

from pbrec_hf.data.own_data import load_own_data
from pbrec_hf.data.referents import referents_of
from pbrec_hf.data.scenes.composed import ComposedScenes
from pbrec_hf.data.scenes.photographs import read_photographs
from pbrec_hf.data.schema import features
from pbrec_hf.images.segmentation import rasterise
from pbrec_hf.training.scenes import write_scenes

datasets.disable_progress_bars()
SEEDS = range(6)


@pytest.fixture(scope="module")
def scenes():
    return ComposedScenes(read_photographs(SCENES / "instances.json", SCENES / "images"), longest_edge=200)


def test_rows_mean_one_object_several_or_none(scenes, tmp_path):
    path, count = write_scenes(scenes, SEEDS, tmp_path, "train", expressions=3, plurals=3, absent=2)
    data = load_own_data(path)
    assert data.features == features(generalized=True) and len(data) == count
    expected = [
        (scene, said) for scene in (scenes.sample(seed, 3, 3, 2) for seed in SEEDS) for said in scene.expressions
    ]
    numbers = set()
    for row, (scene, said) in zip(data.remove_columns("image"), expected, strict=True):
        objects = [scene.objects[target] for target in said.targets]
        referents = referents_of(row)
        assert row["expression"] == said.text and row["no_target"] == (not objects)
        assert [list(one.box) for one in referents] == [pytest.approx(item.box) for item in objects]
        for one, item in zip(referents, objects, strict=True):
            assert (rasterise(one.segmentation, *scene.size).bool().numpy() == item.mask).all()
        categories = {item.category for item in objects}
        assert row["category"] == (categories.pop() if len(categories) == 1 else None)
        numbers.add(min(len(objects), 2))
    assert numbers == {0, 1, 2}


def test_scenes_of_single_objects_have_the_columns_of_always(scenes, tmp_path):
    path, _ = write_scenes(scenes, SEEDS, tmp_path, "train", expressions=3)
    assert load_own_data(path).features == features()


def test_the_smallest_of_several_objects_counts(scenes, tmp_path):
    path, _ = write_scenes(scenes, range(12), tmp_path, "train", expressions=0, smallest=40, plurals=4)
    rows = load_own_data(path)
    assert len(rows) > 0
    for left, top, right, bottom in (box for boxes in rows["boxes"] for box in boxes):
        assert min(right - left, bottom - top) >= 40
