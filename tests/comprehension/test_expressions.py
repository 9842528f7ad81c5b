"""Every accepted form of expressions becomes one list per picture; the rest is refused with the picture's number."""

import pytest

from pbrec_hf.comprehension.expressions import as_groups, is_nested


@pytest.mark.parametrize(
    ("text", "pictures", "nested", "expected"),
    [
        ("left dog", 1, False, [["left dog"]]),
        (["left dog", "cat"], 1, False, [["left dog", "cat"]]),
        (("left dog", "cat"), 2, False, [["left dog", "cat"]]),
        (["left dog", "cat"], 2, True, [["left dog"], ["cat"]]),
        ([["left dog", "cat"], "car"], 2, True, [["left dog", "cat"], ["car"]]),
        ("left dog", 1, True, [["left dog"]]),
    ],
)
def test_accepted_forms(text, pictures, nested, expected):
    assert as_groups(text, pictures, nested) == expected


@pytest.mark.parametrize(
    ("text", "pictures", "nested", "message"),
    [
        (["a", "b"], 1, True, "2 entries in `text` for 1 pictures"),
        (["a"], 2, True, "1 entries in `text` for 2 pictures"),
        ([], 1, False, "Picture 0 has no expression"),
        ([["a"], []], 2, True, "Picture 1 has no expression"),
        ([["a"], ["b", " \t"]], 2, True, r"An expression of picture 1 is ' \\t'"),
        ("", 1, False, "An expression of picture 0 is ''"),
        ("\u200b", 1, False, "An expression of picture 0 is"),
        (["a", 3], 1, False, "An expression of picture 0 is 3"),
        (None, 1, False, "An expression of picture 0 is None"),
    ],
)
def test_other_forms_are_refused(text, pictures, nested, message):
    with pytest.raises(ValueError, match=message):
        as_groups(text, pictures, nested)


def test_lists_inside_a_sequence_are_nested():
    assert is_nested([["a"], "b"]) and is_nested(("b", ("a",)))
    assert not is_nested(["a", "b"]) and not is_nested("ab") and not is_nested(3) and not is_nested([])
