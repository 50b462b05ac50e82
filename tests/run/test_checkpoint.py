"""Checkpoints: the format is the library's, and a disk that is too small is told before the run."""

import pytest
import torch
from safetensors.torch import save
from torch import nn

from helpers import run, text_spec
from ptm.base import files
from ptm.errors import StorageError
from ptm.run.checkpoint import CheckpointStore, checkpoint_bytes, pieces

DTYPES = ["int64", "float64", "float32", "int32", "bfloat16", "float16", "int16", "int8", "uint8", "bool"]


def test_the_pieces_are_what_the_library_writes():
    tensors = {f"{i % 3}.é{i}": torch.ones(3, 2).to(getattr(torch, name)) for i, name in enumerate(DTYPES)}
    tensors |= {"scalar": torch.tensor(1.5), "empty": torch.zeros(0, 3), "turned": torch.rand(2, 3).T}
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    assert b"".join(pieces(tensors)) == save(whole)


def test_the_free_space_is_looked_at_before_the_run(tmp_path, monkeypatch):
    model = nn.Linear(1000, 250)
    size = checkpoint_bytes(model, None, 2)
    assert size == 3 * 4 * (1000 * 250 + 250)
    model.bias.requires_grad_(False)
    assert checkpoint_bytes(model, nn.Linear(2, 2), 2) == size - 2 * 4 * 250 + 3 * 4 * 6
    store = CheckpointStore(tmp_path / "checkpoints", 2)
    monkeypatch.setattr(files, "free_bytes", lambda path: round(1.5 * size))
    store.require_space(size)
    monkeypatch.setattr(files, "free_bytes", lambda path: 10**6)
    with pytest.raises(StorageError, match=r"4\.5 MB are needed and 1\.0 MB are free") as caught:
        store.require_space(size)
    assert caught.value.exit_code == 3


@pytest.mark.slow
def test_a_run_that_would_not_fit_is_refused_before_its_first_step(tiny_bert, reviews, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "free_bytes", lambda path: 1000)
    with pytest.raises(StorageError, match="are needed and"):
        run(text_spec(tiny_bert, reviews, tmp_path / "r"))
    assert not (tmp_path / "r").exists()
