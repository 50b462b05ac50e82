"""Parameter groups, freezing and schedules, by hand."""

import math

import pytest
import torch
from torch import nn

from ptm import optim
from ptm.errors import ConfigError
from ptm.spec import ModelSpec, TrainSpec


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
