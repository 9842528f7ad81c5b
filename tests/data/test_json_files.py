"""JSON of foreign files: one kind of error for everything that is wrong with it."""

import pytest

from pbrec_hf.data.json_files import JsonError, parse_json


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value at column 1"),
        ('{"a": 1,\n"b"}', "at line 2, column 4"),
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        ("9" * 5000, "a number of 5000 digits"),
        ("[-" + "9" * 5000 + "]", "a number of 5001 digits"),
        ('{"a": 1, "b": {"c": 1, "d": 2, "c": 3}}', "the name 'c' is given twice"),
    ],
)
def test_what_is_no_json(text, reason):
    with pytest.raises(JsonError, match=reason):
        parse_json(text)


def test_objects_go_through_the_hook_innermost_first():
    seen = []
    assert parse_json('{"a": {"b": [1, 2.5, null]}}', lambda record: seen.append(record) or "x") == "x"
    assert seen == [{"b": [1, 2.5, None]}, {"a": "x"}]


def test_an_error_of_the_hook_is_its_own():
    def refuse(record):
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match=r"^no such thing$") as error:
        parse_json("{}", refuse)
    assert not isinstance(error.value, JsonError)
