"""Long texts in pieces: the same tokens, the same words."""

import numpy as np
import pytest

from ptm.data.examples import Examples
from ptm.text import scratch
from ptm.text.blocks import make_blocks
from ptm.text.pieces import beginning, in_batches, in_pieces, whole_texts
from ptm.text.tokens import tokenize
from tiny.samples import sentences

TEXTS = [text for text, _ in sentences(40, 3)] + ["na\u00efve  films \u2013 \u2603 \u65e5\u672c, don't!", "a"]
LONG = "\t".join(TEXTS) + "  " + " ".join(reversed(TEXTS))


@pytest.fixture(scope="module", params=["bert", "gpt2"])
def tokenizer(request):
    size = {"bert": 140, "gpt2": 290}[request.param]
    return scratch.train_tokenizer(TEXTS, size, **scratch.TOKENIZERS[request.param])


def plain(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("most", [40, 97, 400])
def test_pieces_have_the_tokens_of_the_whole(tokenizer, most):
    pieces = list(in_pieces(tokenizer, LONG, most))
    assert "".join(pieces) == LONG
    assert len(pieces) > 2 and max(map(len, pieces)) <= most
    assert [token for piece in pieces for token in plain(tokenizer, piece)] == plain(tokenizer, LONG)


def test_what_has_no_place_to_cut_stays_whole(tokenizer):
    assert list(in_pieces(tokenizer, "a" * 300, 100)) == ["a" * 300]
    assert list(in_pieces(tokenizer, "short", 100)) == ["short"]


def test_batches_hold_all_in_order_and_are_bounded(tokenizer):
    texts = [LONG, *TEXTS, LONG]
    batches = list(in_batches(tokenizer, texts, most=300, at_once=900))
    assert max(sum(len(piece) for _, piece in batch) for batch in batches) <= 900
    rows = [row for batch in batches for row, _ in batch]
    assert rows == sorted(rows)
    joined = [""] * len(texts)
    for row, piece in (entry for batch in batches for entry in batch):
        joined[row] += piece
    assert joined == texts


def test_of_what_is_cut_the_beginning_is_enough(tokenizer):
    short = beginning(tokenizer, LONG, 16, most=200)
    assert len(short) <= 200 and plain(tokenizer, short)[:16] == plain(tokenizer, LONG)[:16]
    assert beginning(tokenizer, LONG, 10_000, most=200) == LONG  # a piece has not so many


def test_texts_in_pieces_have_special_tokens_at_their_ends_alone(tokenizer):
    texts = [*TEXTS, LONG, "a"]
    made = list(whole_texts(tokenizer, texts, most=100, at_once=250))
    whole = list(whole_texts(tokenizer, texts))
    assert len(made) == len(whole) == len(texts)
    for (ids, special), (ids_of_whole, special_of_whole) in zip(made, whole, strict=True):
        assert np.array_equal(ids, ids_of_whole) and np.array_equal(special, special_of_whole)
    assert whole[-2][0].tolist() == tokenizer(LONG)["input_ids"]


@pytest.mark.parametrize("pack", [True, False])
def test_blocks_and_tokens_of_long_texts_are_as_they_were(tokenizer, pack, monkeypatch):
    def made():
        examples = Examples({"text": [LONG, *TEXTS]}, None, str)
        blocks = make_blocks(tokenizer, examples, 64, pack=pack, overlap=not pack)
        return blocks, tokenize(tokenizer, examples, 16, segments=False)

    whole_blocks, whole = made()
    monkeypatch.setattr(
        "ptm.text.blocks.in_batches", lambda *words: in_batches(*words, most=100, at_once=300)
    )
    monkeypatch.setattr("ptm.text.tokens.beginning", lambda *words: beginning(*words, most=200))
    blocks, tokens = made()
    assert np.array_equal(blocks.tokens.ids, whole_blocks.tokens.ids)
    assert np.array_equal(np.diff(blocks.words) == 0, np.diff(whole_blocks.words) == 0)
    assert (blocks.text_bytes, blocks.texts) == (whole_blocks.text_bytes, whole_blocks.texts)
    assert np.array_equal(tokens.ids, whole.ids) and tokens.cut == whole.cut
