"""Every accepted form of expressions becomes one list per picture; the rest is refused with the picture's number."""

import pytest
from checkpoints import WORDS, tiny_processor

from pbrec_hf.comprehension.expressions import as_groups, is_nested, tokenize


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


def ids(*words):
    return [WORDS.index(word) for word in words]


def test_tokens_are_words_between_their_frame_and_padded_to_the_longest():
    tokens = tokenize(tiny_processor().tokenizer, ["the red dog", "cat", "the [MASK]"], max_length=8)
    frame = ("[CLS]", "[SEP]")
    rows = [
        ids(frame[0], "the", "red", "dog", frame[1]),
        ids(frame[0], "cat", frame[1]),
        ids(frame[0], "the", "[UNK]", "[UNK]", "[UNK]", frame[1]),  # a word and two brackets, no mask
    ]
    assert tokens["input_ids"].tolist() == [row + [0] * (6 - len(row)) for row in rows]
    assert tokens["attention_mask"].tolist() == [[1] * len(row) + [0] * (6 - len(row)) for row in rows]
    assert list(tokens) == ["input_ids", "attention_mask"]
    cut = tokenize(tiny_processor().tokenizer, ["the red dog"], max_length=4)
    assert cut["input_ids"].tolist() == [ids(frame[0], "the", "red", frame[1])]


def test_every_half_of_a_surrogate_pair_is_refused_and_its_neighbours_are_not():
    tokenizer = tiny_processor().tokenizer
    for half in ("\ud800", "\udbff", "\udc80", "\udfff"):
        with pytest.raises(ValueError, match="half of a surrogate pair"):
            tokenize(tokenizer, ["a dog", f"a {half}"], max_length=8)
    tokenize(tokenizer, ["\ud7ff", "\ue000", "\U0001f415"], max_length=8)
