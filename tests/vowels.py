"""A task that ptm does not have, as docs/adding_a_task.md describes one: how many vowels a text has.

A linear layer reads how often each letter occurs. There are no labels: the texts themselves say what is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ptm.base.seeds import INIT, mix
from ptm.config.evaluation import Evaluation
from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.config.tasks import Task
from ptm.data.examples import Dataset, Examples
from ptm.data.input_lines import LeftOut
from ptm.data.inputs import Source, text_inputs
from ptm.data.tabular import load_columns
from ptm.errors import ModelError, Problem
from ptm.metrics.regression import NumberMetrics
from ptm.models.weights import LoadReport
from ptm.pipeline import Batch, Metrics, Output, Pipeline, Split

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TASK = Task(
    name="vowel-counting",
    module=__name__,
    modality="text",
    sources=("csv",),
    evaluation=Evaluation(
        metrics=("loss", "pearson", "spearman", "mean_squared_error", "mean_absolute_error"),
        headline="mean_absolute_error",
        comparison="numbers",
    ),
    labelled=False,
    distillable=False,
)


def missing(spec: RunSpec) -> list[Problem]:
    return []


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    return load_columns(spec.data, {"text": spec.data.text or "text"}, train=train)


def stored_labels(name: str) -> tuple[str, ...] | None:
    return None


def read_inputs(
    spec: RunSpec, paths: Sequence[Source], left_out: LeftOut | None = None
) -> Iterator[Examples]:
    return text_inputs(paths, {"text": spec.data.text or "text"}, left_out=left_out)


def build(spec: RunSpec, data: Dataset, *, model: ModelRef, complete: bool) -> VowelCounting:
    network = nn.Linear(len(LETTERS), 1)
    weights = Path(model.name) / "model.safetensors"
    if weights.is_file():
        network.load_state_dict(load_file(weights))
        return VowelCounting(data, network, LoadReport(str(weights), len(network.state_dict())))
    if complete:
        raise ModelError("no such model", where=model.where, cure="name the model/ of a run")
    generator = torch.Generator().manual_seed(mix(spec.train.seed, INIT))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-0.1, 0.1, generator=generator)
    return VowelCounting(data, network, LoadReport("random start", 0, tuple(network.state_dict())))


class VowelCounting(Pipeline):
    labels = ()
    distillable = False

    def __init__(self, data: Dataset, model: nn.Module, report: LoadReport) -> None:
        self.model, self.load_report, self._data = model, report, data

    def size(self, split: Split) -> int:
        return len(self._examples(split))

    def batches(self, split: Split, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        for ids in plan:
            texts = [self._examples(split).columns["text"][index].lower() for index in ids]
            counts = torch.tensor([[float(text.count(letter)) for letter in LETTERS] for text in texts])
            vowels = torch.tensor([float(sum(text.count(v) for v in "aeiou")) for text in texts])
            yield Batch(ids=ids, inputs={"counts": counts}, targets=vowels)

    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        logits: Tensor = model(batch.inputs["counts"])
        loss_sum = F.mse_loss(logits[:, 0], batch.targets, reduction="sum")
        return Output(loss_sum=loss_sum, count=len(batch), logits=logits)

    def new_metrics(self) -> Metrics:
        return NumberMetrics()

    def example(self, split: Split, index: int) -> dict[str, Any]:
        examples = self._examples(split)
        return {"text": examples.columns["text"][index], "where": examples.where(index)}

    def save_model(self, directory: Path) -> None:
        save_file(self.model.state_dict(), directory / "model.safetensors")

    def describe(self) -> dict[str, Any]:
        return {"letters": LETTERS}

    def with_examples(self, examples: Examples) -> Pipeline:
        return VowelCounting(Dataset(None, examples, (), {}), self.model, self.load_report)
