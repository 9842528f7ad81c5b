"""Postures by keypoints: what the rule tells, whom it is told of, and that what is said of them is true."""

import json

import numpy as np
import pytest
from scene_things import SIZE, thing

from pbrec_hf.data.scenes.composed import ComposedScenes
from pbrec_hf.data.scenes.expressions import generate_expressions
from pbrec_hf.data.scenes.postures import posture_of, with_postures
from pbrec_hf.data.scenes.predicates import Layout
from pbrec_hf.data.scenes.reading import read_expression
from pbrec_hf.data.scenes.scene import Scene, flip, vary
from pbrec_hf.data.scenes.words import POSTURES

# Of a person seen from the front, in pixels: shoulder, hip, knee and ankle.
LEGS = {
    "standing": ((50, 40), (50, 80), (52, 120), (51, 160)),
    "sitting": ((50, 40), (50, 80), (85, 84), (86, 124)),
    "crouching": ((50, 40), (50, 80), (75, 100), (50, 112)),
    "striding": ((50, 40), (50, 80), (70, 115), (45, 140)),
    "lying": ((20, 100), (60, 102), (100, 100), (140, 101)),
}


def keypoints(shoulder, hip, knee, ankle, hidden=()):
    """Both sides alike, a few pixels apart; the face is not seen."""
    points = np.zeros((17, 3))
    for first, place in ((5, shoulder), (11, hip), (13, knee), (15, ankle)):
        for side in (0, 1):
            points[first + side] = (place[0] + 6 * side, place[1], 0 if first in hidden else 2)
    return points.tolist()


@pytest.mark.parametrize(
    ("legs", "hidden", "told"),
    [
        ("standing", (), "standing"),
        ("standing", (15,), "standing"),
        ("sitting", (), "sitting"),
        ("sitting", (15,), "sitting"),
        ("crouching", (), "sitting"),
        ("striding", (), None),
        ("lying", (), None),
        ("standing", (13,), None),
        ("standing", (5,), None),
        ("standing", (11,), None),
    ],
)
def test_keypoints_tell_a_posture_or_leave_it_open(legs, hidden, told):
    assert posture_of(keypoints(*LEGS[legs], hidden=hidden)) == told


def test_other_keypoints_are_refused():
    with pytest.raises(ValueError, match=r"shape \(5, 3\).*17 of \[x, y, visibility\]"):
        posture_of([[0, 0, 2]] * 5)


def person(left, posture=None):
    item = thing("person", left, 30, left + 60, 170, "red")
    mask = np.zeros(SIZE, dtype=bool)
    mask[30:170, left : left + 60] = True
    return type(item)(**{**vars(item), "mask": mask, "posture": posture})


def scene(*objects, name="7"):
    image = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    return Scene(image, objects, name=name)


def test_persons_get_the_posture_of_the_annotation_over_them(tmp_path):
    rows = [
        {"image": "000000000007.jpg", "bbox": [20, 30, 60, 140], "keypoints": keypoints(*LEGS["sitting"])},
        {"image": "000000000007.jpg", "bbox": [200, 30, 60, 140], "keypoints": keypoints(*LEGS["standing"])},
        {"image": "000000000008.jpg", "bbox": [300, 30, 60, 140], "keypoints": keypoints(*LEGS["standing"])},
    ]
    (tmp_path / "persons.json").write_text(json.dumps(rows))
    dog = thing("dog", 200, 30, 260, 170)
    found, empty, other = with_postures(
        [scene(person(20), person(195), person(300), dog), scene(), scene(person(20), name="9")],
        tmp_path / "persons.json",
    )
    assert [item.posture for item in found.objects] == ["sitting", "standing", None, None]
    assert not empty.objects and other.objects[0].posture is None


def test_a_posture_that_is_not_known_may_be_either():
    layout = Layout((person(20, "sitting"), person(120, "standing"), person(220)), SIZE)
    truth = layout.posture("sitting")
    assert truth.sure.tolist() == [True, False, False] and truth.possible.tolist() == [True, False, True]


def test_expressions_name_postures_only_where_they_are_told():
    two = (person(20, "sitting"), person(220, "standing"))
    said = [each for each in generate_expressions(two, SIZE, np.random.default_rng(1), 60) if "posture" in each.kind]
    words = {"sitting": ("sit", "seated"), "standing": ("stand",)}
    for each in said:
        (target,) = each.targets
        assert any(word in each.text for word in words[two[target].posture]), each.text
    assert {each.targets for each in said} == {(0,), (1,)}
    unknown = (person(20), person(220, "standing"))
    for each in generate_expressions(unknown, SIZE, np.random.default_rng(1), 60):
        assert "posture" not in each.kind.split("+") or len(each.kind.split("+")) > 2, each.text


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("the man sitting on the left", ["sitting"]),
        ("woman standing in red shirt", ["standing"]),
        ("seated guy", ["sitting"]),
        ("man sitting on the bench", []),  # a relation to the bench, which is checked instead
        ("cat sitting on the left", []),
    ],
)
def test_postures_are_read_in_what_people_wrote(text, named):
    reading = read_expression(text)
    assert [arguments[0] for name, *arguments in reading.attributes if name == "posture"] == named


def test_every_way_of_saying_a_posture_is_read():
    for posture, patterns in POSTURES.items():
        for pattern in patterns:
            reading = read_expression(pattern.replace("{n}", "man"))
            assert ("posture", posture) in reading.attributes, pattern


def test_postures_stay_with_their_persons():
    source = scene(person(20, "sitting"), person(220, "standing"))
    assert [item.posture for item in flip(source).objects] == ["sitting", "standing"]
    varied = vary(source, np.random.default_rng(3))
    assert {item.posture for item in varied.objects} <= {"sitting", "standing"} and varied.objects
    pasted = [item.posture for seed in range(6) for item in ComposedScenes([source]).sample(seed).objects]
    assert {"sitting", "standing"} <= set(pasted)
