"""The campaign's own machinery, on families of which it is known what is wrong with them."""

import os
import time

import pytest

from campaign.family import Case, Family, generator
from campaign.mutations import WRONG_VALUES, damage_bytes, damage_json, draw_bytes, draw_json
from campaign.outcome import ANSWERED, REFUSED, WRONG, answered, judge, wrong
from campaign.runner import smallest
from campaign.worker import Worker


class Toy(Family):
    """The subject says what a case does."""

    seconds = 1.0
    memory = 200 * 2**20

    @staticmethod
    def draw(rng):
        return Case("adds", tuple(("add", int(number)) for number in rng.integers(0, 10, 6)))

    def run(self, case):
        if case.subject == "sleeps":
            time.sleep(60)
        elif case.subject == "ends":
            os._exit(3)
        elif case.subject == "raises":
            raise RuntimeError("a fault of the family")
        elif case.subject == "fills":
            self.kept = [bytes(b"x" * 2**20) for _ in range(2000)]
        return wrong("a 7") if ("add", 7) in case.steps else answered()


@pytest.fixture(scope="module")
def worker():
    with Worker(Toy) as worker:
        yield worker


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        ("sleeps", "no answer after 1 s"),
        ("ends", "the process ended with 3"),
        ("raises", "a fault of the family"),
        ("fills", "more than 200 MiB"),
    ],
)
def test_what_ends_freezes_or_fills_its_process_is_wrong_and_the_next_case_runs(worker, subject, told):
    outcome = worker.run(Case(subject))
    assert outcome.kind == WRONG and told in outcome.reason
    assert worker.run(Case("adds")).kind == ANSWERED


def test_the_smallest_case_has_only_the_steps_that_matter(worker):
    case = Case("adds", tuple(("add", number) for number in range(12)))
    assert smallest(worker, case, "a 7") == (Case("adds", (("add", 7),)), "a 7")


def test_a_case_depends_on_seed_family_and_number_alone():
    drawn = [Toy.draw(generator(*key)) for key in ((0, "toy", 5), (0, "toy", 5), (1, "toy", 5), (0, "toy", 6))]
    assert drawn[0] == drawn[1] and len(set(drawn)) == 3


def failing(error):
    def call():
        raise error

    return call


def test_errors_are_told_from_refusals():
    def kind(call, check=lambda answer: None, **names):
        return judge(call, check, **names).kind

    assert kind(lambda: 3) == ANSWERED
    assert kind(lambda: 3, lambda answer: f"{answer} instead of 4") == WRONG
    assert kind(failing(ValueError("size=7: give 8")), names=["size"]) == REFUSED
    assert kind(failing(ValueError("give 8")), names=["size"]) == WRONG
    for raw in (KeyError("size"), RuntimeError("size"), OverflowError("size"), MemoryError("size"), OSError("")):
        assert kind(failing(raw), names=["size"]) == WRONG


def test_damage_is_the_same_for_the_same_steps():
    rng, data = generator(0, "bytes", 0), bytes(range(200))
    steps = [draw_bytes(rng, len(data)) for _ in range(50)]
    assert [damage_bytes(data, one) for one in steps] == [damage_bytes(data, one) for one in steps]
    assert sum(damage_bytes(data, one) != data for one in steps) > 45
    value = {"a": [1, {"b": 2}], "c": "x"}
    for _ in range(50):
        step = draw_json(rng, value, WRONG_VALUES)
        assert damage_json(value, step) is not value and value == {"a": [1, {"b": 2}], "c": "x"}
    assert damage_json(value, ("set", ("a", 1, "b"), 9)) == {"a": [1, {"b": 9}], "c": "x"}
    assert damage_json(value, ("set", ("no", "where"), 9)) == value
