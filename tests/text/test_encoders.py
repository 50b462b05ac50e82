"""Encoders as embedders: pooling, and files of sentence-transformers."""

import json

import pytest
import torch

from ptm.config.model_ref import ModelRef
from ptm.errors import ConfigError, ModelError
from ptm.text.encoders import build_encoder, embed
from tiny.samples import save_tiny_bert


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_tiny_bert(tmp_path_factory.mktemp("m") / "bert")


def built(folder, **ref):
    return build_encoder(ModelRef(name=str(folder), **ref), None, seed=1, complete=False)


def test_11_sim_states_are_pooled_over_what_is_text():
    states = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert embed(states, mask, "mean").tolist() == [pytest.approx([0.6, 0.8])]
    assert embed(states, mask, "cls").tolist() == [[1.0, 0.0]]
    assert embed(states[:, :2], None, "mean").tolist() == [pytest.approx([0.6, 0.8])]


def test_11_sim_how_a_model_is_pooled_is_saved_with_it_and_read_again(bert, tmp_path):
    encoder = built(bert)
    assert encoder.pooling == "mean" and encoder.head == ()
    assert not any(p.requires_grad for n, p in encoder.model.named_parameters() if n.startswith("pooler."))
    encoder.save(tmp_path)
    pooling = tmp_path / "1_Pooling" / "config.json"
    told = json.loads(pooling.read_text())
    assert told["pooling_mode_mean_tokens"] and not told["pooling_mode_cls_token"]
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert [one["path"] for one in modules] == [
        "",
        "1_Pooling",
        "2_Normalize",
    ]
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    assert built(tmp_path).pooling == "cls"
    pooling.write_text(json.dumps({"embedding_dimension": 32, "pooling_mode": "cls"}))  # of newer versions
    again = built(tmp_path)
    assert again.pooling == "cls" and again.output_fingerprint != encoder.output_fingerprint


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pooled by pooling_mode_max_tokens"),
        ("1_Pooling/config.json", {"pooling_mode": "lasttoken"}, "pooled by lasttoken"),
        ("modules.json", [{"type": "sentence_transformers.models.Dense"}], "go through Dense"),
    ],
)
def test_11_sim_what_is_pooled_otherwise_is_refused(bert, tmp_path, name, content, what):
    built(bert).save(tmp_path)
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=what):
        built(tmp_path)


def test_11_sim_the_weights_of_a_classifier_serve_its_encoder(bert, tmp_path):
    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(bert).save_pretrained(tmp_path / "c")
    encoder, own = built(bert), built(bert, weights=str(tmp_path / "c" / "model.safetensors"))
    for name, tensor in encoder.model.state_dict().items():
        assert torch.equal(own.model.state_dict()[name], tensor), name


def test_11_sim_a_model_that_writes_is_no_encoder(tmp_path):
    with pytest.raises(ConfigError, match="reads with an encoder and writes with a decoder"):
        build_encoder(
            ModelRef(name="new:marian", tokenizer="train"), lambda: ["a text"] * 9, seed=1, complete=False
        )
    with pytest.raises(ModelError, match="random"):
        build_encoder(
            ModelRef(name="new:bert", tokenizer="train"), lambda: ["a text"] * 9, seed=1, complete=True
        )
