"""Encoders as embedders: pooling, and files of sentence-transformers."""

import json
import os
import shutil
from types import SimpleNamespace

import pytest
import torch

from ptm.config.model_ref import ModelRef
from ptm.errors import ConfigError, MissingDownload, ModelError
from ptm.text.encoders import LENGTH_FILE, POOLING_FILE, _pooling_of, build_encoder, embed
from ptm.text.origins import Origin
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


def test_15_08_how_a_model_is_pooled_is_read_through_the_links_of_a_cache(bert, tmp_path):
    """A hub's cache is made of links: every model that is pooled by its first token was pooled by the mean."""
    (tmp_path / "blob").write_text(json.dumps({"pooling_mode_cls_token": True}))
    snapshot = tmp_path / "snapshots" / "c0ffee"
    shutil.copytree(bert, snapshot)
    (snapshot / "1_Pooling").mkdir()
    (snapshot / "1_Pooling" / "config.json").symlink_to("../../../blob")
    assert built(snapshot).pooling == "cls"


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("1_Pooling/config.json", '{"pooling_mode_cls_token": tru', "cannot be read"),
        ("1_Pooling/config.json", "[]", "is no object"),
        ("1_Pooling/config.json", '{"pooling_mode": ["cls"]}', "pooled by"),
        ("1_Pooling/config.json", None, "it is a named pipe"),
        ("modules.json", "5", "no list of modules"),
        ("modules.json", '[{"type": "sentence_transformers.models.Pooling"}]', "is not there"),
    ],
)
def test_15_08_files_that_do_not_say_how_a_model_is_pooled_are_refused(bert, tmp_path, name, content, what):
    """They were taken for none, so that other embeddings came out than its own; or ended in a traceback."""
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    (tmp_path / "1_Pooling").mkdir()
    if content is None:
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match=what):
        built(tmp_path)


def test_11_18_texts_are_cut_to_the_length_that_the_encoder_says(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "m")
    assert built(folder).own_length is None
    for content, length in (
        ({"max_seq_length": 20, "do_lower_case": False}, 20),
        ({"max_seq_length": 10_000, "do_lower_case": True}, built(bert).max_positions),  # its tokenizer does
        ({"max_seq_length": None}, None),
        ({"transformer_task": "feature-extraction"}, None),  # of newer versions
    ):
        (folder / LENGTH_FILE).write_text(json.dumps(content))
        assert built(folder).own_length == length
    for content, what in (
        ({"max_seq_length": "20"}, "does not say how long texts are"),
        ({"max_seq_length": 0}, "does not say how long texts are"),
        ([20], "does not say how long texts are"),
    ):
        (folder / LENGTH_FILE).write_text(json.dumps(content))
        with pytest.raises(ModelError, match=what):
            built(folder)
    (folder / LENGTH_FILE).write_text(json.dumps({"max_seq_length": 20, "do_lower_case": True}))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "do_lower_case": False}))
    with pytest.raises(ModelError, match="brings texts to lower case"):
        built(folder)


@pytest.mark.parametrize("answer", ["cls", "nothing", "an error"])
def test_15_08_what_a_hub_says_of_pooling_is_read_and_its_silence_is_none(
    bert, tmp_path, monkeypatch, answer
):
    """Through its client, in a stand-in for the download: the file lies behind a link."""
    from huggingface_hub.errors import RemoteEntryNotFoundError

    snapshot = tmp_path / "snapshots" / "c0ffee"
    shutil.copytree(bert, snapshot)
    (tmp_path / "blob").write_text(json.dumps({"pooling_mode": "cls"}))
    (snapshot / "pooling.json").symlink_to("../../blob")

    def download(repository, file, **options):
        if answer == "an error":
            raise TimeoutError("no answer")
        if answer == "nothing" or file != POOLING_FILE:
            raise RemoteEntryNotFoundError("404", response=SimpleNamespace(headers={}, request=None))
        return str(snapshot / "pooling.json")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    origin = Origin("someone/tiny", {"revision": None, "local_files_only": False}, None, None)
    if answer == "an error":
        with pytest.raises(MissingDownload, match="no answer"):
            _pooling_of(origin, "model")
    else:
        assert _pooling_of(origin, "model") == {"cls": "cls", "nothing": "mean"}[answer]
