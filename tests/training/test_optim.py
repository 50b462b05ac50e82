"""Parameter groups, freezing and schedules, by hand."""

import math

import pytest
import torch
from torch import nn

from ptm.config.spec import ModelSpec, TrainSpec
from ptm.errors import ConfigError
from ptm.training import optim


def small_net() -> nn.Module:
    return nn.ModuleDict(
        {
            "backbone": nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Dropout(0.5)),
            "head": nn.Linear(4, 2),
        }
    )


def spec(**changes) -> TrainSpec:
    return TrainSpec(**{"epochs": 1, "learning_rate": 0.1, **changes})


def test_norms_and_biases_do_not_decay_and_the_head_has_its_own_rate():
    model = small_net()
    groups = optim.parameter_groups(model, None, spec(head_learning_rate=1.0, weight_decay=0.3), ("head.",))
    found = {id(p): (g["peak"], g["weight_decay"]) for g in groups for p in g["params"]}
    expected = {
        "backbone.0.weight": (0.1, 0.3),
        "backbone.1.weight": (0.1, 0.3),
        "backbone.1.bias": (0.1, 0.0),
        "backbone.2.weight": (0.1, 0.0),
        "backbone.2.bias": (0.1, 0.0),
        "head.weight": (1.0, 0.3),
        "head.bias": (1.0, 0.0),
    }
    assert {name: found[id(p)] for name, p in model.named_parameters()} == expected


class Stack(nn.Module):
    """Embeddings, two blocks, a pooler, a head: five matrices and a norm in four layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(5, 4)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4)) for _ in range(2)
        )
        self.pooler = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)


def test_each_layer_learns_at_the_rate_of_the_one_above_times_the_decay():
    model = Stack()
    settings = spec(layer_decay=0.5, head_learning_rate=1.0, weight_decay=0.3)
    groups = optim.parameter_groups(model, None, settings, ("head.",), ("embeddings.",))
    found = {id(p): (g["peak"], g["weight_decay"]) for g in groups for p in g["params"]}
    rates = {name: found[id(p)] for name, p in model.named_parameters()}
    by_hand = {
        "embeddings.weight": (0.1 / 8, 0.3),
        "layers.0.0.weight": (0.1 / 4, 0.3),
        "layers.0.1.weight": (0.1 / 4, 0.0),
        "layers.1.2.weight": (0.1 / 2, 0.3),
        "layers.1.2.bias": (0.1 / 2, 0.0),
        "pooler.weight": (0.1 / 2, 0.3),
        "head.weight": (1.0, 0.3),
        "head.bias": (1.0, 0.0),
    }
    for name, (rate, decay) in by_hand.items():
        assert rates[name] == (pytest.approx(rate), decay), name
    assert len(found) == len(list(model.parameters()))


def test_without_a_rate_of_its_own_the_head_learns_at_the_full_one():
    model, extra = Stack(), nn.Linear(4, 8)
    groups = optim.parameter_groups(model, extra, spec(layer_decay=0.5), ("head.",), ("embeddings.",))
    found = {id(p): g["peak"] for g in groups for p in g["params"]}
    assert found[id(model.head.weight)] == found[id(extra.weight)] == 0.1


def test_no_decay_of_layers_is_one_rate_for_all():
    groups = optim.parameter_groups(Stack(), None, spec(layer_decay=1.0), ("head.",), ("embeddings.",))
    assert {group["peak"] for group in groups} == {0.1}


def test_layers_join_from_the_top():
    layers = [("a",), ("b",), ("c", "d")]
    learning = [optim.learning_layers(layers, epoch, 2) for epoch in range(6)]
    assert learning == [[("c", "d")]] * 2 + [[("b",), ("c", "d")]] * 2 + [layers] * 2
    assert optim.learning_layers(layers, 100, 2) == layers


@pytest.mark.slow
def test_what_does_not_learn_has_no_gradient_and_no_state():
    """A fused optimizer that was given all parameters leaves the frozen ones alone, weight decay included."""
    model = Stack()
    settings = spec(weight_decay=0.5)
    for name in ("adamw", "sgd"):
        settings = spec(weight_decay=0.5, optimizer=name)
        groups = optim.parameter_groups(model, None, settings, ("head.",))
        optimizer = optim.build_optimizer(groups, settings)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optim.train_only(model, {"head.weight", "head.bias"})
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        optimizer.step()
        changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        assert changed == {"head.weight", "head.bias"}
        assert len(optimizer.state) == 2
        optim.train_only(model, set(before))


def test_what_a_distillation_adds_is_trained_too():
    extra = nn.Linear(4, 8)
    groups = optim.parameter_groups(small_net(), extra, spec(), ("head.",))
    assert {id(p) for p in extra.parameters()} <= {id(p) for g in groups for p in g["params"]}


@pytest.mark.parametrize(
    ("what", "trained"),
    [
        (
            "none",
            {
                "backbone.0.weight",
                "backbone.1.weight",
                "backbone.1.bias",
                "backbone.2.weight",
                "backbone.2.bias",
                "head.weight",
                "head.bias",
            },
        ),
        ("backbone", {"head.weight", "head.bias"}),
        (
            "embeddings",
            {
                "backbone.1.weight",
                "backbone.1.bias",
                "backbone.2.weight",
                "backbone.2.bias",
                "head.weight",
                "head.bias",
            },
        ),
        (
            ("backbone.1.*",),
            {"backbone.0.weight", "backbone.2.weight", "backbone.2.bias", "head.weight", "head.bias"},
        ),
        (
            ("0.weight", "1.weight"),
            {"backbone.1.bias", "backbone.2.weight", "backbone.2.bias", "head.weight", "head.bias"},
        ),
    ],
)
def test_freeze(what, trained):
    model = small_net()
    optim.freeze(model, ModelSpec(name="x", freeze=what), ("head.",), ("backbone.0.",))
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trained


@pytest.mark.parametrize("what", [("nothing.*",), ("*",)])
def test_freezing_nothing_or_everything_is_refused(what):
    with pytest.raises(ConfigError, match=r"model\.freeze"):
        optim.freeze(small_net(), ModelSpec(name="x", freeze=what), ("head.",), ())


def test_a_frozen_part_computes_as_in_evaluation():
    model = small_net()
    optim.freeze(model, ModelSpec(name="x", freeze="backbone"), ("head.",), ())
    optim.training_mode(model)
    assert not any(module.training for module in model["backbone"].modules())
    assert model["head"].training


def test_schedules_by_hand():
    linear = spec(warmup=0.2)
    assert [optim.rate_factor(s, 10, linear) for s in range(10)] == pytest.approx(
        [0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    )
    cosine = spec(scheduler="cosine")
    assert [optim.rate_factor(s, 4, cosine) for s in range(4)] == pytest.approx(
        [0.5 * (1 + math.cos(math.pi * s / 4)) for s in range(4)]
    )
    steps = spec(scheduler="step", milestones=(0.5, 0.75), step_factor=0.1)
    assert [optim.rate_factor(s, 8, steps) for s in range(8)] == pytest.approx(
        [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    assert {optim.rate_factor(s, 5, spec(scheduler="constant")) for s in range(5)} == {1.0}


def test_epochs_and_steps():
    counts = optim.StepCounts.of(spec(epochs=3, batch_size=4), 10)
    assert (counts.steps, counts.steps_per_epoch, counts.epoch(7)) == (9, 3, (2, 1))
    assert optim.StepCounts.of(TrainSpec(steps=5, learning_rate=1.0, batch_size=4), 10).steps == 5


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_fused_update_equals_the_plain_one(name):
    """On channels-last weights too: fused kernels go by memory order."""
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 3, 3)
    gradients = [torch.randn_like(weight) for _ in range(3)]
    settings = spec(optimizer=name, weight_decay=0.1)
    ours = nn.Parameter(weight.clone().contiguous(memory_format=torch.channels_last))
    plain = nn.Parameter(weight.clone())
    kind, options = (torch.optim.AdamW, {}) if name == "adamw" else (torch.optim.SGD, {"momentum": 0.9})
    optimizers = (
        optim.build_optimizer([{"params": [ours], "peak": 0.1, "weight_decay": 0.1}], settings),
        kind([plain], lr=0.1, weight_decay=0.1, **options),
    )
    for gradient in gradients:
        ours.grad = torch.empty_like(ours).copy_(gradient)
        plain.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours.detach(), plain.detach())


def test_a_share_of_steps_is_not_rounded_up_by_floating_point():
    """10.19: 0.07 of 100 steps is 7.000000000000001 in floating point."""
    for hundredths in range(1, 100):
        rates = [
            optim.rate_factor(step, 100, spec(warmup=hundredths / 100, scheduler="constant"))
            for step in range(100)
        ]
        assert sum(rate < 1 for rate in rates) == hundredths - 1


def test_13_06_adafactor_by_hand_and_how_much_it_keeps():
    """Algorithm 4 of arXiv:1804.04235 for a matrix, in float64, with the defaults of its section 9."""
    torch.manual_seed(0)
    weight, settings = torch.randn(3, 5), spec(optimizer="adafactor", weight_decay=0.0)
    ours = nn.Parameter(weight.clone())
    optimizer = optim.build_optimizer([{"params": [ours], "peak": 0.01, "weight_decay": 0.0}], settings)
    optimizer.param_groups[0]["lr"] = 0.01
    x, rows, columns = weight.double(), torch.zeros(3, 1).double(), torch.zeros(1, 5).double()
    for step in range(1, 4):
        gradient = torch.randn(3, 5)
        ours.grad = gradient.clone()
        optimizer.step()
        g, decay = gradient.double(), 1 - step**-0.8
        rows = decay * rows + (1 - decay) * (g**2).mean(1, keepdim=True)
        columns = decay * columns + (1 - decay) * (g**2).mean(0, keepdim=True)
        update = g / (rows @ columns / rows.mean()).sqrt()
        update = update / max(1.0, float(update.square().mean().sqrt()))
        x = x - max(1e-3, float(x.square().mean().sqrt())) * min(0.01, step**-0.5) * update
    torch.testing.assert_close(ours.detach().double(), x, rtol=1e-4, atol=1e-5)
    for shape in ((3, 5), (7,), (4, 3, 3, 3)):
        parameter = nn.Parameter(torch.randn(shape))
        for name in ("adamw", "sgd", "adafactor"):
            settings = spec(optimizer=name)
            optimizer = optim.build_optimizer([{"params": [parameter], "peak": 0.1}], settings)
            parameter.grad = torch.ones_like(parameter)
            optimizer.step()
            state = optimizer.state[parameter].items()
            held = sum(t.numel() for key, t in state if torch.is_tensor(t) and key != "step")
            assert held == optim.state_numbers(settings, parameter), (name, shape)
