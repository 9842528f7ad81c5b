"""Values of foreign files: which are taken, and that messages stay short whatever they show."""

import tracemalloc

import pytest

from pbrec_hf.data.values import can_be_stored, field_of, identifier, is_number, shown, whole_number


def doubled(depth):
    value = [0]
    for _ in range(depth):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, 2.5, "a"], "[1, 2.5, 'a']"),
        ({"a": None, "b": {"c": [1]}}, "{'a': None, 'b': {'c': [1]}}"),
        ("dog \ud83d", r"'dog \ud83d'"),
        (True, "True"),
        ([10**5000], "[a number of about 5000 digits]"),
    ],
)
def test_small_values_are_shown_as_they_are(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    "value",
    [
        doubled(500),
        {"a": doubled(500), (1,): dict.fromkeys(range(10**6))},
        (doubled(500),) * 1000,
        "x" * 10**6,
        b"x" * 10**6,
        set(range(10**6)),
        frozenset(range(10**6)),
    ],
)
def test_large_values_are_shown_in_little_memory(value):
    tracemalloc.start()
    try:
        assert len(shown(value)) <= 80
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("value", "number"), [(7, 7), (-7.0, -7), ("12", 12), ("12.0", 12), (2**63 - 1, 2**63 - 1)])
def test_whole_numbers(value, number):
    found = whole_number(value)
    assert found == number and type(found) is int


@pytest.mark.parametrize(
    "value", [True, 1.5, float("inf"), float("nan"), "1.5", "٣", "", "1" * 5000, 2**63, None, [1]]
)
def test_other_values_are_no_whole_numbers(value):
    with pytest.raises(ValueError, match="give a whole number of 64 bits"):
        whole_number(value)


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("-inf"), 10**309, -(10**309)])
def test_what_is_no_finite_number(value):
    assert not is_number(value)


def test_finite_numbers():
    assert all(map(is_number, (0, -1, 1.5, 10**300)))


def test_identifiers_are_numbers_or_texts():
    assert (identifier(3.0), identifier("3.0"), identifier("0017")) == (3, "3.0", "0017")
    for value in ("", "a\0", True, [], None):
        with pytest.raises(ValueError, match="give a number or a text"):
            identifier(value)


def test_what_can_be_stored():
    assert can_be_stored("naïve 🐕") and not can_be_stored("\0") and not can_be_stored("\ud83d")


def test_a_field_is_named_with_its_value():
    record = {"a": None, "b": "x"}
    assert field_of(record, "a", int, 3) == 3
    with pytest.raises(ValueError, match="it has no 'a'; add it"):
        field_of(record, "a", int)
    with pytest.raises(ValueError, match=r"^b='x': give a whole number"):
        field_of(record, "b", whole_number)
