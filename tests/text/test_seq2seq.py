"""Models that read one text and write another: new ones, how texts are encoded, how they are written."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig

from ptm.config.model_ref import ModelRef
from ptm.config.spec import GenerateSpec, ShapeSpec
from ptm.errors import ConfigError, ModelError
from ptm.text.seq2seq import TARGET_TOKENIZER, build_seq2seq, encode, end_token, set_generation
from tiny.translation import pairs

SHAPE = ShapeSpec(layers=1, width=16, heads=2, positions=48)
NEW = {"name": "new:marian", "tokenizer": "train", "vocabulary": 300, "shape": SHAPE}
TEXTS = [text for pair in pairs(30, 1) for text in pair]


def build(seed=1, complete=False, **changes):
    return build_seq2seq(ModelRef(**{**NEW, **changes}), lambda: TEXTS, seed=seed, complete=complete)


@pytest.fixture(scope="module")
def marian():
    return build()


def test_new_weights_are_a_function_of_the_seed_and_of_nothing_else(marian):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        before = torch.get_rng_state()
        same, other = build(), build(seed=2)
        assert torch.equal(torch.get_rng_state(), before)
    ours, again = marian.model.state_dict(), same.model.state_dict()
    assert all(torch.equal(ours[name], again[name]) for name in ours)
    name = "model.encoder.layers.0.fc1.weight"
    assert not torch.equal(ours[name], other.model.state_dict()[name])


def test_what_a_new_model_begins_and_ends_with(marian):
    assert marian.tokenizer is marian.target_tokenizer and marian.tokenizers == (marian.tokenizer,) * 2
    config = marian.model.config
    assert marian.start == config.decoder_start_token_id
    assert config.eos_token_id == config.forced_eos_token_id == end_token(marian.tokenizer)
    assert marian.pad == marian.tokenizer.pad_token_id
    assert marian.max_positions == marian.tokenizer.model_max_length == 48
    assert marian.head == ()


@pytest.mark.parametrize(("tokens", "end"), [((3, 7), 3), ((None, 7), 7), ((0, 7), 0), ((None, None), None)])
def test_what_ends_a_text_is_its_own_end_else_the_separator(tokens, end):
    assert end_token(SimpleNamespace(eos_token_id=tokens[0], sep_token_id=tokens[1])) == end


def test_texts_are_cut_with_their_end_kept_and_counted(marian):
    texts = ["the good film", "the good film and the old book and the new soup", ""]
    whole = [marian.tokenizer(text)["input_ids"] for text in texts]
    tokens = encode(marian.tokenizer, texts, 6, target=False)
    assert tokens.lengths.tolist() == [min(6, len(row)) for row in whole]
    assert tokens.cut == sum(len(row) > 6 for row in whole) >= 1
    for row, start, length in zip(whole, tokens.starts, tokens.lengths, strict=False):
        ids = tokens.ids[start : start + length].tolist()
        assert ids[-1] == end_token(marian.tokenizer)
        assert ids[:-1] == row[:-1][: length - 1]
    assert tokens.ids.dtype == np.int32
    assert marian.tokenizer.backend_tokenizer.truncation is None


@pytest.mark.parametrize("beams", [1, 3])
def test_texts_are_written_as_the_config_says_also_from_what_is_saved(marian, tmp_path, beams):
    set_generation(marian, GenerateSpec(beams=beams, max_length=9, length_penalty=0.6))
    marian.save(tmp_path)
    saved = GenerationConfig.from_pretrained(tmp_path)
    assert (saved.num_beams, saved.max_new_tokens, saved.do_sample) == (beams, 9, False)
    assert (saved.length_penalty, saved.early_stopping) == ((0.6, True) if beams > 1 else (1.0, False))
    assert saved.eos_token_id == end_token(marian.tokenizer)
    assert saved.decoder_start_token_id == marian.start
    inputs = marian.tokenizer(["the good film"], return_tensors="pt")
    with torch.no_grad():
        assert marian.model.eval().generate(**inputs).shape[1] <= 1 + 9


def test_a_second_vocabulary_is_saved_beside_the_first(marian, tiny_bert, tmp_path):
    from dataclasses import replace

    other = AutoTokenizer.from_pretrained(tiny_bert)
    replace(marian, target_tokenizer=other).save(tmp_path / "two")
    saved = AutoTokenizer.from_pretrained(tmp_path / "two" / TARGET_TOKENIZER)
    assert saved.get_vocab() == other.get_vocab()
    marian.save(tmp_path / "one")
    assert not (tmp_path / "one" / TARGET_TOKENIZER).exists()


def test_layers_of_two_stacks_cannot_be_chosen():
    with pytest.raises(ConfigError, match="an encoder and a decoder"):
        build(layers=(0,))


def test_random_weights_are_no_trained_model():
    with pytest.raises(ModelError, match="would be random"):
        build(complete=True)


def test_an_encoder_alone_writes_nothing(tiny_bert):
    with pytest.raises(ModelError, match="no decoder") as caught:
        build(name=str(tiny_bert), tokenizer=None, vocabulary=None, shape=None)
    assert "model.decoder" in caught.value.problems[0].cure


@pytest.mark.parametrize(
    ("changes", "where"),
    [({"weights": "none"}, "model.weights"), ({"tokenizer": "train"}, "model.tokenizer")],
)
def test_two_encoders_come_with_their_own_weights_and_vocabularies(tiny_bert, changes, where):
    ref = {
        "name": str(tiny_bert),
        "decoder": str(tiny_bert),
        "tokenizer": None,
        "vocabulary": None,
        "shape": None,
    }
    with pytest.raises(ConfigError) as caught:
        build(**{**ref, **changes})
    assert caught.value.problems[0].where == where


def test_two_equal_encoders_share_one_vocabulary_and_meet_in_a_new_attention(tiny_bert):
    loaded = build(name=str(tiny_bert), decoder=str(tiny_bert), tokenizer=None, vocabulary=None, shape=None)
    assert loaded.tokenizer is loaded.target_tokenizer
    assert any("crossattention" in name for name in loaded.report.new)
    assert all(name.startswith(loaded.head) for name in loaded.report.new)
    assert loaded.start == loaded.tokenizer.cls_token_id
    state = loaded.model.state_dict()
    assert torch.equal(
        state["encoder.embeddings.word_embeddings.weight"],
        state["decoder.bert.embeddings.word_embeddings.weight"],
    )
    trained = {n for n, p in loaded.model.named_parameters() if not p.requires_grad}
    assert trained and all(".pooler." in f".{name}" for name in trained)  # nobody reads it
