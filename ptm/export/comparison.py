"""An export against its model: the same batches through both, their logits side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ptm.base.console import Reporter
from ptm.config.label_types import CLASSES, NUMBER
from ptm.config.spec import RunSpec
from ptm.config.tasks import QUESTION_ANSWERING, TEXT_SIMILARITY
from ptm.export.graph import OutputOf
from ptm.pipeline import Metrics, Pipeline
from ptm.text.pipeline import TextPipeline
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

    def add(self, model: Tensor, export: Tensor, spec: RunSpec) -> None:
        """fp [rows, classes] each."""
        if not len(model):
            return
        distance = (model.double() - export.double()).abs()
        self.largest = max(self.largest, _number(distance.max()))
        self.total += _number(distance.sum())
        self.numbers += distance.numel()
        self.size = max(self.size, _number(model.abs().max()))
        if spec.data.label_type != NUMBER.name and spec.task not in _WITHOUT_CLASSES:
            several = spec.data.label_type == CLASSES.name
            same = ((model > 0) == (export > 0)).all(-1) if several else model.argmax(-1) == export.argmax(-1)
            self.equal += int(same.sum())
            self.answers += len(model)

    def add_answers(self, model: Sequence[Any], export: Sequence[Any]) -> None:
        """What was answered, an object an example."""
        self.equal += sum(one == other for one, other in zip(model, export, strict=True))
        self.answers += len(model)


# Outputs of these are no scores of classes, of which the highest is the answer.
_WITHOUT_CLASSES = (QUESTION_ANSWERING.name, TEXT_SIMILARITY.name)


class _Recorder(nn.Module):
    """Calls a network and keeps what it gave: [rows, classes], without padding. ``output_of``: of a model over texts
    what its graph gives."""

    def __init__(self, inner: nn.Module, output_of: OutputOf | None = None) -> None:
        super().__init__()
        self.inner, self._output_of = inner, output_of
        self.given: list[Tensor] = []

    def forward(self, *arguments: Tensor, **named: Tensor) -> Any:
        result, mask = self.inner(*arguments, **named), named.get("attention_mask")
        if self._output_of is not None:
            output = self._output_of(result, torch.ones_like(named["input_ids"]) if mask is None else mask)
        else:
            output = result.logits if hasattr(result, "logits") else result
        self.given.append(_rows(output, mask))
        return result


def compare(
    pipeline: Pipeline,
    exported: Pipeline,
    export: nn.Module,
    runtime: Runtime,
    *,
    batch_size: int,
    spec: RunSpec,
    reporter: Reporter,
) -> tuple[Metrics, Metrics, Difference]:
    """The metrics of a pipeline's model, those of its export, and how far they are apart, over the evaluation split.

    ``exported``: the pipeline over the same examples whose batches ``export`` is given; the same one, or one with
    another vocabulary.
    """
    output_of = pipeline.graph_output if isinstance(pipeline, TextPipeline) else None
    plan = order.eval_plan(pipeline.size("eval"), batch_size, pipeline.lengths("eval"))
    both = pipeline.new_metrics(), pipeline.new_metrics()
    difference = Difference()
    pipeline.model.eval()
    reporter.begin("compare", len(plan))
    with torch.inference_mode():
        batches = zip(pipeline.batches("eval", plan, 0), exported.batches("eval", plan, 0), strict=True)
        for done, pair in enumerate(batches, start=1):
            recorders = _Recorder(pipeline.model, output_of), _Recorder(export)
            outputs = []
            for side, recorder, batch, metrics in zip(
                (pipeline, exported), recorders, pair, both, strict=True
            ):
                recorder.eval()
                outputs.append(side.evaluate_batch(recorder, batch))
                metrics.update(batch, outputs[-1])
            for model, other in zip(recorders[0].given, recorders[1].given, strict=True):
                difference.add(model, other, spec)
            if spec.task == QUESTION_ANSWERING.name:
                difference.add_answers(*([each.place for each in one.predictions] for one in outputs))
            reporter.advance(done, "")
    reporter.end()
    return *both, difference


def _rows(result: Any, mask: Tensor | None) -> Tensor:
    """What a network gave as fp32 [rows, classes]: of tokens those that are none of padding, of images each pixel."""
    tensor: Tensor = result["out"] if isinstance(result, dict) else result
    if tensor.ndim == 4:
        return tensor.float().permute(0, 2, 3, 1).flatten(0, 2)
    if tensor.ndim == 3:
        return tensor.float().flatten(0, 1) if mask is None else tensor.float()[mask.bool()]
    return tensor.float()


def _number(value: Tensor) -> float:
    return float(value.cpu())
