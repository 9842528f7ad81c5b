"""Expressions for several objects and for none: clear of every object, deterministic, in people's words."""

import numpy as np
import pytest
from scene_things import SIZE, thing

from pbrec_hf.data.scenes.absent import generate_absent
from pbrec_hf.data.scenes.plural_words import in_plural, plural
from pbrec_hf.data.scenes.plurals import generate_plurals
from pbrec_hf.data.scenes.words import CATEGORIES_OF, NOUNS


@pytest.fixture
def street():
    return [
        thing("person", 10, 100, 60, 250, "red"),
        thing("person", 110, 100, 160, 250, "blue"),
        thing("person", 330, 100, 380, 250, "red"),
        thing("dog", 205, 200, 255, 250, "brown"),
        thing("dog", 270, 200, 320, 250, "black"),
    ]


def said_of(make, objects, seeds=150, complete=True):
    """All texts with what they mean."""
    found = {}
    for seed in range(seeds):
        for said in make(objects, SIZE, np.random.default_rng(seed), count=8, complete=complete):
            assert found.setdefault(said.text, said.targets) == said.targets, said
    return found


def test_the_same_generator_gives_the_same_expressions(street):
    for make in (generate_plurals, generate_absent):
        first, second = (make(street, SIZE, np.random.default_rng(3), count=6) for _ in range(2))
        assert first == second
        assert len({said.text for said in first}) == len(first) == 6


def test_plurals_mean_what_they_say(street):
    found = said_of(generate_plurals, street)
    meant = {
        "both dogs": (3, 4), "all the dogs": (3, 4), "dogs": (3, 4), "everyone": (0, 1, 2),
        "all the people": (0, 1, 2),
        "the three people": (0, 1, 2), "people in red": (0, 2), "the two people on the left": (0, 1),
    }  # fmt: skip
    assert {text: found.get(text) for text in meant} == meant
    assert all(2 <= len(targets) <= 8 for targets in found.values())
    kinds = {category: {i for i, item in enumerate(street) if item.category == category} for category in NOUNS}
    for text, targets in found.items():
        words = set(text.split())
        if {"dogs", "puppies"} & words and not {"and", ","} & words and len(words) <= 3:
            assert set(targets) <= kinds["dog"], text
        if "except" in words or "but" in words:
            assert len(targets) in (2, 4), text
        if "three" in words:
            assert len(targets) == 3, text


def test_two_things_are_joined_and_one_is_left_out(street):
    found = said_of(generate_plurals, street)
    joined = {text: targets for text, targets in found.items() if " and " in text and "dog" in text.split(" and ")[1]}
    assert any(len(targets) == 2 and targets[0] < 3 <= targets[1] for targets in joined.values())
    left_out = {
        text: targets for text, targets in found.items() if text.startswith(("everyone except", "everyone but"))
    }
    assert left_out and all(set(targets) < {0, 1, 2} and len(targets) == 2 for targets in left_out.values())


def test_what_is_unclear_of_one_object_is_not_said_of_several(street):
    crowd = [*street, thing("person", 60, 50, 120, 250, vague=True)]
    found = said_of(generate_plurals, crowd, seeds=60)
    assert all(set(targets) & {0, 1, 2} == set() or "and" in text or "," in text for text, targets in found.items())
    assert "both dogs" in found


def test_one_object_is_not_several():
    assert said_of(generate_plurals, [thing("cat", 100, 100, 150, 150)], seeds=10) == {}


def test_absent_expressions_name_what_is_not_there(street):
    found = said_of(generate_absent, street)
    assert set(found.values()) == {()}
    assert {"nobody", "no one"} <= found.keys()
    nouns = {noun for noun, of in CATEGORIES_OF.items() if of & {"person", "dog"}}
    for text in found:
        # A noun alone is not there; what is there is not like that.
        noun = text.removeprefix("the ").removeprefix("an ").removeprefix("a ")
        assert noun not in nouns, text
        assert not text.endswith(("man in red", "man in blue", "brown dog", "black dog", "dog on the right")), text
    assert any(text.split()[-1] in nouns and text.split()[0] in ("green", "pink", "yellow") for text in found)
    assert any("third" in text or "3rd" in text for text in found)


def test_of_an_incomplete_picture_only_nobody_is_absent(street):
    found = said_of(generate_absent, street, complete=False)
    words = {"nobody", "nothing", "no", "none", "not"}
    assert found and all(words & set(text.split()) for text in found)


@pytest.mark.parametrize(
    ("one", "several"),
    [
        ("man", "men"), ("old man", "old men"), ("bus", "buses"), ("wine glass", "wine glasses"), ("puppy", "puppies"),
        ("slice of pizza", "slices of pizza"), ("knife", "knives"), ("sheep", "sheep"), ("toothbrush", "toothbrushes"),
        ("boy", "boys"), ("sandwich", "sandwiches"), ("young man", "young men"),
        ("pair of scissors", "pairs of scissors"),
    ],
)  # fmt: skip
def test_plural_nouns(one, several):
    assert plural(one) == several


def test_verbs_agree():
    assert in_plural("{n} that is red") == "{n} that are red"
    assert in_plural("{n} that does not have {m}") == "{n} that do not have {m}"
    assert in_plural("{n} on this") == "{n} on this"
