"""Lists of words to tokens: where each word begins, what is cut, what makes no token."""

from types import SimpleNamespace

import numpy as np
import pytest
from transformers import AutoTokenizer

from ptm.data.examples import Examples
from ptm.errors import DataError, ModelError
from ptm.text.words import tokenize_words


@pytest.fixture(scope="module")
def tokenizer(tiny_bert):
    return AutoTokenizer.from_pretrained(tiny_bert)


def tokens(tokenizer, *sentences, max_length=64):
    examples = Examples({"words": list(sentences)}, None, lambda row: f"a.json:{row + 1}")
    return tokenize_words(tokenizer, examples, max_length)


def test_a_word_is_numbered_at_its_first_token(tokenizer):
    made = tokens(tokenizer, ["the", "xyz", "film"], ["good"])
    assert tokenizer.convert_ids_to_tokens(made.ids.tolist()) == [
        "[CLS]", "the", "x", "##y", "##z", "film", "[SEP]", "[CLS]", "good", "[SEP]",
    ]  # fmt: skip
    assert made.words.tolist() == [-1, 0, 1, -1, -1, 2, -1, -1, 0, -1]
    assert made.lengths.tolist() == [7, 3] and len(made) == 2
    assert (made.count, made.cut, made.unseen) == (4, 0, 0)


def test_the_same_word_twice_is_two_words(tokenizer):
    assert tokens(tokenizer, ["the", "the"]).words.tolist() == [-1, 0, 1, -1]


def test_words_beyond_the_longest_text_are_counted(tokenizer):
    made = tokens(tokenizer, ["the", "xyz", "film"], ["good"], max_length=4)
    assert made.words.tolist() == [-1, 0, 1, -1, -1, 0, -1]
    facts = made.describe()
    assert (facts["words"], facts["words_cut_off"], facts["words_without_token"]) == (4, 1, 0)
    assert facts["cut_to_max_length"] == 1
    assert tokenizer.backend_tokenizer.truncation is None  # or it would be saved with the model


def test_words_without_a_token_are_counted_and_keep_the_numbers_of_the_others(tokenizer):
    made = tokens(tokenizer, ["the", "\u200b", "film"])
    assert made.words.tolist() == [-1, 0, 2, -1] and made.unseen == 1
    with pytest.raises(DataError, match="makes no token") as caught:
        tokens(tokenizer, ["the"], ["\u0301"])
    assert caught.value.problems[0].where == "a.json:2"


def test_values_beside_tokens_are_padded_by_row(tokenizer):
    made = tokens(tokenizer, ["the", "film"], ["good"], ["a", "film", "."])
    padded = made.pad(np.array([1, 0]), made.words, -100)
    assert padded.tolist() == [[-1, 0, -1, -100], [-1, 0, 1, -1]] and padded.dtype == np.int64


def test_what_is_no_list_of_words_is_refused_by_row(tokenizer):
    with pytest.raises(DataError, match="the words are 'a b'") as caught:
        tokens(tokenizer, ["a"], "a b", [])
    assert [p.where for p in caught.value.problems] == ["a.json:2", "a.json:3"]


def test_a_slow_tokenizer_does_not_tell_which_word_a_token_is_of():
    with pytest.raises(ModelError, match="which token belongs to which word"):
        tokens(SimpleNamespace(is_fast=False), ["a"])
