"""Layouts of persons who sit and stand: what is said of a posture is what the channels show."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pbrec_hf.data.scenes.objects import SceneObject
from pbrec_hf.data.scenes.reading import HumanExpressions
from pbrec_hf.data.scenes.scene import Scene
from pbrec_hf.small.backbone import GroundingBackbone, GroundingBackboneConfig
from pbrec_hf.small.nanodet import NanoDetConfig
from pbrec_hf.small.objects import object_channel_names
from pbrec_hf.small.postures import POSTURES
from pbrec_hf.training.small.pool import PLACES
from pbrec_hf.training.small.posed_layouts import KEPT, PosedLayouts, photographs_to_view, posed_views
from pbrec_hf.training.small.views import GRID, Detection, View, Views


@pytest.fixture(scope="module")
def layouts():
    """Persons who are seen to sit and to stand, one who is missed, one of unknown posture, and a dog."""
    backbone = GroundingBackbone(GroundingBackboneConfig(detector_config=NanoDetConfig(), postures=True))
    classes = backbone.config.class_names
    views = []
    for category, posture, found in (
        ("person", "sitting", True),
        ("person", "standing", True),
        ("person", "standing", False),
        ("person", None, True),
        ("dog", None, True),
    ):
        item = SceneObject(category, (0.0, 0.0, 60.0, 120.0), posture=posture)
        seen = torch.zeros(80)
        seen[classes.index(category)] = 0.9
        shares = torch.tensor([float(name == posture) for name in POSTURES])
        detection = Detection(torch.zeros(4), seen, torch.eye(11)[4].repeat(3), shares)
        views.append(View(item, detection if found else None))
    kept = posed_views(Views(views, [], [torch.full((11, (GRID * PLACES) ** 2), 1 / 11)]))
    photograph = Scene(np.zeros((240, 320, 3), np.uint8), ())
    return PosedLayouts([photograph], kept, backbone, HumanExpressions(["man sitting on the left", "woman standing"]))


def test_persons_are_found_and_their_postures_known(layouts):
    assert [view.item.posture for view in layouts.views.of["person"]] == ["sitting", "standing"]
    assert len(layouts.views.of["dog"]) == 1


def test_words_and_channels_agree_on_who_sits(layouts):
    names = object_channel_names(layouts.classes, POSTURES)
    counts = dict.fromkeys(POSTURES, 0)
    for seed in range(60):
        tensors, said = layouts.sample(seed, 12)
        assert len(said) <= KEPT and len(tensors["described"]) > 0
        named = ["posture" in kind for _, _, kind in said]
        assert named == sorted(named, reverse=True)  # those come first
        for text, means, kind in said:
            if kind not in ("noun+posture", "human") or len(means) != 1:
                continue
            owner = int(tensors["index"][tensors["centerness"][means[0]].argmax()])
            posture = "sitting" if "s" in text and ("sit" in text or "seated" in text) else "standing"
            if owner >= 0:
                counts[posture] += 1
                assert tensors["described"][owner, names.index(f"object:{posture}")] == 1, (seed, text)
    assert min(counts.values()) > 20


def test_photographs_without_postures_are_not_looked_at():
    person = SceneObject("person", (10.0, 10.0, 60.0, 90.0), np.ones((100, 80), dtype=bool))
    scenes = [
        Scene(np.zeros((100, 80, 3), np.uint8), (replace(person, posture=posture),), name=str(number))
        for number, posture in enumerate(("sitting", None))
    ]
    looked_at = list(photographs_to_view(scenes))
    assert len(looked_at) == 4 and {scene.name for scene in looked_at} == {"0"}
