"""What is minimised: here the labels alone, in `distill.objective` a teacher too. The loop does not know which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ptm.base.console import Reporter
from ptm.errors import ConfigError
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

    def tensors(self) -> dict[str, Tensor]:
        """All of them by name. Raises ConfigError for a batch that holds anything else."""
        own = {} if self.batch.targets is None else {"targets": self.batch.targets}
        parts = {f"inputs.{name}": value for name, value in self.batch.inputs.items()} | own
        for number, teacher in enumerate(self.teacher_outputs):
            parts |= {f"teacher.{number}.{name}": value for name, value in (teacher.outputs or {}).items()}
        for name, value in parts.items():
            if not isinstance(value, Tensor):
                raise ConfigError(
                    f"passes over {name} cannot be recorded: it is no tensor",
                    where="runtime.cuda_graphs",
                    cure="--set runtime.cuda_graphs=false",
                )
        return parts

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> TrainBatch:
        """These in the place of its own."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }

        batch = replace(self.batch, inputs=under("inputs."), targets=tensors.get("targets"))
        numbers = range(len(self.teacher_outputs))
        return TrainBatch(batch, tuple(TeacherOutputs(under(f"teacher.{n}.") or None) for n in numbers))


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

    def ask_teachers(self, train_batch: TrainBatch) -> TrainBatch:
        """The batch, on its device, with what its teachers say of it, where that is not stored."""
        ...

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

    def ask_teachers(self, train_batch: TrainBatch) -> TrainBatch:
        return train_batch

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
