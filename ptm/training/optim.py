"""Parameters into groups, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from ptm.config.spec import ModelSpec, TrainSpec
from ptm.errors import ConfigError
from ptm.models.layers import layers_of
from ptm.training import eight_bit


def freeze(
    model: nn.Module,
    spec: ModelSpec,
    head: Sequence[str],
    embeddings: Sequence[str],
    new: Collection[str] = (),
) -> None:
    """Mark what is not trained, besides what is marked already: nothing begins to learn here.

    ``new``: names of parameters that did not come with the weights; they learn, whatever ``spec.freeze`` says. Raises
    ConfigError for a pattern that matches nothing, or when nothing is left.
    """
    names = [name for name, _ in model.named_parameters()]
    if spec.freeze == "none":
        return
    if spec.freeze == "backbone":
        frozen = {name for name in names if not name.startswith(tuple(head))}
    elif spec.freeze == "embeddings":
        frozen = {name for name in names if name.startswith(tuple(embeddings))} if embeddings else set()
    else:
        frozen = set()
        for pattern in spec.freeze:
            # A pattern may leave out the name of the base model: `encoder.layer.0.*` for `bert.encoder.layer.0.*`.
            matched = {
                name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")
            }
            if not matched:
                raise ConfigError(
                    f"the pattern {pattern!r} matches no parameter",
                    where="model.freeze",
                    expected=f"names such as {names[0]}, {names[-1]}",
                )
            frozen |= matched
    if not frozen:
        raise ConfigError(
            "this model has no embeddings to freeze", where="model.freeze", cure="use backbone or patterns"
        )
    frozen -= set(new)
    if not frozen:
        raise ConfigError(
            "all that model.freeze names is new: it did not come with the weights, and learns",
            where="model.freeze",
            cure="name layers that were loaded, or remove freeze",
        )
    if len(frozen) == len(names):
        raise ConfigError("every parameter is frozen", where="model.freeze", cure="leave something to train")
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)


def training_mode(model: nn.Module) -> None:
    """Train what is trained. A part whose parameters are all frozen computes as in evaluation.

    Otherwise a frozen batch norm would drift with the data, and a frozen encoder would give other features
    for the same text each time.
    """
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()


def learning_layers(layers: Sequence[tuple[str, ...]], epoch: int, every: int) -> list[tuple[str, ...]]:
    """The layers that learn in an epoch, counted from 0: the last one, and one more after every ``every`` epochs.

    Gradual unfreezing (Howard & Ruder 2018, arXiv:1801.06146, section 3.3).
    """
    return list(layers[-(1 + epoch // every) :])


def train_only(model: nn.Module, names: Collection[str]) -> None:
    """Let the parameters of these names learn, and no others. A gradient that is left is removed."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
        if name not in names:
            parameter.grad = None


def parameter_groups(
    model: nn.Module,
    extra: nn.Module | None,
    spec: TrainSpec,
    head: Sequence[str],
    embeddings: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Groups for the optimizer, each with ``peak``, the highest learning rate of its schedule.

    Biases and the parameters of normalisation layers (all with fewer than two dimensions) do not decay. What
    ``extra`` holds (a projection that a distillation trains) is new, as the head is, and learns at its rate.
    With ``layer_decay`` d, the k-th of L layers learns at d^(L-k) times the rate (Howard & Ruder 2018,
    arXiv:1801.06146, section 3.1; Clark et al. 2020, arXiv:2003.10555, appendix B). Raises ConfigError for a model
    without recognisable layers.
    """
    factors = _layer_factors(model, spec.layer_decay, head, embeddings)
    members: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    named = [
        (name.startswith(tuple(head)), factors.get(name, 1.0), p) for name, p in model.named_parameters()
    ]
    named += [(True, 1.0, p) for p in extra.parameters()] if extra is not None else []
    for new, factor, parameter in named:
        if parameter.requires_grad:
            members.setdefault((new, factor, parameter.ndim >= 2), []).append(parameter)
    return [
        {
            "params": parameters,
            "peak": factor * ((spec.head_learning_rate if new else None) or spec.learning_rate),
            "weight_decay": spec.weight_decay if decays else 0.0,
        }
        for (new, factor, decays), parameters in members.items()
    ]


def _layer_factors(
    model: nn.Module, decay: float | None, head: Sequence[str], embeddings: Sequence[str]
) -> dict[str, float]:
    """Name of a parameter to the share of the learning rate that its layer gets; {} where all get the same."""
    if decay is None:
        return {}
    layers = layers_of(model, head, embeddings, where="train.layer_decay")
    return {name: decay ** (len(layers) - k) for k, names in enumerate(layers, start=1) for name in names}


def build_optimizer(groups: list[dict[str, Any]], spec: TrainSpec) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter, arXiv:1711.05101) or SGD with momentum, in one fused pass over the weights a step; or
    Adafactor (Shazeer & Stern, arXiv:1804.04235), for which torch has none: a mean of squared gradients a row and a
    column in place of one a weight, no momentum, and a rate that is relative to a tensor's root mean square; or AdamW
    in eight bits (:mod:`ptm.training.eight_bit`). Raises ConfigError where the package of the last is not there."""
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=spec.learning_rate, fused=True)
    if spec.optimizer == eight_bit.NAME:
        return eight_bit.adamw(groups, spec.learning_rate)
    if spec.optimizer == "adafactor":
        return torch.optim.Adafactor(groups, lr=spec.learning_rate, foreach=False)
    return torch.optim.SGD(groups, lr=spec.learning_rate, momentum=spec.momentum, fused=True)


def state_numbers(spec: TrainSpec, parameter: Tensor) -> int:
    """How many numbers the optimizer keeps of a parameter: two moments, a momentum, none; or rows and columns. Those of
    eight bits count as quarters."""
    size = parameter.numel()
    if spec.optimizer == eight_bit.NAME:
        return eight_bit.state_numbers(size)
    if spec.optimizer == "adafactor":
        return size if parameter.ndim < 2 else sum(size // max(1, n) for n in parameter.shape[-2:])
    return size * (2 if spec.optimizer == "adamw" else int(spec.momentum > 0))


def rate_factor(step: int, steps: int, spec: TrainSpec) -> float:
    """The learning rate of step 0 … steps-1 as a share of its peak.

    The warm-up rises linearly and reaches the peak at its last step; linear and cosine reach 0 after the last
    step of all, as in the papers that fine-tuned BERT (arXiv:1810.04805) and SGDR without restarts
    (arXiv:1608.03983).
    """
    # 0.07 of 100 steps is 7.000000000000001 in floating point, which is no reason for an eighth step.
    warmup = math.ceil(spec.warmup * steps - 1e-9 * steps)
    if step < warmup:
        return (step + 1) / warmup
    if spec.scheduler == "constant":
        return 1.0
    if spec.scheduler == "step":
        passed = sum(step >= math.floor(point * steps) for point in spec.milestones)
        return spec.step_factor**passed
    done = (step - warmup) / max(1, steps - warmup)
    return 1.0 - done if spec.scheduler == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class StepCounts:
    """How long a run is: ``steps`` in all, ``steps_per_epoch`` of them a pass over the data."""

    steps: int
    steps_per_epoch: int

    @classmethod
    def of(cls, spec: TrainSpec, examples: int) -> StepCounts:
        per_epoch = math.ceil(examples / spec.batch_size)
        return cls(steps=spec.steps or (spec.epochs or 1) * per_epoch, steps_per_epoch=per_epoch)

    def epoch(self, step: int) -> tuple[int, int]:
        """(epoch, step within it) of a step."""
        return divmod(step, self.steps_per_epoch)
