"""The seal of a saved model: what is damaged is told, what somebody changed on purpose is read."""

import errno
import json
import os

import pytest

from ptm.base.files import seal
from ptm.errors import ModelError
from ptm.models.seals import require_intact, require_own_files, require_weights


@pytest.fixture
def model(tmp_path):
    """The ``model/`` of a run, sealed."""
    run = tmp_path / "run"
    folder = run / "model"
    folder.mkdir(parents=True)
    (run / "config.yaml").write_text("version: 1\n")
    (run / ".lock").touch()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    seal(folder)
    return folder


def test_a_model_as_it_was_written_is_intact(model):
    require_intact(model)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(b"weight$"),
        lambda folder: (folder / "model.safetensors").write_bytes(b"weights and more"),
        lambda folder: (folder / "model.safetensors").unlink(),
    ],
)
def test_a_damaged_file_is_named_also_where_it_was_intact_before(model, spoil):
    require_intact(model)
    spoil(model)
    with pytest.raises(ModelError, match=r"damaged: .*model\.safetensors") as caught:
        require_intact(model)
    assert "--resume" in caught.value.problems[0].cure


def test_of_a_run_the_seal_must_be_there(model):
    (model / "manifest.json").unlink()
    with pytest.raises(ModelError, match="damaged"):
        require_intact(model)


def test_elsewhere_a_model_without_a_seal_is_somebody_elses(model, tmp_path):
    copy = tmp_path / "copy"
    model.rename(copy)
    (copy / "config.json").write_text('{"changed": 1}')
    with pytest.raises(ModelError, match="damaged") as caught:
        require_intact(copy)
    assert "remove manifest.json" in caught.value.problems[0].cure
    (copy / "manifest.json").unlink()
    require_intact(copy)
    for content in ("{", "[]", json.dumps({"files": 3})):  # a file of that name that is no seal
        (copy / "manifest.json").write_text(content)
        require_intact(copy)


def test_a_change_that_keeps_the_size_is_seen_by_its_time(model):
    require_intact(model)
    before = (model / "config.json").stat()
    (model / "config.json").write_text("[]")
    os.utime(model / "config.json", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(ModelError, match="damaged"):
        require_intact(model)


def test_15_01_a_pipe_in_a_model_s_folder_is_not_waited_for(model):
    os.mkfifo(model / "model-00001-of-00002.safetensors")
    with pytest.raises(ModelError, match="is a named pipe"):
        require_own_files(model)


def test_15_01_a_pipe_as_the_seal_of_somebody_else_s_model(model, tmp_path):
    copy = tmp_path / "copy"
    model.rename(copy)
    (copy / "manifest.json").unlink()
    os.mkfifo(copy / "manifest.json")
    require_intact(copy)  # it has none, and nobody waits


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/secret.safetensors", "a/../../b.safetensors"]
)
def test_15_01_an_index_of_weights_leads_nowhere_else(model, name):
    index = model / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": name}}))
    with pytest.raises(ModelError, match="names a file elsewhere"):
        require_own_files(model)
    for content in ('{"weight_map": {"a": "model-1.safetensors"}}', "[]", "{", '{"weight_map": 1}'):
        index.write_text(content)
        require_own_files(model)


@pytest.mark.parametrize(
    "name",
    ["adapter_config.json", "adapter_model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"],
)
def test_15_09_weights_that_were_not_there_are_damage(model, name):
    """A reader would add an adapter to the model, or read other weights; a README beside it changes nothing."""
    (model / "README.md").write_text("x")
    require_intact(model)
    (model / name).write_text("{}")
    with pytest.raises(ModelError, match="was not there when it was written"):
        require_intact(model)


@pytest.mark.parametrize("left", [".lock", ".ptm-run"])
def test_15_09_a_run_is_known_by_its_mark_or_its_lock(model, left):
    """A run that was copied without checkpoints is one all the same, and its model must have a seal."""
    (model.parent / ".lock").rename(model.parent / left)
    (model / "manifest.json").unlink()
    with pytest.raises(ModelError, match="damaged"):
        require_intact(model)


@pytest.mark.parametrize(
    "name",
    ["decisions.json", "added_tokens.json", "generation_config.json", "vocab.txt", "model/decisions.json"],
)
def test_15_09_settings_that_were_not_there_are_damage(model, name):
    """A threshold that somebody puts beside a sealed model changes its answers, as other weights would."""
    for harmless in ("notes.txt", "picture.png", ".cache/x.json"):
        (model / harmless).parent.mkdir(exist_ok=True)
        (model / harmless).write_text("x")
    require_intact(model)
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text("{}")
    with pytest.raises(ModelError, match=f"{name} was not there when it was written"):
        require_intact(model)


@pytest.mark.parametrize("kind", ["folder", "link to nothing"])
def test_weights_that_cannot_be_read_are_told_from_weights_that_are_not_there(tmp_path, kind):
    weights = tmp_path / "model.safetensors"
    require_weights(tmp_path)  # none at all: transformers says so
    weights.mkdir() if kind == "folder" else weights.symlink_to(tmp_path / "absent")
    with pytest.raises(ModelError, match=r"a folder, not a file|is a link to .*absent, which") as caught:
        require_weights(tmp_path)
    assert caught.value.problems[0].where == str(weights) and caught.value.problems[0].cure
    (tmp_path / "pytorch_model.bin").write_bytes(b"")  # which is what is loaded then
    require_weights(tmp_path)


def test_weights_without_permission_say_so(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").touch()

    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "open", denied)
    with pytest.raises(ModelError, match="cannot be read: Permission denied"):
        require_weights(tmp_path)
