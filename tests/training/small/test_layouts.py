"""Layouts without pictures, by which the bundled model learns: what is said of them is what their tensors show."""

import numpy as np
import pytest
import torch

from pbrec_hf.data.scenes.objects import SceneObject
from pbrec_hf.data.scenes.reading import HumanExpressions
from pbrec_hf.data.scenes.scene import Scene
from pbrec_hf.data.scenes.words import CATEGORIES_OF
from pbrec_hf.small.backbone import GroundingBackbone, GroundingBackboneConfig
from pbrec_hf.small.nanodet import NanoDetConfig
from pbrec_hf.small.objects import object_channel_names
from pbrec_hf.training.small.layouts import Layouts
from pbrec_hf.training.small.pool import PLACES
from pbrec_hf.training.small.views import GRID, Detection, View, Views

CATEGORIES = ("person", "dog", "car", "cup", "airplane")


@pytest.fixture(scope="module")
def layouts():
    """Objects of five categories that a detector sees for sure and where they are; one more of each is missed."""
    backbone = GroundingBackbone(GroundingBackboneConfig(detector_config=NanoDetConfig()))
    classes = backbone.config.class_names
    colors = {part: np.eye(11, dtype=np.float32)[4] for part in ("whole", "upper", "lower")}
    views = []
    for category in CATEGORIES:
        item = SceneObject(category, (0.0, 0.0, 90.0, 60.0), None, colors)
        seen = torch.zeros(80)
        seen[classes.index(category)] = 0.9
        views += [View(item, Detection(torch.zeros(4), seen, torch.eye(11)[4].repeat(3), torch.zeros(0))), View(item)]
    boxes = ((20.0, 30.0, 110.0, 90.0), (150.0, 40.0, 250.0, 160.0), (260.0, 60.0, 310.0, 100.0))
    objects = tuple(SceneObject(name, box) for name, box in zip(CATEGORIES, boxes, strict=False))
    photograph = Scene(np.zeros((240, 320, 3), np.uint8), objects)
    human = HumanExpressions(["guy in the middle", "left dog", "the far right car", "cup on the left"])
    return Layouts([photograph], Views(views, [], [torch.full((11, (GRID * PLACES) ** 2), 1 / 11)]), backbone, human)


def test_a_number_always_gives_the_same_layout(layouts):
    (one, said), (other, again) = layouts.sample(3, 6), layouts.sample(3, 6)
    assert said == again and said
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert layouts.sample(4, 6)[1] != said


def test_nouns_name_the_class_that_the_detector_sees_whatever_changes_places(layouts):
    """Of expressions that are a noun alone, and targets that own the point at their middle."""
    classes, checked, renamed = layouts.classes, 0, 0
    for seed in range(150):
        tensors, said = layouts.sample(seed, 6)
        for text, means, kind in said:
            if len(means) != 1:
                continue
            (target,) = means
            noun = text.removeprefix("the ").removeprefix("an ").removeprefix("a ")
            if kind != "noun":
                continue
            owner = int(tensors["index"][tensors["centerness"][target].argmax()])
            seen = tensors["described"][owner, : len(classes)]
            if owner < 0 or not (seen > 0.9).any():
                continue
            category = classes[int(seen.argmax())]
            checked += 1
            assert category in CATEGORIES_OF[noun], (seed, text, category)
            renamed += category not in CATEGORIES
    assert checked > 50 and renamed > 10


def test_nothing_is_said_of_what_the_detector_missed(layouts):
    for seed in range(40):
        tensors, said = layouts.sample(seed, 6)
        found = tensors["described"].shape[0]
        assert len({target for _, means, _ in said for target in means}) <= found
        assert tensors["centerness"].shape == (len(tensors["boxes"]), GRID**2)


def test_words_and_channels_agree_on_who_is_leftmost(layouts):
    names = object_channel_names(layouts.classes)
    sides = 0
    for seed in range(150):
        tensors, said = layouts.sample(seed, 6)
        for text, means, kind in said:
            if len(means) != 1:
                continue
            (target,) = means
            owner = int(tensors["index"][tensors["centerness"][target].argmax()])
            if kind != "noun+far side" or owner < 0 or not _at(tensors, owner, target):
                continue
            side = "left" if "left" in text else "right"
            assert tensors["described"][owner, names.index(f"like:{side}:0")] > 0.5, (seed, text)
            sides += 1
    assert sides > 20


def _at(tensors: dict[str, torch.Tensor], owner: int, target: int) -> bool:
    """Whether the target has a point of its own: its owner is nobody else's."""
    best = [int(tensors["index"][row.argmax()]) for row in tensors["centerness"]]
    return best.count(owner) == 1 and best[target] == owner
