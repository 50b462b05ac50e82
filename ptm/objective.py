"""What is minimised: here the labels alone, in `distill.objective` a teacher too. The loop does not know which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ptm.base.console import Reporter
from ptm.pipeline import Batch, Output, Pipeline


@dataclass(frozen=True)
class TeacherOutputs:
    """What a batch learns from: the teacher's outputs as stored, or the batch that it is to look at.

    Both None: the teacher looks at its student's batch.
    """

    outputs: Mapping[str, Tensor] | None = None
    batch: Batch | None = None

    def to(self, device: torch.device) -> TeacherOutputs:
        if device.type == "cpu":
            return self
        moved = self.outputs and {name: t.to(device, non_blocking=True) for name, t in self.outputs.items()}
        return TeacherOutputs(moved, self.batch and self.batch.to(device))


@dataclass(frozen=True)
class TrainBatch:
    """What one forward pass of training learns from: a batch, and what each teacher says or is to look at."""

    batch: Batch
    teacher_outputs: tuple[TeacherOutputs, ...] = ()

    def to(self, device: torch.device) -> TrainBatch:
        return TrainBatch(
            self.batch.to(device), tuple(outputs.to(device) for outputs in self.teacher_outputs)
        )


@dataclass(frozen=True)
class Step:
    """One optimizer step as this process sees it.

    ``examples`` is the size of the whole batch, over all processes; ``shard`` holds this process's micro-batches, each
    with its index in the whole batch, and ``loader`` what the objective makes of them.
    """

    examples: int
    shard: Sequence[tuple[int, np.ndarray]]
    loader: Iterator[TrainBatch]

    @property
    def ids(self) -> np.ndarray:
        """int64, of this process's examples."""
        return np.concatenate([ids for _, ids in self.shard]) if self.shard else np.empty(0, dtype=np.int64)

    def micro_batches(self) -> Iterator[tuple[int, TrainBatch]]:
        """(index in the whole batch, batch) in order; to be taken once, and whole."""
        for index, ids in self.shard:
            train_batch = next(self.loader)
            assert np.array_equal(train_batch.batch.ids, ids), "a batch of other examples"
            yield index, train_batch


class Objective(Protocol):
    module: nn.Module | None  # parameters that are trained with the model but do not belong to it
    counts: dict[str, float]  # sums over the whole run: the engine keeps them in its checkpoints

    def prepare(self, epoch: int, stop: Callable[[], bool], reporter: Reporter) -> bool:
        """What an epoch needs before its first step. False: asked to stop before it was done."""
        ...

    def train_batches(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[TrainBatch]: ...

    def loss(self, model: nn.Module, train_batch: TrainBatch) -> Output: ...


class Supervised:
    """Cross-entropy, or whatever the pipeline's own loss is."""

    def __init__(self, pipeline: Pipeline, views: int | None = None) -> None:
        self.module: nn.Module | None = None
        self.counts: dict[str, float] = {}
        self._pipeline = pipeline
        self._views = views  # of so many epochs, in rotation

    def prepare(self, epoch: int, stop: Callable[[], bool], reporter: Reporter) -> bool:
        return True

    def train_batches(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[TrainBatch]:
        own_epoch = epoch % self._views if self._views else epoch
        return (TrainBatch(batch) for batch in self._pipeline.batches("train", plan, own_epoch))

    def loss(self, model: nn.Module, train_batch: TrainBatch) -> Output:
        return self._pipeline.forward(model, train_batch.batch)


def new_counts() -> dict[str, float]:
    """``used``: teacher's outputs learned from, in examples; ``computed``: how many of them a teacher was run for;
    ``teacher_seconds``: spent in teachers, ``step_seconds``: that part of it which training steps waited for."""
    return {"used": 0, "computed": 0, "teacher_seconds": 0.0, "step_seconds": 0.0}


def all_counts(of_processes: Sequence[dict[str, float]]) -> dict[str, float]:
    """What all processes counted: examples added up, seconds, which pass for all at once, averaged."""
    return {
        name: sum(counts[name] for counts in of_processes)
        / (len(of_processes) if name.endswith("seconds") else 1)
        for name in of_processes[0]
    }
