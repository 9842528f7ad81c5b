"""Pairs of somebody who sits and somebody who stands: whose boxes are theirs, and what is said is true."""

import json

import numpy as np
import pytest
from PIL import Image

from pbrec_hf.training.small.posture_pairs import PART, posture_pairs, shown_persons

COLORS = {"sitting": (200, 30, 30), "standing": (30, 30, 200)}


def keypoints(posture, left, top):
    """A person of 60 by 120 pixels, seen from the front."""
    knee, ankle = {"sitting": ((40, 72), (40, 110)), "standing": ((20, 90), (20, 118))}[posture]
    points = np.zeros((17, 3))
    for first, (x, y) in ((5, (20, 30)), (11, (20, 65)), (13, knee), (15, ankle)):
        points[first : first + 2] = (left + x, top + y, 2)
    return points.tolist()


@pytest.fixture
def data(tmp_path):
    """Photograph 1 shows a sitting person, 2 a standing one, 3 two at once, and 4 is left out by the caller."""
    (tmp_path / "images").mkdir()
    rows = []
    for number, persons in {
        1: [("sitting", 50)],
        2: [("standing", 150)],
        3: [("standing", 60), ("sitting", 130)],
        4: [("sitting", 80)],
    }.items():
        picture = Image.new("RGB", (300, 200), "white")
        for posture, left in persons:
            picture.paste(COLORS[posture], (left, 40, left + 60, 160))
            rows.append(
                {
                    "image": f"{number:012d}.jpg",
                    "bbox": [left, 40, 60, 120],
                    "keypoints": keypoints(posture, left, 40),
                }
            )
        picture.save(tmp_path / "images" / f"{number:012d}.jpg", quality=95)
    (tmp_path / "person_keypoints.json").write_text(json.dumps(rows))
    return tmp_path


def test_persons_alone_are_shown(data):
    shown = shown_persons(data, exclude={4})
    assert {posture: len(parts) for posture, parts in shown.items()} == {"sitting": 1, "standing": 1}


def test_boxes_hold_the_persons_and_words_name_their_posture(data):
    scenes = posture_pairs(shown_persons(data, exclude={4}), 12, np.random.default_rng(0))
    places = set()
    for scene in scenes:
        assert scene.size == (PART[1], 2 * PART[0]) and len(scene.expressions) == 2
        for item, said in zip(scene.objects, scene.expressions, strict=True):
            left, top, right, bottom = (round(value) for value in item.box)
            inside = scene.image[top + 4 : bottom - 4, left + 4 : right - 4].reshape(-1, 3).mean(0)
            assert np.abs(inside - COLORS[item.posture]).max() < 30
            assert ("sit" in said.text or "seated" in said.text) == (item.posture == "sitting")
            assert scene.objects[said.targets[0]] is item
        places.add(scene.objects[0].posture)
    assert places == {"sitting", "standing"}


def test_a_posture_that_nobody_has_is_told(data):
    with pytest.raises(ValueError, match="Nobody is standing"):
        posture_pairs(shown_persons(data, exclude={2, 4}), 3, np.random.default_rng(0))
