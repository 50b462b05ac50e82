"""Texts to blocks: nothing is lost, nothing counts twice, words stay words."""

import itertools

import numpy as np
import pytest

from ptm.data.examples import Examples
from ptm.errors import DataError, ModelError
from ptm.text import scratch
from ptm.text.blocks import SPECIAL, ends_of, make_blocks
from tiny.samples import sentences

TEXTS = [text for text, _ in sentences(40, 3)] + ["naïve films – ☃ 日本", "a"]


@pytest.fixture(scope="module")
def bert():
    return scratch.train_tokenizer(TEXTS, 140, **scratch.TOKENIZERS["bert"])


@pytest.fixture(scope="module")
def gpt2():
    return scratch.train_tokenizer(TEXTS, 290, **scratch.TOKENIZERS["gpt2"])


def examples(texts):
    return Examples({"text": texts}, None, lambda row: f"file.txt:{row + 1}")


def blocks_of(tokenizer, texts=TEXTS, max_length=16, **how):
    blocks = make_blocks(tokenizer, examples(texts), max_length, **how)
    starts = blocks.tokens.starts
    cut = [slice(a, b) for a, b in itertools.pairwise(starts)]
    return blocks, [blocks.tokens.ids[s].tolist() for s in cut], [blocks.words[s].tolist() for s in cut]


def plain(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.slow
def test_packed_blocks_of_an_encoder_hold_all_texts_in_order(bert):
    blocks, rows, _ = blocks_of(bert, pack=True, overlap=False)
    stream = [token for text in TEXTS for token in [*plain(bert, text), bert.sep_token_id]]
    assert all(row[0] == bert.cls_token_id for row in rows)
    assert {len(row) for row in rows[:-1]} == {16}
    assert [token for row in rows for token in row[1:]] == stream[: sum(len(row) - 1 for row in rows)]
    assert len(stream) - sum(len(row) - 1 for row in rows) in (0, 1)  # an end token alone makes no block
    assert blocks.text_bytes == sum(len(text.encode()) for text in TEXTS)
    assert blocks.tokens.cut == 0


def test_a_last_block_without_a_word_is_left_out(bert):
    text = "the film was good " * 10
    length = len(plain(bert, text))
    whole, *rest = blocks_of(bert, [text], max_length=length + 1, pack=True, overlap=False)[1]
    assert whole == [bert.cls_token_id, *plain(bert, text)]
    assert rest == []


def test_packed_blocks_of_a_decoder_predict_every_token_once(gpt2):
    _, rows, _ = blocks_of(gpt2, pack=True, overlap=True)
    end = gpt2.eos_token_id
    stream = [token for text in TEXTS for token in [*plain(gpt2, text), end]]
    assert rows[0][0] == end
    assert [token for row in rows for token in row[1:]] == stream
    assert all(a[-1] == b[0] for a, b in itertools.pairwise(rows))
    assert {len(row) for row in rows[:-1]} == {16}


def test_a_text_each_when_not_packed(bert, gpt2):
    texts = ["the film was good", "really " * 40, "a"]
    _, rows, _ = blocks_of(bert, texts, pack=False, overlap=False)
    assert rows == bert(texts, truncation=True, max_length=16)["input_ids"]
    blocks, rows, _ = blocks_of(gpt2, texts, pack=False, overlap=True)
    end = gpt2.eos_token_id
    assert rows[0] == [end, *plain(gpt2, texts[0]), end]
    assert rows[1] == [end, *plain(gpt2, texts[1])[:15]]  # the text does not end there
    assert blocks.tokens.cut == 1
    assert blocks.rows.tolist() == [0, 1, 2]


def test_bytes_of_cut_texts_are_those_of_the_tokens_that_are_left(gpt2):
    text = "ünï cödé ☃ and more words than there is room for, really really really"
    blocks, rows, _ = blocks_of(gpt2, [text], pack=False, overlap=True)
    assert blocks.text_bytes == len(gpt2.decode(rows[0][1:]).encode())
    whole, _, _ = blocks_of(gpt2, [text], max_length=200, pack=False, overlap=True)
    assert whole.text_bytes == len(text.encode())


@pytest.mark.parametrize("pack", [True, False])
def test_words_are_those_of_the_tokenizer(bert, pack):
    _, rows, words = blocks_of(bert, ["dreadful films", "dreadful"], pack=pack, overlap=False)
    tokens = [token for row in rows for token in row]
    numbers = [word for row in words for word in row]
    assert all(
        (word == SPECIAL) == (token in bert.all_special_ids)
        for token, word in zip(tokens, numbers, strict=True)
    )
    pieces = [len(plain(bert, word)) for word in ("dreadful", "films", "dreadful")]
    found = [
        sum(word == number for word in numbers) for number in dict.fromkeys(numbers) if number != SPECIAL
    ]
    assert found == pieces
    assert max(pieces) > 1


def test_special_tokens_written_in_a_text_are_no_words(bert):
    _, rows, words = blocks_of(bert, ["the [SEP] film [MASK]"], pack=False, overlap=False)
    assert rows[0].count(bert.sep_token_id) == 2
    assert [w == SPECIAL for w in words[0]] == [t in bert.all_special_ids for t in rows[0]]


def test_rows_say_where_a_block_begins(gpt2):
    blocks, rows, _ = blocks_of(gpt2, pack=True, overlap=True)
    lengths = [len(plain(gpt2, text)) + 1 for text in TEXTS]
    ends = np.cumsum(lengths)
    first = np.cumsum([0, *(len(row) - 1 for row in rows[:-1])])
    assert blocks.rows.tolist() == [int(np.searchsorted(ends, place, side="right")) for place in first]


def test_rows_without_a_text_are_named(bert):
    with pytest.raises(DataError, match=r"file\.txt:2: no text here"):
        make_blocks(bert, examples(["good", ""]), 16, pack=True, overlap=False)


def test_a_tokenizer_that_ends_no_text_is_refused(bert):
    bare = scratch.train_tokenizer(TEXTS, 280, "bpe", lowercase=False, special={"pad_token": "<pad>"})
    with pytest.raises(ModelError, match="no token that ends a text"):
        ends_of(bare)
    assert ends_of(bert).begin == bert.cls_token_id
