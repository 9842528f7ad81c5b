"""Human expressions: what is read from them, what is refused, and that they are said only where they are true."""

import numpy as np
import pytest

from pbrec_hf.data.scenes.objects import SceneObject
from pbrec_hf.data.scenes.reading import HumanExpressions, read_expression
from pbrec_hf.small.colors import COLOR_NAMES

SIZE = (200, 400)


@pytest.mark.parametrize(
    ("text", "noun", "attributes", "places"),
    [
        ("guy on far right", "guy", (), (("far side", False),)),
        ("2nd giraffe from left", "giraffe", (), (("nth", 2, True),)),
        ("lady in white jacket left", "lady", (("colored", "white", "upper"),), (("side", "x", True),)),
        ("black car close to you", "car", (("colored", "black", "whole"),), (("near", True),)),
        ("the man in white holding a red frisbee", "man", (("holding", "frisbee"),), ()),
        ("red umbrella top right corner", "umbrella", (("colored", "red", "whole"),), (("corner", False, True),)),
        ("chair to the left of the table", "chair", (("left of", "table"),), ()),
        ("biggest brocolli", "brocolli", (), (("big", True),)),
        ("person in green pants", "person", (("colored", "green", "lower"),), ()),
        ("the guy with glasses", "guy", (), ()),
    ],
)
def test_reading(text, noun, attributes, places):
    reading = read_expression(text)
    assert (reading.text, reading.noun) == (text, noun)
    assert set(attributes) <= set(reading.attributes)
    assert reading.places == places


@pytest.mark.parametrize(
    "text",
    [
        "",
        "left",
        "man's hat",
        "not the dog",
        "part of the table",
        "bike tire",
        "two men",
        "the reflection",
        "zebra head",
    ],
)
def test_what_cannot_be_told_true_is_not_read(text):
    assert read_expression(text) is None


def item(category, x, color):
    shares = np.zeros(len(COLOR_NAMES), dtype=np.float32)
    shares[COLOR_NAMES.index(color)] = 1
    return SceneObject(category, (x, 40, x + 60, 160), colors=dict.fromkeys(("whole", "upper", "lower"), shares))


def test_they_are_said_of_the_one_object_that_they_fit():
    objects = [item("dog", 10, "black"), item("dog", 150, "white"), item("cat", 300, "black")]
    texts = {"dog on left": 0, "white dog with its mouth open": 1, "the black cat": 2, "the cat on the right": 2}
    human = HumanExpressions([*texts, "the dog", "brown dog", "horse"])
    found = human.about(objects, SIZE, np.random.default_rng(0), count=20, attempts=40)
    assert {expression.text: expression.targets[0] for expression in found} == texts
    assert {expression.kind for expression in found} == {"human"}


def test_texts_kept_for_evaluation_are_left_out():
    human = HumanExpressions(["dog on left", "The Cat"], exclude=["the cat"])
    assert (human.count, [reading.text for reading in human.readings]) == (1, ["dog on left"])
