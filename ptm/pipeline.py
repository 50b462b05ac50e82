"""The contract between the engine and the tasks. The engine knows nothing else of them.

A pipeline owns one model and two sets of examples, and can turn example ids into batches, a batch into a
loss, and outputs into metrics. It draws no random numbers of its own: the order of examples comes from
:mod:`ptm.order`, and a training view of an example is a function of (seed, epoch, id) alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ptm.weights import LoadReport

Split = Literal["train", "eval"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A few examples, ready for the model.

    ``ids`` are the stable ids of the examples, int64 [n]; ``inputs`` the tensors the model needs, first
    dimension n; ``targets`` the labels, int64 [n], or None where there are none.
    """

    ids: np.ndarray
    inputs: dict[str, Tensor]
    targets: Tensor | None

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``; copies overlap with computation when the memory is pinned."""
        if device.type == "cpu":
            return self
        move = lambda t: t.to(device, non_blocking=True)  # noqa: E731
        return replace(
            self,
            inputs={name: move(tensor) for name, tensor in self.inputs.items()},
            targets=None if self.targets is None else move(self.targets),
        )


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a forward pass gives: the loss as a **sum** over ``count`` things, never as a mean.

    The engine adds sums and counts over micro-batches and processes and divides once. ``logits`` are
    [n, classes] in fp32; ``count`` is the number of examples (or tokens, or pixels) in ``loss_sum``.
    """

    loss_sum: Tensor
    count: int
    logits: Tensor | None = None
    parts: Mapping[str, Tensor] = field(default_factory=dict)  # named loss sums for the log (detached)
    features: Mapping[str, Tensor] = field(default_factory=dict)  # what ``forward`` was asked for by name


class Metrics(Protocol):
    """Collects outputs of an evaluation, in any order and in several processes, then computes."""

    def update(self, batch: Batch, output: Output) -> None: ...

    def merge(self, others: Sequence[Metrics]) -> Metrics:
        """One that saw what this and all others saw; example order does not matter."""
        ...

    def compute(self) -> dict[str, float]:
        """Names to values, ``loss`` among them. An empty evaluation raises DataError."""
        ...

    def predictions(self) -> Iterator[dict[str, Any]]:
        """One a evaluated example, by rising id: id, label, prediction, scores (label name → probability)."""
        ...


class Pipeline(Protocol):
    model: nn.Module
    labels: tuple[str, ...]
    head: tuple[str, ...]  # prefixes of the names of the head's parameters
    embeddings: tuple[str, ...]  # the same for the embeddings; () where there are none
    load_report: LoadReport  # what was loaded, what is new, what was left over
    view: str  # two pipelines with the same view over the same data can share batches
    random_views: bool  # whether training batches depend on the epoch and the seed
    reading: (
        str  # what decides outputs besides weights and view: architecture, normalisation, order of outputs
    )
    head_input: str  # the feature that is all the head reads, so that a frozen one runs once; "" if none
    feature_names: tuple[str, ...]  # what ``forward`` can give besides logits: "pooled", "hidden.1", …

    def size(self, split: Split) -> int:
        """Number of examples; ids are 0 … size-1."""
        ...

    def lengths(self, split: Split) -> np.ndarray | None:
        """Tokens an example, int [size], for grouping by length; None where all cost the same."""
        ...

    def batches(self, split: Split, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        """A batch for each array of ids in ``plan``, in that order, on the CPU. ``train`` is augmented."""
        ...

    def forward(self, model: nn.Module, batch: Batch, wanted: Sequence[str] = ()) -> Output:
        """Loss and logits of ``model`` (this pipeline's, or one wrapped around it) on a batch.

        ``wanted``: names out of ``feature_names``, given as ``features``: fp [n, d] for "pooled", [n, tokens, d]
        of texts, [n, channels, h, w] of images.
        """
        ...

    def forward_head(self, batch: Batch, head_input: Tensor) -> Output:
        """As ``forward``, from the feature ``head_input`` on: [n, width]."""
        ...

    def misfits(self) -> list[str]:
        """What of the data does not suit the weights: many unknown words, another image size. [] when all is well."""
        ...

    def new_metrics(self) -> Metrics: ...

    def example(self, split: Split, index: int) -> dict[str, Any]:
        """What to show of an example: ``{"text": …}`` or ``{"image_png": bytes}``, and ``where`` it is."""
        ...

    def save_model(self, directory: Path) -> None:
        """All a stranger needs to use the model: weights, and tokenizer or preprocessing, and label names."""
        ...

    def facts(self) -> dict[str, Any]:
        """For the record: data digests, counts a class, padding waste, preprocessing."""
        ...
