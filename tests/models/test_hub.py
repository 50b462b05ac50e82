"""Models on a hub: which names there can be, and what is missing without a network."""

import pytest

from ptm.errors import ModelError
from ptm.models import hub


@pytest.fixture
def cache(monkeypatch):
    """The files that are in the cache, as (name, file, revision)."""
    there = set()
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda name, file, revision=None: "path" if (name, file, revision) in there else None,
    )
    monkeypatch.setattr(hub, "reachable", lambda: False)
    return there


@pytest.mark.parametrize("name", ["bert-base-uncased", "org/model.v2", "a"])
def test_names_that_a_hub_can_have(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub.check_model_id(name)


@pytest.mark.parametrize("name", ["a/b/c", "-a", "a b", "../x", "model--name", "x" * 200])
def test_names_that_none_can_have(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="no such folder, and no model on the hub") as caught:
        hub.check_model_id(name, "teacher")
    assert caught.value.problems[0].where == f"teacher {name!r}"


def test_a_folder_here_of_the_same_name_could_be_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bert").mkdir()
    with pytest.raises(ModelError, match="something in the working directory") as caught:
        hub.check_model_id("bert")
    assert "write ./bert" in caught.value.problems[0].cure


def test_a_model_in_the_cache_is_not_missing(cache):
    assert len(hub.missing_model("m", None)) == 1
    cache.add(("m", "config.json", None))
    assert len(hub.missing_model("m", None)) == 1  # without weights
    assert hub.missing_model("m", None, weights=False) == []
    cache.add(("m", "pytorch_model.bin.index.json", None))
    assert hub.missing_model("m", None) == []
    assert len(hub.missing_model("m", "v2")) == 1  # of another revision


def test_what_can_be_fetched_is_not_missing(cache, monkeypatch):
    monkeypatch.setattr(hub, "reachable", lambda: True)
    assert hub.missing_model("m", None) == []


def test_what_is_missing_is_told_with_its_role(cache):
    (problem,) = hub.missing_model("org/m", None, "teacher")
    assert problem.where == "teacher 'org/m'" and "hf download org/m" in problem.cure
    assert "--set teacher.name=package:" in problem.cure
