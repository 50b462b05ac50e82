"""What is known of any model of transformers: its parts, its limits, its digest, fewer of its layers."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from ptm.errors import ConfigError, ModelError
from ptm.text import models


@pytest.mark.parametrize(
    ("config", "tokenizer", "limit"), [(512, 64, 512), (64, 512, 64), (None, 10**30, None), (-1, 512, 512)]
)
def test_the_longest_input_is_what_the_model_takes_or_where_it_takes_any_its_tokenizer(
    config, tokenizer, limit
):
    model = torch.nn.Module()
    model.config = SimpleNamespace(max_position_embeddings=config)
    assert models.max_positions(model, SimpleNamespace(model_max_length=tokenizer)) == limit


@pytest.fixture(scope="module")
def bert(tiny_bert):
    return AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=3)


def test_roberta_counts_its_positions_on_from_the_padding(tiny_roberta, tiny_bert):
    assert models.position_limit(AutoModel.from_pretrained(tiny_roberta)) == 64
    assert models.position_limit(AutoModel.from_pretrained(tiny_bert)) == 64


@pytest.mark.parametrize(("own", "length"), [(16, 16), (64, None), (512, None)])
def test_the_length_that_a_model_was_trained_on_is_less_than_it_takes(bert, own, length):
    loaded = SimpleNamespace(model=bert, tokenizer=SimpleNamespace(model_max_length=own))
    assert models.trained_length(loaded) == length


def test_the_output_layer_is_the_last_linear_one_of_the_head(bert, tiny_distilbert, tiny_gpt2):
    assert models.output_layer(bert) == "classifier"
    for folder, name in ((tiny_distilbert, "classifier"), (tiny_gpt2, "score")):
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        assert models.output_layer(model) == name


def test_a_digest_is_of_the_arithmetic_and_of_nothing_else(bert, tiny_bert):
    before = models.config_digest(bert)
    again = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=3)
    again.config._name_or_path = "elsewhere"
    assert models.config_digest(again) == before
    again.config.layer_norm_eps = 1e-3
    assert models.config_digest(again) != before
    other = AutoModelForMaskedLM.from_pretrained(tiny_bert)
    other.config = bert.config
    assert models.config_digest(other) != before  # another class over the same configuration


def test_a_tokenizer_that_knows_more_is_refused(bert):
    words = bert.config.vocab_size
    models.check_vocabulary(bert, SimpleNamespace(get_vocab=lambda: {"a": 0, "b": words - 1}), "m")
    with pytest.raises(ModelError, match=f"token ids up to {words}, the model knows {words} tokens"):
        models.check_vocabulary(bert, SimpleNamespace(get_vocab=lambda: {"a": 0, "b": words}), "m")


def test_names_of_a_base_model_that_was_saved_alone_get_its_prefix(bert, tiny_bert):
    base = AutoModel.from_pretrained(tiny_bert).state_dict()
    named = models.with_prefix({**base, "other.weight": torch.zeros(1)}, bert)
    assert {name for name in named if name.startswith("bert.")} == {f"bert.{name}" for name in base}
    assert "other.weight" in named
    whole = bert.state_dict()
    assert models.with_prefix(whole, bert) is whole


@pytest.mark.parametrize(
    ("layers", "kept"),
    [("every_other", [0, 2, 4]), ((0, 5), [0, 5]), ((3,), [3]), ((0, 1, 2, 3, 4, 5), range(6))],
)
def test_layers_that_are_kept_keep_their_order_and_are_numbered_anew(layers, kept):
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=10, hidden_size=8, num_hidden_layers=6, num_attention_heads=2, intermediate_size=8
    )
    model = BertModel(config)
    before = list(model.encoder.layer)
    models.keep_layers(model, layers)
    assert list(model.encoder.layer) == [before[index] for index in kept]
    assert model.config.num_hidden_layers == len(kept)
    numbers = [m.layer_idx for m in model.modules() if getattr(m, "layer_idx", None) is not None]
    assert numbers == list(range(len(kept)))
    assert model(torch.tensor([[1, 2]])).last_hidden_state.shape == (1, 2, 8)


@pytest.mark.parametrize("layers", [(), (1, 0), (0, 0), (-1,), (2,), (0, 1, 2)])
def test_layers_that_are_not_there_are_refused(tiny_bert, layers):
    model = AutoModel.from_pretrained(tiny_bert)
    with pytest.raises(ConfigError, match="of 2"):
        models.keep_layers(model, layers)
    assert len(model.encoder.layer) == 2


def test_a_model_without_one_stack_is_refused():
    model = nn.Module()
    model.config, model.base_model = SimpleNamespace(num_hidden_layers=2), nn.Module()
    with pytest.raises(ConfigError, match="no single stack"):
        models.keep_layers(model, "every_other")
