"""One step's gradients: of the micro-batches of this process, added to those of all others, and what their losses come
to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptm.base import seeds
from ptm.pipeline import Pipeline
from ptm.training import order
from ptm.training.cuda_graphs import Recorder, training_undone
from ptm.training.memory import batch_memory
from ptm.training.runtime import Runtime
from ptm.training.shared_loss import Loss, SharedLoss


@dataclass(frozen=True)
class Passed:
    """A forward and a backward pass: float64 [2 + parts] loss, count, parts of the loss; the names of these."""

    sums: Tensor
    part_names: tuple[str, ...]


class Gradients:
    """``loss(model, batch)`` of ``pipeline``, summed over a step, and its gradients in the parameters.

    ``extra``: parameters that the loss trains besides those of the model; ``sharded``: the model itself adds up its
    gradients (:class:`SharedLoss`); ``ask``: adds to a batch what its teachers say of it; ``scale``: what a loss is
    multiplied by before the backward pass, in fp16; ``lap`` is called with the name of each part of a step when it
    ends. ``part_names``: of the loss, as far as this process knows them. Raises PeerLost.
    """

    def __init__(
        self,
        loss: Loss,
        model: nn.Module,
        extra: nn.Module | None,
        pipeline: Pipeline,
        runtime: Runtime,
        *,
        seed: int,
        sharded: bool,
        ask: Callable[[Any], Any],
        scale: Callable[[Tensor], Tensor],
        lap: Callable[[str], None],
    ) -> None:
        self._loss, self._model, self._extra, self._sharded = loss, model, extra, sharded
        self._pipeline, self._runtime, self._seed = pipeline, runtime, seed
        self._ask, self._scale, self._lap = ask, scale, lap
        self._recorder: Recorder[Any, Passed] | None = None  # of what learns now
        self._shared: SharedLoss | None = None  # over what learns now
        self.part_names: tuple[str, ...] = ()
        self._parts_known = False  # in all processes

    def begin_anew(self) -> None:
        """Other parameters learn from now on."""
        self._shared = self._recorder = None

    @property
    def stay(self) -> bool:
        """Whether gradients live on from step to step: views of what is sent, or where recorded passes add theirs."""
        return self._runtime.cuda_graphs or (self._shared is not None and self._shared.in_buckets)

    def backward(self, micro_batches: Iterable[tuple[int, Any]], count: int, step: int) -> Tensor:
        """Gradients of this process's micro-batches, ``count`` of them, added to those of others in the last one;
        float64 [2 + parts] of its own: loss, count, the parts of the loss. ``micro_batches``: (index in the whole
        batch, what the loss takes)."""
        runtime, none = self._runtime, torch.zeros(2, dtype=torch.float64, device=self._runtime.device)
        sums: Tensor | None = None
        if self._shared is None:
            self._shared = SharedLoss(self._loss, self._model, self._extra, runtime, sharded=self._sharded)
        for done, (index, train_batch) in enumerate(micro_batches, start=1):
            self._lap("data")
            filler = index == order.FILLER
            seed = partial(runtime.seed, self._seed, seeds.DROPOUT, step, max(0, index))
            memory = batch_memory(self._pipeline, train_batch.batch, "train.micro_batch_size", training=True)
            with memory, self._shared.part(last=done == count):
                asked = self._ask(train_batch.to(runtime.device))
                if runtime.cuda_graphs:
                    passed = self._recorder_of(self._shared)(asked, seed)
                else:
                    seed()
                    passed = self._passes(self._shared, asked, self._lap, learns=not filler)
            self._lap("backward")
            if filler:
                continue
            self.part_names = passed.part_names
            sums = passed.sums.clone() if sums is None else sums + passed.sums
        if not count:
            self._shared.take_part()
        return none if sums is None else sums

    def _passes(
        self, shared: SharedLoss, train_batch: Any, lap: Callable[[str], None], *, learns: bool = True
    ) -> Passed:
        """A forward and a backward pass; without ``learns`` one that adds nothing."""
        with self._runtime.autocast():
            output = shared(train_batch)
        lap("forward")
        self._scale(output.loss_sum if learns else output.loss_sum * 0).backward()
        count = torch.full((), float(output.count), dtype=torch.float64, device=output.loss_sum.device)
        parts = [part.double() for part in output.parts.values()]
        return Passed(torch.stack([output.loss_sum.detach().double(), count, *parts]), tuple(output.parts))

    def _recorder_of(self, shared: SharedLoss) -> Recorder[Any, Passed]:
        if self._recorder is None:
            modules = [self._model, *([self._extra] if self._extra is not None else [])]
            self._recorder = Recorder(
                lambda train_batch: self._passes(shared, train_batch, lambda part: None),
                self._runtime.device,
                partial(training_undone, modules),
            )
        return self._recorder

    def combine(
        self, sums: Tensor, norms: Sequence[nn.Module], before: Sequence[Sequence[Tensor]], pieces: int
    ) -> Tensor:
        """Make all processes hold the sums and statistics of the whole batch, cut into ``pieces``, as they hold its
        gradients. ``before``: mean and variance of each of ``norms`` before the step."""
        runtime = self._runtime
        whole = [np.empty(0)] * pieces
        passes = [len(order.shard(whole, rank, runtime.ranks)) for rank in range(runtime.ranks)]
        if not self._parts_known:
            # Every process asks, once a run, whatever it knows itself: one without a micro-batch knows no parts.
            self.part_names = next((names for names in runtime.gather(self.part_names) if names), ())
            self._parts_known = True
        sums = torch.nn.functional.pad(sums, (0, 2 + len(self.part_names) - len(sums)))
        runtime.sum(sums)
        runtime.chain_batch_norms(norms, before, passes)
        return sums
