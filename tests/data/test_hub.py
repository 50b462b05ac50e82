"""Data of the hub without a hub: what is in the cache is found, what is missing is named."""

import json

import pytest

from ptm.base import network
from ptm.config.spec import DataSpec
from ptm.data import hub as data_hub
from ptm.data.tabular import load_dataset
from ptm.errors import ConfigError, DataError, MissingDownload, ModelError
from ptm.models import hub


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of ``datasets`` that holds someone/My-Reviews, with a train and a test split; no network."""
    import datasets

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    classes = datasets.ClassLabel(names=["negative", "positive"])
    features = datasets.Features({"sentence": datasets.Value("string"), "label": classes})
    folder = tmp_path / "cache" / "someone___my-reviews" / "plain_text" / "0.0.0" / "0123"
    folder.mkdir(parents=True)
    splits = {"train": (["good", "bad", "NA"], [1, 0, 0]), "test": (["fine", "dull"], [1, 0])}
    info = {
        "builder_name": "parquet",
        "config_name": "plain_text",
        "dataset_name": "my-reviews",
        "version": "0.0.0",
    }
    info["splits"] = {}
    for split, (texts, labels) in splits.items():
        data = datasets.Dataset.from_dict({"sentence": texts, "label": labels}, features=features)
        with datasets.arrow_writer.ArrowWriter(
            path=str(folder / f"my-reviews-{split}.arrow"), features=features
        ) as writer:
            writer.write_table(data.data.table)
            writer.finalize()
        info["splits"][split] = {"name": split, "num_examples": len(texts), "dataset_name": "my-reviews"}
    info["features"] = features.to_dict()
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def load(place, **keys):
    data = DataSpec(source=f"hub:{place}", **{"train": "train", "eval": "test", "text": "sentence", **keys})
    return load_dataset(data, {"text": "sentence"})


@pytest.mark.slow
@pytest.mark.parametrize("place", ["someone/My-Reviews", "someone/My-Reviews/plain_text"])
def test_a_data_set_in_the_cache_needs_no_network(cache, place, capfd):
    import datasets

    assert data_hub.missing_dataset(place) == []
    data = load(place)
    assert data.labels == ("negative", "positive")
    assert data.train.columns["text"] == ["good", "bad", "NA"]
    assert data.train.targets.tolist() == [1, 0, 0]
    assert data.eval.where(1) == f"hub:{place} test, row 1"
    assert len(data.digests["train"]) == 64
    assert len(load(place, train="train[:2]").train) == 2
    assert "latest cached" not in "".join(capfd.readouterr())
    assert datasets.config.HF_HUB_OFFLINE  # nothing was asked of the network


def test_digests_are_of_the_contents(cache):
    digest = load("someone/My-Reviews").digests
    assert digest == load("someone/My-Reviews/plain_text").digests
    assert digest["train"] != digest["eval"]


def test_a_folder_of_the_same_name_is_not_read_instead(cache, tmp_path):
    (tmp_path / "someone" / "My-Reviews").mkdir(parents=True)
    (tmp_path / "someone" / "My-Reviews" / "train.csv").write_text("sentence,label\nother,0\nx,1\n")
    assert load("someone/My-Reviews").train.columns["text"] == ["good", "bad", "NA"]


def test_what_is_not_in_a_data_set_is_named(cache):
    with pytest.raises(ConfigError, match=r'Unknown split "dev"\. Should be one of'):
        load("someone/My-Reviews", eval="dev")
    with pytest.raises(ConfigError, match=r"config 'other' Available configs in the cache: \['plain_text'\]"):
        load("someone/My-Reviews/other")
    with pytest.raises(ConfigError, match=r"needs data\.train and data\.eval"):
        load("someone/My-Reviews", train=None)
    with pytest.raises(DataError, match="no column 'labels'"):
        load("someone/My-Reviews", label="labels")


def test_what_is_not_in_the_cache_is_a_missing_download(cache):
    (problem,) = data_hub.missing_dataset("someone/else")
    assert problem.where == "data hub:someone/else"
    assert "load_dataset('someone/else')" in problem.cure
    assert len(data_hub.missing_dataset("someone/My-Reviews/other")) == 1
    with pytest.raises(MissingDownload, match="data hub:someone/else: cannot be loaded"):
        load("someone/else")


@pytest.mark.parametrize("place", ["imdb", "a/b/c/d", "a//c", "/a/b", "a b/c", "../x"])
def test_names_that_no_data_set_can_have(cache, place):
    with pytest.raises(ConfigError, match="hub:OWNER/NAME"):
        data_hub.missing_dataset(place)


# Models


def cached_files(folder, *names):
    """A hub cache with these files of someone/model."""
    repository = folder / "hub" / "models--someone--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    for name in names:
        (snapshot / name).touch()


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["config.json", "model.safetensors"], False),
        (["config.json", "pytorch_model.bin"], False),
        (["config.json", "model.safetensors.index.json"], False),
        (["config.json"], True),
        (["model.safetensors"], True),
    ],
)
def test_a_model_is_there_when_its_config_and_weights_are(monkeypatch, tmp_path, names, missing):
    import huggingface_hub

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    cached_files(tmp_path, *names)
    assert bool(hub.missing_model("someone/model", None)) == missing
    assert bool(hub.missing_model("someone/model", None, weights=False)) == ("config.json" not in names)
    (problem,) = hub.missing_model("someone/model", "v2")
    assert "hf download someone/model" in problem.cure


@pytest.mark.parametrize("name", ["a/b/c", "no such", "ä", "a--b", "-a", "models/my/run"])
def test_names_that_no_model_can_have(name):
    with pytest.raises(ModelError, match="no such folder, and no model on the hub can have this name"):
        hub.check_model_id(name)


def test_a_hub_name_that_is_also_a_folder_here_is_refused(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    hub.check_model_id("some/model")
    (tmp_path / "some" / "model").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"write \./some/model"):
        hub.check_model_id("some/model")


def test_offline_by_either_variable(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("PTM_OFFLINE", raising=False)
    assert not network.offline()
    for name in ("HF_HUB_OFFLINE", "PTM_OFFLINE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            assert network.offline()
            assert not network.reachable()
            patch.setenv(name, "0")
            assert not network.offline()


def test_a_host_that_does_not_answer_is_not_reachable(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "PTM_OFFLINE", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert not network.reachable("http://127.0.0.1:1")
