"""What is said of a loss, a gradient, a metric or a weight that is not a finite number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ptm.errors import NotFinite
from ptm.pipeline import Metrics, Pipeline
from ptm.training.meter import StepNumbers
from ptm.training.sharded import some_share_is_empty, whole

_PLACES = 5  # examples named in a message
_NOT_SAVED = "finite numbers; this step was not saved"


def step_not_finite(numbers: StepNumbers, step: int, pipeline: Pipeline) -> NotFinite:
    """For a step whose loss or gradient is none."""
    places = [str(pipeline.named_example("train", int(i))["where"]) for i in numbers.ids[:_PLACES]]
    more = ", …" if len(numbers.ids) > _PLACES else ""
    return NotFinite(
        f"the loss is {numbers.loss} and the gradient's norm {numbers.gradient_norm} at step {step}",
        where=f"step {step}, examples {', '.join(places)}{more}",
        expected=_NOT_SAVED,
        cure="lower train.learning_rate, add warmup, look at these examples, or use precision: fp32",
    )


def finite_values(metrics: Metrics, pipeline: Pipeline, model: str) -> dict[str, float]:
    """The metrics of a model that is measured as it is.

    Raises NotFinite, naming examples, where one is no finite number, or where weights are none: labels and boxes can be
    chosen among numbers that are none, too.
    """
    values = metrics.compute()
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if not bad and _weights_are_finite(pipeline.model):
        return values
    places = ", ".join(islice(_places(metrics, pipeline), _PLACES))
    raise NotFinite(
        f"{bad[0]} is {values[bad[0]]}" if bad else "weights are not finite",
        where=f"{model}{f', examples {places}' if places else ''}",
        expected="finite numbers",
        cure="use --set runtime.precision=fp32, or look at the weights and at these examples",
    )


def evaluation_not_finite(loss: float, step: int, metrics: Metrics, pipeline: Pipeline) -> NotFinite:
    """For an evaluation whose loss is none: names the first examples whose scores are not finite."""
    named = (
        ", ".join(islice(_places(metrics, pipeline), _PLACES))
        or "of every kind: only their sum is not finite"
    )
    return NotFinite(
        f"the evaluation loss is {loss} at step {step}",
        where=f"step {step}, examples {named}",
        expected=_NOT_SAVED,
        cure="lower train.learning_rate, look at these examples, or use precision: fp32",
    )


def largest_weight(parameters: Sequence[Tensor]) -> float:
    """The largest absolute value in all of them; not finite if one is not."""
    spread: list[Tensor] = []
    gathered: list[Tensor] = []
    for tensor in (p.detach() for p in parameters):
        # The largest of nothing is an error of torch's.
        (gathered if some_share_is_empty(tensor) else spread).append(tensor)
    norms = [
        whole(torch.nn.utils.get_total_norm(tensors, norm_type=math.inf)).item()
        for tensors in (spread, [whole(tensor) for tensor in gathered])
    ]
    return max(norms) if all(map(math.isfinite, norms)) else math.nan


def outputs_not_finite(ids: Iterable[int], pipeline: Pipeline) -> NotFinite:
    """For examples of whose outputs, which are no numbers, an answer would be chosen all the same: the first word, the
    first class, no box."""
    places = list(islice((str(pipeline.named_example("eval", i)["where"]) for i in ids), _PLACES))
    return NotFinite(
        "the scores are not finite",
        where=", ".join(places),
        expected="finite numbers",
        cure="use --set runtime.precision=fp32, or look at the weights and at these examples",
    )


def require_finite_weights(model: nn.Module, where: str) -> None:
    """Raise NotFinite for a model whose weights are no numbers: a detector with such weights finds nothing, which reads
    like an answer, as do the words of a translation and the classes of pixels."""
    if not _weights_are_finite(model):
        raise NotFinite(
            "weights are not finite", where=where, expected="finite numbers", cure="look at the weights"
        )


def _weights_are_finite(model: nn.Module) -> bool:
    return math.isfinite(largest_weight([*model.parameters(), *_counted(model)]))


def _counted(model: nn.Module) -> Iterator[Tensor]:
    """What normalisations have counted and keep: as much a part of a model as its weights. Other buffers may be masks,
    of which infinity is a part."""
    for module in model.modules():
        if hasattr(module, "running_var"):
            yield from (tensor for tensor in module.buffers(recurse=False) if tensor.is_floating_point())


def weights_not_finite(step: int) -> NotFinite:
    """A step can end in weights that are not finite though its loss and gradient were: an update too large."""
    return NotFinite(
        f"the weights are not finite after step {step}",
        where=f"step {step}",
        expected=_NOT_SAVED,
        cure="lower train.learning_rate, or add warmup",
    )


def _places(metrics: Metrics, pipeline: Pipeline) -> Iterator[str]:
    """Where the examples stand for which the model gives a number that is none."""
    for prediction in metrics.predictions():
        if not _is_finite(prediction):
            yield str(pipeline.named_example("eval", prediction["id"])["where"])


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
