"""Tokenizers and configurations from nothing: the same each time, and readable by a stranger."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ptm.config.spec import ShapeSpec
from ptm.errors import ConfigError
from ptm.text import scratch
from tiny.samples import sentences

TEXTS = [text for text, _ in sentences(60, 5)] + ["Größe, naïve café – 10 €!", "a tab\tand more", "日本 語"]
SIZES = {"bert": 150, "gpt2": 300, "marian": 300}
TYPES = tuple(SIZES)


def tokenizer_for(model_type, size=None, texts=TEXTS):
    return scratch.train_tokenizer(texts, size or SIZES[model_type], **scratch.TOKENIZERS[model_type])


@pytest.mark.slow
def test_the_same_texts_give_the_same_tokenizers_in_any_process():
    script = (
        "from test_scratch import TYPES, tokenizer_for;"
        "print(*(tokenizer_for(each).backend_tokenizer.to_str() for each in TYPES), sep='\\n')"
    )
    found = {"\n".join(tokenizer_for(each).backend_tokenizer.to_str() for each in TYPES)}
    for threads, seed in (("1", "1"), ("2", "2")):
        environment = {
            **os.environ,
            "RAYON_NUM_THREADS": threads,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]),
        }
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
        )
        found.add(done.stdout.strip())
    assert len(found) == 1


@pytest.mark.parametrize("model_type", TYPES)
def test_a_saved_tokenizer_loads_to_the_same_ids(model_type, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = tokenizer_for(model_type)
    tokenizer.save_pretrained(tmp_path)
    scratch.new_config(model_type, ShapeSpec(width=16, heads=2), tokenizer).save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*TEXTS, "unseen words, Ünseen ☃"]:
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
        ids = tokenizer(text)["input_ids"]
        assert again.decode(ids) == tokenizer.decode(ids)
    for role in ("pad", "unk", "eos", "bos", "sep", "cls", "mask"):
        assert getattr(again, f"{role}_token_id") == getattr(tokenizer, f"{role}_token_id")
    assert len(again) == len(tokenizer) <= SIZES[model_type]


def test_bert_tokens():
    tokenizer = tokenizer_for("bert")
    ids = tokenizer("The FILM was dreadful", "good")["input_ids"]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    assert pieces[0] == "[CLS]"
    assert pieces[-1] == "[SEP]"
    assert pieces.count("[SEP]") == 2
    assert {"the", "film", "was"} < set(pieces)
    special = list(scratch.BERT_TOKENS.values())
    assert tokenizer.convert_tokens_to_ids(special) == list(range(5))
    assert set(tokenizer.all_special_tokens) == set(special)
    assert tokenizer.convert_tokens_to_ids("film") >= 5
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))


def test_byte_level_tokens_give_back_any_text():
    tokenizer = tokenizer_for("gpt2")
    for text in [*TEXTS, "new\nline ☃ "]:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.bos_token_id == tokenizer.eos_token_id != tokenizer.pad_token_id
    assert "token_type_ids" not in tokenizer("a")


def test_marian_texts_end():
    tokenizer = tokenizer_for("marian")
    ids = tokenizer(["the film", "a"], padding=True)["input_ids"]
    assert ids[0][-1] == tokenizer.eos_token_id
    assert ids[1][-1] == tokenizer.pad_token_id
    assert ids[1].count(tokenizer.eos_token_id) == 1


def test_rare_letters_give_way_in_a_small_vocabulary():
    rare = [*TEXTS, "".join(chr(0x4E00 + i) + " " for i in range(500))]
    tokenizer = tokenizer_for("bert", texts=rare)
    assert len(tokenizer) <= SIZES["bert"]
    assert tokenizer.unk_token_id not in tokenizer("the film was good")["input_ids"]
    assert tokenizer.unk_token_id in tokenizer(chr(0x4E00 + 499))["input_ids"]


def test_a_vocabulary_without_room_is_refused():
    with pytest.raises(ConfigError, match=r"model\.vocabulary: 200 tokens have no room"):
        tokenizer_for("gpt2", 200)
    assert len(tokenizer_for("gpt2", 258)) == 258


def test_other_special_tokens():
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = scratch.train_tokenizer(TEXTS, 280, "bpe", lowercase=True, special=special)
    assert tokenizer.convert_tokens_to_ids(list(special.values())) == [0, 1, 2, 3]
    assert tokenizer.decode(tokenizer("The FILM")["input_ids"]) == "the film"


@pytest.mark.parametrize("model_type", TYPES)
def test_a_config_has_the_shape_and_the_tokens(model_type):
    from transformers import AutoModel

    tokenizer = tokenizer_for(model_type)
    shape = ShapeSpec(layers=2, width=24, heads=3, feedforward=40, positions=48, dropout=0.0)
    config = scratch.new_config(model_type, shape, tokenizer)
    assert config.model_type == model_type
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (24, 2, 3)
    assert (config.vocab_size, config.max_position_embeddings) == (len(tokenizer), 48)
    for role in ("pad", "eos") if model_type != "bert" else ("pad",):
        assert getattr(config, f"{role}_token_id") == getattr(tokenizer, f"{role}_token_id")
    model = AutoModel.from_config(config)
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} <= {0.0}
    assert any(40 in p.shape for p in model.parameters())
    batch = tokenizer(["the film was good"], return_tensors="pt")
    more = {"decoder_input_ids": torch.tensor([[config.pad_token_id]])} if model_type == "marian" else {}
    assert model(**batch, **more).last_hidden_state.isfinite().all()
    if model_type == "marian":
        assert (config.decoder_layers, config.decoder_attention_heads, config.decoder_ffn_dim) == (2, 3, 40)
        assert config.decoder_start_token_id == tokenizer.pad_token_id
        assert model.encoder.embed_tokens.weight is model.decoder.embed_tokens.weight
        assert not model.encoder.embed_positions.weight.requires_grad


def test_an_unknown_type_names_those_there_are():
    with pytest.raises(ConfigError, match="there is no new:elmo") as caught:
        scratch.new_config("elmo", None, tokenizer_for("bert"))
    assert caught.value.problems[0].expected == "one of new:bert, new:gpt2, new:marian"
