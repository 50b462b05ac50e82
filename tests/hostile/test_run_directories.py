"""Run directories and checkpoints that were tampered with: refused by name, nothing written outside of them."""

import json
import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import Saying, StopAt, evaluation, image_spec, run
from ptm.base import files
from ptm.errors import Interrupted, ModelError, PtmError, RunDirectoryError


def spec(output, **changes):
    return image_spec(output, epochs=1, save_every_steps=2, keep_checkpoints=3, **changes)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped after its fifth step."""
    folder = tmp_path_factory.mktemp("stopped") / "r"
    with pytest.raises(Interrupted):
        run(spec(folder), "new", StopAt(5))
    return folder


@pytest.fixture
def tampered(stopped, tmp_path):
    """A copy of it, to be changed; its config names the copy."""
    target = tmp_path / "r"
    shutil.copytree(stopped, target)
    config = (target / "config.yaml").read_text()
    (target / "config.yaml").write_text(config.replace(str(stopped), str(target)))
    return target


@pytest.mark.parametrize(
    "name",
    [
        "config.yaml",
        "manifest.json",
        "metrics.jsonl",
        "results.json",
        "predictions.jsonl",
        "checkpoints",
        "model",
    ],
)
def test_a_run_with_a_link_in_it_is_not_resumed(tampered, tmp_path, name):
    outside = tmp_path / "outside"
    if (tampered / name).exists():
        shutil.move(tampered / name, outside)
    elif name == "model":
        outside.mkdir()
    else:
        outside.write_text("precious")
    (tampered / name).symlink_to(outside)
    before = _contents(outside)
    with pytest.raises(RunDirectoryError, match="symbolic link") as caught:
        run(spec(tampered), "resume")
    assert name in str(caught.value)
    assert _contents(outside) == before


@pytest.mark.parametrize("mode", ["resume", "overwrite"])
def test_a_lock_that_is_a_link_is_not_followed(tampered, tmp_path, mode):
    (tmp_path / "precious").write_text("years of work")
    (tampered / ".lock").unlink()
    (tampered / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(PtmError):
        run(spec(tampered), mode)
    assert (tmp_path / "precious").read_text() == "years of work"


def test_links_are_neither_removed_nor_followed_when_a_run_is_overwritten(tampered, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    for name in ("checkpoints", "metrics.jsonl", "model"):
        path = tampered / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.symlink_to(outside if name != "metrics.jsonl" else outside / "kept")
    with pytest.raises(RunDirectoryError, match=r"did not write: checkpoints, metrics\.jsonl, model"):
        run(spec(tampered), "overwrite")
    assert _contents(outside) == {"kept": b"x"}
    assert (tampered / "model").is_symlink()


def test_a_checkpoint_that_is_a_link_is_refused(tampered, tmp_path):
    """It would be the newest."""
    shutil.copytree(tampered / "checkpoints" / "step-000004", tmp_path / "elsewhere")
    (tampered / "checkpoints" / "step-000006").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunDirectoryError, match="step-000006: is a symbolic link"):
        run(spec(tampered), "resume")


def _resealed(tampered, name, change):
    """Change a file of the newest checkpoint, and the seal with it, as one would who wants it to pass."""
    place = tampered / "checkpoints" / "step-000005"
    change(place / name)
    files.seal(place)


class Bomb:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (os.mkdir, (str(self.canary),))


@pytest.mark.slow
def test_a_pickle_in_place_of_weights_runs_nothing(tampered, tmp_path):
    canary = tmp_path / "executed"
    for name in ("model.safetensors", "optimizer.safetensors"):
        _resealed(tampered, name, lambda path: path.write_bytes(pickle.dumps(Bomb(canary))))
        with pytest.raises(ModelError, match="does not fit this run"):
            run(spec(tampered), "resume")
    assert not canary.exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["shape", "dtype", "missing", "added", "moment"])
def test_other_tensors_are_refused(tampered, how):
    def change(path):
        tensors = load_file(path)
        name = next(name for name, tensor in tensors.items() if tensor.ndim > 1)
        if how in ("shape", "moment"):
            tensors[name] = tensors[name].flatten()[:-1].clone()
        elif how == "dtype":
            tensors[name] = tensors[name].to(torch.float64)
        elif how == "missing":
            del tensors[name]
        else:
            tensors["../../outside"] = torch.ones(1)
        save_file(tensors, path)

    _resealed(tampered, "optimizer.safetensors" if how == "moment" else "model.safetensors", change)
    with pytest.raises(ModelError, match="does not fit this run"):
        run(spec(tampered), "resume")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"step": -1}, {"step": "5"}, {"step": 10**400}, {"log_bytes": -4}, {"best_step": "../../.."},
        {"window": {"loss": "x"}}, {"counts": {"a": []}}, {"unknown": 1}, {"format": 99},
        {"evaluated_step": None}, {"seconds": "1"},
    ],
)  # fmt: skip
def test_an_impossible_state_is_refused(tampered, changes):
    def change(path):
        path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))

    _resealed(tampered, "state.json", change)
    with pytest.raises(ModelError, match="does not fit this run"):
        run(spec(tampered), "resume")


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"drift": 5, "extended": {}}', b"[]"]
)
@pytest.mark.parametrize("name", ["manifest.json", "results.json", "config.yaml"])
def test_ruined_records_are_no_traceback(tampered, name, content):
    (tampered / name).write_bytes(content)
    try:
        run(spec(tampered), "resume")
    except PtmError as error:
        assert error.exit_code in (2, 3)


@pytest.mark.parametrize("damage", ["flip", "truncate", "zero", "delete", "swap"])
def test_any_damaged_file_of_a_checkpoint_is_named_and_an_older_one_used(tampered, damage):
    """Each file in turn, in each way; the run then goes on from the checkpoint before."""
    newest = tampered / "checkpoints" / "step-000005"
    kept = newest.parent.parent.parent / "kept"
    shutil.copytree(newest, kept)
    for name in sorted(path.name for path in kept.iterdir()):
        _damage(newest, name, damage)
        told = Saying()
        store = _store(tampered)
        found = store.load(told.say)
        assert found == newest.with_name("step-000004"), (name, damage)
        assert "checkpoint step-000005 is damaged" in told.lines[0]
        assert name in told.lines[0] or name == "manifest.json" or damage == "swap"
        shutil.rmtree(newest)
        shutil.copytree(kept, newest)


@pytest.mark.slow
def test_any_damaged_file_of_a_model_is_named_at_eval(tmp_path):
    run(spec(tmp_path / "r"))
    model, kept = tmp_path / "r" / "model", tmp_path / "kept"
    shutil.copytree(model, kept)
    for damage in ("flip", "truncate", "zero", "delete"):
        for name in sorted(path.name for path in kept.iterdir()):
            _damage(model, name, damage)
            with pytest.raises(ModelError, match="the model is damaged") as caught:
                evaluation(tmp_path / "r")
            assert name in str(caught.value) or name == "manifest.json"
            shutil.rmtree(model)
            shutil.copytree(kept, model)


def _store(run_directory):
    from ptm.run.checkpoint import CheckpointStore

    return CheckpointStore(run_directory / "checkpoints", 3)


def _damage(place, name, how):
    path = place / name
    raw = path.read_bytes()
    if how == "flip":
        path.write_bytes(raw[:-2] + bytes([raw[-2] ^ 1]) + raw[-1:])
    elif how == "truncate":
        path.write_bytes(raw[: len(raw) // 2])
    elif how == "zero":
        path.write_bytes(bytes(len(raw)))
    elif how == "delete":
        path.unlink()
    else:  # with the file of the same name of an older checkpoint, whole in itself
        shutil.copy(place.with_name("step-000004") / name, path)


def _contents(path):
    if path.is_file():
        return path.read_bytes()
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}
