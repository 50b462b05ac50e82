"""An export against its model: the same batches through both, their logits side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ptm.base.console import Reporter
from ptm.config.label_types import CLASSES, NUMBER
from ptm.pipeline import Metrics, Pipeline
from ptm.training import order
from ptm.training.runtime import Runtime


@dataclass
class Difference:
    """What was seen so far; ``size`` is the largest number of the model's own."""

    largest: float = 0.0
    total: float = 0.0
    numbers: int = 0
    equal: int = 0
    answers: int = 0
    size: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / max(1, self.numbers)

    @property
    def equal_answers(self) -> float | None:
        return self.equal / self.answers if self.answers else None

    def add(self, model: Tensor, export: Tensor, label_type: str) -> None:
        """fp [rows, classes] each."""
        if not len(model):
            return
        distance = (model.double() - export.double()).abs()
        self.largest = max(self.largest, _number(distance.max()))
        self.total += _number(distance.sum())
        self.numbers += distance.numel()
        self.size = max(self.size, _number(model.abs().max()))
        if label_type != NUMBER.name:
            several = label_type == CLASSES.name
            same = ((model > 0) == (export > 0)).all(-1) if several else model.argmax(-1) == export.argmax(-1)
            self.equal += int(same.sum())
            self.answers += len(model)


class _Recorder(nn.Module):
    """Calls a network and keeps what it gave: [rows, classes], without padding."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.given: list[Tensor] = []

    def forward(self, *arguments: Tensor, **named: Tensor) -> Any:
        result = self.inner(*arguments, **named)
        self.given.append(_rows(result, named.get("attention_mask")))
        return result


def compare(
    pipeline: Pipeline,
    exported: Pipeline,
    export: nn.Module,
    runtime: Runtime,
    *,
    batch_size: int,
    label_type: str,
    reporter: Reporter,
) -> tuple[Metrics, Metrics, Difference]:
    """The metrics of a pipeline's model, those of its export, and how far they are apart, over the evaluation split.

    ``exported``: the pipeline over the same examples whose batches ``export`` is given; the same one, or one with
    another vocabulary.
    """
    plan = order.eval_plan(pipeline.size("eval"), batch_size, pipeline.lengths("eval"))
    both = pipeline.new_metrics(), pipeline.new_metrics()
    difference = Difference()
    pipeline.model.eval()
    reporter.begin("compare", len(plan))
    with torch.inference_mode():
        batches = zip(pipeline.batches("eval", plan, 0), exported.batches("eval", plan, 0), strict=True)
        for done, pair in enumerate(batches, start=1):
            recorders = _Recorder(pipeline.model), _Recorder(export)
            for side, recorder, batch, metrics in zip(
                (pipeline, exported), recorders, pair, both, strict=True
            ):
                recorder.eval()
                metrics.update(batch, side.evaluate_batch(recorder, batch))
            for model, other in zip(recorders[0].given, recorders[1].given, strict=True):
                difference.add(model, other, label_type)
            reporter.advance(done, "")
    reporter.end()
    return *both, difference


def _rows(result: Any, mask: Tensor | None) -> Tensor:
    """What a network gave as fp32 [rows, classes]: of tokens those that are none of padding, of images each pixel."""
    if hasattr(result, "logits"):
        tensor: Tensor = result.logits
    else:
        tensor = result["out"] if isinstance(result, dict) else result
    if tensor.ndim == 4:
        return tensor.float().permute(0, 2, 3, 1).flatten(0, 2)
    if tensor.ndim == 3:
        return tensor.float().flatten(0, 1) if mask is None else tensor.float()[mask.bool()]
    return tensor.float()


def _number(value: Tensor) -> float:
    return float(value.cpu())
