"""Words that a model cannot read are told from those that it can."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from checkpoints import tiny_processor
from transformers import AutoTokenizer

from pbrec_hf.comprehension.expressions import tokenize
from pbrec_hf.comprehension.unread import read_expressions, unread_words, words_of
from pbrec_hf.hub.bundled import bundled_checkpoint


def unread(expressions, known=None):
    tokenizer = tiny_processor().tokenizer
    tokens = tokenize(tokenizer, expressions, max_length=16)
    return unread_words(tokenizer, expressions, tokens["input_ids"], known)


def test_words_and_signs_are_told_apart():
    assert words_of("the dog's 2nd ball, left 🐕‍🦺!") == ["the", "dog", "'", "s", "2nd", "ball", ",", "left", "🐕‍🦺!"]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("the red dog", []),
        ("the 🐕 dog", ["🐕"]),
        ("собака", ["собака"]),
        ("the zebra left of the quokka", ["zebra", "quokka"]),
    ],
)
def test_what_the_tokenizer_does_not_know_is_unread(expression, words):
    found = unread(["the dog", expression])
    assert found[0] == []
    assert [word for word in found[1] if word not in ("of",)] == words


def test_spelled_words_are_read_if_the_model_was_trained_with_them():
    tokenizer = AutoTokenizer.from_pretrained(bundled_checkpoint())
    expressions = ["both zebras left of the Kangaroos", "dogs 12345"]
    tokens = tokenize(tokenizer, expressions, max_length=32)["input_ids"]
    assert unread_words(tokenizer, expressions, tokens, known=frozenset(["zebras"])) == [["Kangaroos"], []]
    assert unread_words(tokenizer, expressions, tokens) == [[], []]


def test_only_what_was_cut_is_reported_as_cut(caplog):
    expressions = ["the dog", "the red dog", "the red dog on the left", "girl"]
    read = read_expressions(tiny_processor().tokenizer, expressions, max_length=5)
    assert read["truncated"].tolist() == [False, False, True, False]
    assert [record.getMessage() for record in caplog.records] == [
        "Expression 'the red dog on the left'… has 8 tokens; only the first 5 are read. Shorten it, or raise "
        "`max_text_length` if the model was trained with more."
    ]


def test_each_unread_word_is_told_once(caplog):
    expressions = ["the dog", "the okapi", "okapi", "okapi 🦫"]
    for _ in range(2):
        read = read_expressions(tiny_processor().tokenizer, expressions, max_length=8)
    assert read["unread"] == [[], ["okapi"], ["okapi"], ["okapi", "🦫"]]
    assert read["readable"].tolist() == [True, True, False, False]
    assert [record.getMessage().split()[0] for record in caplog.records] == ["'okapi'", "'🦫'"]


def test_threads_read_with_padding_of_their_own():
    tokenizer = tiny_processor().tokenizer
    short, long = ["left dog"], ["the left dog on the right", "cat", "a red car on the left dog"]
    expected = [read_expressions(tokenizer, texts, max_length=6) for texts in (short, long)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(
                pool.map(lambda n: read_expressions(tokenizer, (short, long)[n % 2], max_length=6), range(400))
            )
    finally:
        sys.setswitchinterval(interval)
    for number, read in enumerate(found):
        wanted = expected[number % 2]
        assert all(torch.equal(read[name], wanted[name]) for name in ("input_ids", "attention_mask", "truncated"))
        assert read["unread"] == wanted["unread"]
