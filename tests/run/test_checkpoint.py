"""Checkpoints: the format is the library's, and a disk that is too small is told before the run."""

import pytest
import torch
from safetensors.torch import save
from torch import nn

from helpers import run, text_spec
from ptm.base import files
from ptm.errors import StorageError
from ptm.run.checkpoint import CheckpointStore, SpaceNeeded, checkpoint_bytes, pieces
from ptm.training.progress import Progress

DTYPES = ["int64", "float64", "float32", "int32", "bfloat16", "float16", "int16", "int8", "uint8", "bool"]


def test_the_pieces_are_what_the_library_writes():
    tensors = {f"{i % 3}.é{i}": torch.ones(3, 2).to(getattr(torch, name)) for i, name in enumerate(DTYPES)}
    tensors |= {"scalar": torch.tensor(1.5), "empty": torch.zeros(0, 3), "turned": torch.rand(2, 3).T}
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    assert b"".join(pieces(tensors)) == save(whole)


def test_the_size_of_a_checkpoint_is_known_before_there_is_one():
    model = nn.Linear(1000, 250)
    twice = lambda p: 2 * p.numel()  # noqa: E731
    size = checkpoint_bytes(model, None, twice)
    assert size == 3 * 4 * (1000 * 250 + 250)
    model.bias.requires_grad_(False)
    assert checkpoint_bytes(model, nn.Linear(2, 2), twice) == size - 2 * 4 * 250 + 3 * 4 * 6


def test_15_13_the_free_space_is_looked_at_before_the_run(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path / "checkpoints", 2)
    space = SpaceNeeded(checkpoint=3_000_000, checkpoints=3, model=1_000_000)
    monkeypatch.setattr(files, "free_bytes", lambda path: 10_000_000)
    store.require_space(space)
    monkeypatch.setattr(files, "free_bytes", lambda path: 9_999_999)
    with pytest.raises(StorageError, match=r"10\.0 MB are needed and 10\.0 MB are free") as caught:
        store.require_space(space)
    assert caught.value.exit_code == 3
    assert "3 checkpoints of 3.0 MB, which lie there at once, and a model of 1.0 MB" in str(caught.value)
    store.require_space(space, present=1)  # of a run that goes on, or is overwritten


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 1},
        {"epochs": 1, "best": None},
        {"epochs": 4},
        {"epochs": 4, "best": None},
        {"epochs": 2, "save_every_steps": 1, "keep_checkpoints": 3},
        {"epochs": 2, "eval_every_steps": 3, "best": None},
        {"epochs": 4, "freeze": "backbone", "store_features": "off"},
    ],
)
def test_15_13_what_a_run_needs_is_what_it_takes_at_most(changes, tiny_bert, reviews, tmp_path, monkeypatch):
    """Measured when a checkpoint is whole and the oldest one still there, and at the end: but for names of tensors."""
    most, asked = [], []
    prune, require = CheckpointStore._prune, CheckpointStore.require_space

    def weights(folder):
        return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))

    def measured(self, progress):
        most.append(weights(tmp_path / "r"))
        prune(self, progress)

    def noted(self, space, present=0):
        asked.append(space.bytes)
        require(self, space, present)

    monkeypatch.setattr(CheckpointStore, "_prune", measured)
    monkeypatch.setattr(CheckpointStore, "require_space", noted)
    run(text_spec(tiny_bert, reviews, tmp_path / "r", **changes))
    taken = max(*most, weights(tmp_path / "r"))
    model = weights(tmp_path / "r" / "model")
    assert 0.93 * taken <= asked[0] <= 1.01 * (max(most) + model)


@pytest.mark.slow
def test_a_run_that_would_not_fit_is_refused_before_its_first_step(tiny_bert, reviews, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "free_bytes", lambda path: 1000)
    with pytest.raises(StorageError, match="are needed and"):
        run(text_spec(tiny_bert, reviews, tmp_path / "r"))
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("place", ["step-000001/notes.txt", "step-1/mine.txt"])
def test_15_04_what_was_put_among_checkpoints_while_it_was_trained_stays(place, tmp_path):
    store, model = CheckpointStore(tmp_path, 1), nn.Linear(2, 2)
    store.save(Progress(step=1), model, None, {})
    theirs = tmp_path / place
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("mine")
    for step in (2, 3):
        store.save(Progress(step=step), model, None, {})
    assert theirs.read_text() == "mine"
    assert not (tmp_path / "step-000002").exists()
