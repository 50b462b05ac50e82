"""Passes that are recorded as CUDA graphs: what they leave alone, and, where there is a GPU, that they train alike."""

import hashlib

import pytest
import torch
from torch import nn

import tiny
from ptm.base.console import Silent
from ptm.config.load import load_config
from ptm.config.spec import RuntimeSpec
from ptm.errors import ConfigError
from ptm.experiment.train import run_training
from ptm.training.cuda_graphs import training_undone
from ptm.training.runtime import coming, open_runtime

GPU = torch.cuda.is_available()
RECORDED = "runtime.cuda_graphs=true"


def weights_of(config, tmp_path, name, *settings):
    """SHA-256 of what a run ends with."""
    spec = load_config(config, [f"output={tmp_path / name}", "runtime.threads=1", *settings])
    run_training(spec, mode="new", reporter=Silent())
    return hashlib.sha256((tmp_path / name / "model" / "model.safetensors").read_bytes()).hexdigest()


def test_13_08_a_pass_that_is_undone_leaves_gradients_and_statistics():
    """Parameters that get their first gradient keep zeros: memory for recorded passes."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    unused, frozen = nn.Linear(2, 2), nn.Linear(2, 2)
    frozen.requires_grad_(False)
    model[0].weight.grad = torch.ones(3, 4)
    before = [buffer.clone() for buffer in model.buffers()]
    with training_undone([model, unused, frozen]):
        model(torch.randn(8, 4)).square().sum().backward()
        assert not torch.equal(model[1].running_mean, before[0]) and not torch.equal(
            model[0].weight.grad, torch.ones(3, 4)
        )
    assert torch.equal(model[0].weight.grad, torch.ones(3, 4))
    assert model[2].weight.grad.tolist() == [[0, 0, 0]] * 2 and model[0].bias.grad.tolist() == [0, 0, 0]
    assert unused.weight.grad is None and frozen.weight.grad is None
    assert all(torch.equal(old, new) for old, new in zip(before, model.buffers(), strict=True))


def test_13_08_numbers_that_come_are_those_of_their_moment():
    numbers = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert coming(numbers)() == [1.0, 2.0]


def test_13_08_several_processes_are_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(ConfigError, match="this one has 2") as caught,
        open_runtime(RuntimeSpec(device="cpu", cuda_graphs=True)),
    ):
        pass
    assert "cuda_graphs=false" in str(caught.value)


@pytest.mark.parametrize("name", ["text-classification", "image-classification"])
def test_13_08_on_a_cpu_nothing_changes(name, tmp_path):
    config, steps = tiny.prepare(name, tmp_path), ["train.epochs=1", "runtime.device=cpu"]
    assert weights_of(config, tmp_path, "a", *steps) == weights_of(config, tmp_path, "b", *steps, RECORDED)


@pytest.mark.skipif(not GPU, reason="no GPU")
@pytest.mark.parametrize(
    "name",
    [
        "text-classification-pairs",
        "text-classification-lora",
        "text-classification-regression",
        "text-classification-gpt2",
        "image-classification",
        "image-classification-multilabel",
    ],
)
def test_13_08_recorded_passes_train_alike(name, tmp_path):
    """To the last bit, for these; a text without padding may meet another kernel, which rounds otherwise."""
    config, same = tiny.prepare(name, tmp_path), ["runtime.device=cuda", "runtime.deterministic=true"]
    one_by_one = weights_of(config, tmp_path, "a", *same)
    assert one_by_one == weights_of(config, tmp_path, "b", *same, RECORDED)
    assert one_by_one == weights_of(config, tmp_path, "c", *same, RECORDED)
