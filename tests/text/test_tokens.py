"""Texts to tokens once: the same as the tokenizer would give for any batch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptm.data.examples import Examples
from ptm.errors import DataError
from ptm.text import tokens as module
from ptm.text.tokens import Tokens, tokenize, tokenizer_digest
from tiny.samples import WORDS, sentences

KINDS = ("tiny_bert", "tiny_distilbert", "tiny_roberta", "tiny_gpt2")
TEXTS = [text for text, _ in sentences(40, 5)] + ["zebra crossing, unknown words!", "good", "ΑΒΓ 漢字 🙂"]


def examples(texts, pairs=None):
    columns = {"text": texts} | ({} if pairs is None else {"text_pair": pairs})
    return Examples(columns, np.zeros(len(texts), dtype=np.int64), lambda row: f"row {row}")


def load(place):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


@pytest.fixture(params=KINDS)
def tokenizer(request):
    return load(request.getfixturevalue(request.param))


@pytest.fixture
def bert(tiny_bert):
    return load(tiny_bert)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("max_length", [8, 64])
def test_a_batch_is_what_the_tokenizer_gives(tokenizer, paired, max_length, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 7)
    pairs = TEXTS[::-1] if paired else None
    segments = "token_type_ids" in tokenizer.model_input_names
    found = tokenize(tokenizer, examples(TEXTS, pairs), max_length, segments=segments)
    for rows in (np.array([3]), np.array([40, 2, 41]), np.arange(len(TEXTS))):
        batch = found.pad(rows, tokenizer.pad_token_id)
        texts = [TEXTS[row] for row in rows]
        expected = tokenizer(
            texts,
            [pairs[row] for row in rows] if paired else None,
            truncation="longest_first",
            max_length=max_length,
            padding=True,
            return_tensors="pt",
        )
        assert torch.equal(batch["input_ids"], expected["input_ids"])
        if expected["attention_mask"].all():
            assert "attention_mask" not in batch
        else:
            assert torch.equal(batch["attention_mask"], expected["attention_mask"])
        assert ("token_type_ids" in batch) == (segments and paired)
        if segments and paired:
            assert torch.equal(batch["token_type_ids"], expected["token_type_ids"])


def test_texts_that_were_cut_are_counted(tokenizer):
    whole = tokenize(tokenizer, examples(TEXTS), 64, segments=False)
    assert whole.cut == 0
    limit = int(np.median(whole.lengths))
    part = tokenize(tokenizer, examples(TEXTS), limit, segments=False)
    assert part.cut == (whole.lengths > limit).sum() > 0
    assert part.lengths.tolist() == whole.lengths.clip(max=limit).tolist()


def test_of_pairs_the_longer_text_is_cut(bert):
    found = tokenize(bert, examples(["really " * 20], ["good film"]), 10, segments=True)
    words = bert.convert_ids_to_tokens(found.ids)
    assert words == ["[CLS]", *["really"] * 5, "[SEP]", "good", "film", "[SEP]"]
    assert found.types.tolist() == [0] * 7 + [1] * 3
    assert found.cut == 1


def test_a_tokenizer_is_left_as_it_was(tokenizer):
    before = tokenizer_digest(tokenizer)
    tokenize(tokenizer, examples(TEXTS), 8, segments=False)
    assert tokenizer.backend_tokenizer.truncation is None
    assert tokenizer.backend_tokenizer.padding is None
    tokenizer(TEXTS, truncation=True, max_length=5, padding="max_length")
    assert tokenizer_digest(tokenizer) == before
    again = tokenize(tokenizer, examples(TEXTS), 64, segments=False)
    assert again.cut == 0


def test_digests_tell_tokenizers_apart(request):
    digests = [tokenizer_digest(load(request.getfixturevalue(kind))) for kind in KINDS]
    assert digests[0] == digests[1]  # the same words, cut the same way
    assert len(set(digests)) == 3
    other = load(request.getfixturevalue("tiny_bert"))
    other.add_tokens(["new"])
    assert tokenizer_digest(other) != digests[0]


@given(
    st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=12), min_size=1, max_size=8),
    st.booleans(),
    st.data(),
)
def test_padding_keeps_every_token_in_its_place(rows, with_types, data):
    ids = np.array([t for row in rows for t in row], dtype=np.int32)
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    types = (ids % 2).astype(np.uint8) if with_types else None
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=8))
    batch = Tokens(ids, types, starts, 0).pad(np.array(chosen), 0)
    width = max(len(rows[i]) for i in chosen)
    for line, i in enumerate(chosen):
        row = rows[i] + [0] * (width - len(rows[i]))
        assert batch["input_ids"][line].tolist() == row
        if with_types:
            assert batch["token_type_ids"][line].tolist() == [t % 2 for t in row]
        mask = [int(t > 0) for t in row]
        assert batch.get("attention_mask", torch.ones(len(chosen), width))[line].tolist() == mask
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


@pytest.mark.parametrize("value", ["", "   ", None, 3, ["good"], b"good"])
def test_what_is_no_text_is_named(bert, value):
    texts = ["good", value, "bad", *[value] * 6]
    for columns in ((texts, None), (["good"] * 9, texts)):
        with pytest.raises(DataError) as caught:
            tokenize(bert, examples(*columns), 8, segments=True)
        problems = caught.value.problems
        assert [p.where for p in problems[:5]] == ["row 1", "row 3", "row 4", "row 5", "row 6"]
        assert problems[5].what == "and 2 more rows like these"
        assert ("text_pair" in problems[0].what) == (columns[1] is not None)


def test_a_text_without_any_token_is_named():
    """A byte-pair tokenizer that drops what it does not know, as some do."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    with pytest.raises(DataError, match="row 1: the tokenizer makes no token of this text"):
        tokenize(tokenizer, examples(["a a", "b"]), 8, segments=False)


@pytest.mark.slow
def test_many_texts_are_tokenised_fast(bert):
    """SST-2 has 67,349 sentences; a tenth of it must not take seconds, even on a busy machine."""
    import time

    texts = [" ".join(WORDS[(i + j) % len(WORDS)] for j in range(9)) for i in range(6700)]
    begun = time.process_time()
    tokenize(bert, examples(texts), 64, segments=False)
    assert time.process_time() - begun < 2
