"""AdamW with moments in eight bits: near AdamW, a quarter of its memory, resumable; nothing is fetched for it."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from helpers import StopAt, fetches_nothing, last_state, run, text_spec, weights
from ptm.base import extras
from ptm.config.load import parse_config
from ptm.config.model_sections import ModelSpec, ShapeSpec
from ptm.config.spec import TrainSpec
from ptm.errors import ConfigError, Interrupted, PtmError
from ptm.run.checkpoint import _load_optimizer, optimizer_tensors
from ptm.training import eight_bit, optim


@pytest.fixture
def spec(tiny_bert, reviews, tmp_path):
    """A model with some matrices that are large enough for eight bits."""
    model = ModelSpec(name="new:bert", tokenizer=str(tiny_bert), shape=ShapeSpec(layers=1, width=64, heads=2))

    def make(output):
        few = {"max_train_examples": 32, "epochs": 2, "optimizer": "adamw8bit", "best": None}
        return replace(text_spec(tiny_bert, reviews, tmp_path / output, **few), model=model)

    return make


def steps(optimizer_name, start, gradients):
    weight = nn.Parameter(start.clone())
    settings = TrainSpec(epochs=1, learning_rate=1e-2, optimizer=optimizer_name)
    optimizer = optim.build_optimizer([{"params": [weight], "peak": 1e-2, "weight_decay": 0.1}], settings)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach(), optimizer


def test_13_06_eight_bits_come_near_to_adamw():
    """Within a tenth of the way that the weights went; small parameters, which stay fp32, to rounding."""
    torch.manual_seed(0)
    for shape, tolerance in (((64, 128), 0.1), ((40,), 1e-5)):
        start, gradients = torch.randn(shape), [torch.randn(shape) for _ in range(8)]
        full, _ = steps("adamw", start, gradients)
        eight, _ = steps("adamw8bit", start, gradients)
        assert (eight - full).norm() <= tolerance * (full - start).norm()


@pytest.mark.parametrize("shape", [(3, 5), (4096,), (64, 65), (100, 300)])
def test_13_06_it_keeps_what_is_counted_for_it(shape):
    _, optimizer = steps("adamw8bit", torch.randn(shape), [torch.randn(shape)])
    (state,) = optimizer.state.values()
    held = sum(t.numel() * t.element_size() for t in state.values() if torch.is_tensor(t))
    counted = 4 * optim.state_numbers(
        TrainSpec(epochs=1, learning_rate=1, optimizer="adamw8bit"), torch.empty(shape)
    )
    assert held <= counted <= held + 4
    if len(shape) == 2 and shape[0] == 100:
        assert held < 0.3 * 2 * 4 * 100 * 300


def test_13_06_its_state_goes_into_a_checkpoint_and_back():
    torch.manual_seed(0)
    start, gradients = torch.randn(64, 65), [torch.randn(64, 65) for _ in range(4)]
    whole, _ = steps("adamw8bit", start, gradients)
    half, optimizer = steps("adamw8bit", start, gradients[:2])
    kept = optimizer_tensors(optimizer)
    _, other = steps("adamw8bit", half, [])
    _load_optimizer(other, kept)
    (weight,) = other.param_groups[0]["params"]
    for gradient in gradients[2:]:
        weight.grad = gradient.clone()
        other.step()
    assert torch.equal(weight.detach(), whole)
    for name, wrong in (
        ("0.state1", torch.zeros(64, 65)[:, 1:]),
        ("0.absmax1", torch.zeros(3)),
        ("0.step", torch.zeros(2)),
    ):
        with pytest.raises(ValueError, match=name):
            _load_optimizer(other, {**kept, name: wrong})


@pytest.mark.slow
def test_13_06_a_stop_changes_no_bit(spec, tmp_path):
    run(spec("a"))
    with pytest.raises(Interrupted):
        run(spec("b"), reporter=StopAt(3))
    run(spec("b"), mode="resume")
    assert last_state(tmp_path / "a") == last_state(tmp_path / "b")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    newest = max((tmp_path / "a" / "checkpoints").glob("step-*"))
    kinds = {tensor.dtype for tensor in load_file(newest / "optimizer.safetensors").values()}
    assert kinds == {torch.uint8, torch.int64, torch.float32}


def test_13_06_without_the_package_nothing_begins(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(eight_bit, "find_spec", lambda name: None)
    with pytest.raises(PtmError, match="bitsandbytes") as caught:
        run(spec("a"))
    assert extras.install("8bit") in str(caught.value) and not (tmp_path / "a").exists()


def test_13_06_images_are_refused(tmp_path):
    text = (
        "version: 1\ntask: image-classification\nmodel: {name: resnet8, weights: none}\noutput: r\n"
        'data: {source: "builtin:digits", train: train, eval: test}\n'
        "train: {epochs: 1, learning_rate: 1e-3, optimizer: adamw8bit}\n"
    )
    with pytest.raises(ConfigError, match="text tasks"):
        parse_config(text, "c", base=tmp_path, cwd=tmp_path)


@pytest.mark.slow
def test_13_06_no_program_is_fetched_for_it(tmp_path):
    """Where the package ``kernels`` is installed, bitsandbytes has it fetch one from a hub."""
    code = (
        "import torch\nfrom ptm.training import eight_bit\n"
        "eight_bit.adamw([{'params': [torch.nn.Parameter(torch.zeros(3))]}], 1e-3)\n"
    )
    assert fetches_nothing(code, tmp_path)
