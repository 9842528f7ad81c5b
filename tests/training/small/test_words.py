"""Words that a run has trained with are listed where the tokenizer spells them."""

from transformers import PreTrainedTokenizerFast

from pbrec_hf.hub.bundled import bundled_checkpoint
from pbrec_hf.training.small.words import spelled_words


def test_spelled_words_of_two_texts_are_listed():
    tokenizer = PreTrainedTokenizerFast.from_pretrained(bundled_checkpoint())
    texts = ["both zebras", "all Zebras, everybody", "everybody here", "kangaroo", "kangaroo", "2 dogs", "3 dogs"]
    assert spelled_words(tokenizer, texts) == ["everybody", "zebras"]
