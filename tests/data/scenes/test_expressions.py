"""Generated expressions: true of exactly one object, deterministic, in people's words."""

import numpy as np
import pytest
from scene_things import SIZE, thing

from pbrec_hf.data.scenes.expressions import generate_expressions
from pbrec_hf.data.scenes.objects import SceneObject, with_colors
from pbrec_hf.data.scenes.predicates import Layout, Truth, extreme, middle
from pbrec_hf.data.scenes.selectors import mirror_text
from pbrec_hf.small.colors import COLOR_NAMES


@pytest.fixture
def people():
    return [
        thing("person", 10, 100, 60, 250, "red"),
        thing("person", 150, 100, 200, 250, "blue"),
        thing("person", 320, 100, 370, 250, "green"),
        thing("dog", 210, 200, 260, 250, "brown"),
    ]


def texts_of(objects, target, seeds=60, complete=True):
    found = set()
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        for expression in generate_expressions(objects, SIZE, rng, count=10, complete=complete):
            if expression.targets == (target,):
                found.add(expression.text)
    return found


def test_the_same_generator_gives_the_same_expressions(people):
    first, second = (generate_expressions(people, SIZE, np.random.default_rng(3), count=12) for _ in range(2))
    assert first == second
    assert len({expression.text for expression in first}) == len(first) == 12


def test_sides_ordinals_colors_and_relations_name_the_right_person(people):
    left, center, right = (texts_of(people, target) for target in range(3))
    assert any(text.endswith(" on left") for text in left) and any(text.startswith("left ") for text in left)
    assert any(text.startswith("right ") for text in right)
    assert not any(text.startswith("left ") for text in right | center if "of" not in text)
    assert any(text.startswith("middle ") for text in center)
    assert any("in red" in text for text in left)
    assert not any("in red" in text and "not" not in text for text in center | right)
    assert any("dog" in text for text in center)
    assert any("second" in text for text in center)
    assert not any("second" in text for text in left)


def test_what_fits_two_objects_is_not_said():
    twins = [thing("cat", 100, 100, 150, 150), thing("cat", 104, 102, 154, 152)]
    assert generate_expressions(twins, SIZE, np.random.default_rng(0), count=10) == []


def test_vague_objects_are_no_targets_and_block_what_may_mean_them(people):
    crowd = [*people[:1], thing("person", 100, 100, 300, 250, vague=True)]
    targets = set()
    for seed in range(40):
        for expression in generate_expressions(crowd, SIZE, np.random.default_rng(seed), count=5):
            targets.update(expression.targets)
            assert expression.text not in ("man", "the man", "person")
    assert targets == {0}


def test_incomplete_annotation_allows_no_hypernyms_and_no_absence(people):
    texts = texts_of(people, 3, complete=False)
    assert "dog" in texts
    assert not any("animal" in text or "thing" in text or "without" in text for text in texts)


def test_selectors_need_a_margin_and_middle_an_odd_number():
    base = Truth(np.ones(3, dtype=bool), np.ones(3, dtype=bool))
    values = np.array([0.1, 0.12, 0.9])
    assert extreme(values, 0.05)(base).only() is None
    assert extreme(-values, 0.05)(base).only() == 2
    assert extreme(np.array([0.1, 0.5, 0.9]), 0.05, rank=2)(base).only() == 1
    assert middle(np.array([0.1, 0.5, 0.9]), 0.05)(base).only() == 1


def test_negation_keeps_the_unclear_unclear():
    truth = Truth(np.array([True, False, False]), np.array([True, True, False]))
    assert (~truth).sure.tolist() == [False, False, True]
    assert (~truth).possible.tolist() == [False, True, True]


def test_relations_between_boxes():
    layout = Layout([thing("cup", 100, 60, 130, 100), thing("dining table", 50, 90, 350, 250)], SIZE)
    tables = layout.categories(frozenset(["dining table"]))
    assert layout.on(tables).sure.tolist() == [True, False]
    row = Layout([thing("dog", 10, 100, 60, 150), thing("cat", 100, 100, 150, 150)], SIZE)
    cats = row.categories(frozenset(["cat"]))
    assert row.left_of(cats).sure.tolist() == [True, False]
    assert row.left_of(cats, mirrored=True).possible.tolist() == [False, False]


def test_mirrored_text_swaps_whole_words_only():
    assert mirror_text("leftmost man left of the right bright car") == "rightmost man right of the left bright car"
    assert mirror_text("upright leftover") == "upright leftover"


def test_colors_are_measured_inside_the_mask():
    image = np.zeros((100, 100, 3), dtype=np.uint8)
    image[20:80, 20:50] = (220, 20, 20)
    mask = np.zeros((100, 100), dtype=bool)
    mask[20:80, 20:50] = True
    item = with_colors(SceneObject("car", (20, 20, 80, 80), mask), image)
    assert item.colors["whole"][COLOR_NAMES.index("red")] == pytest.approx(1)
