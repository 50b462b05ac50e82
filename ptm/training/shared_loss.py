"""Gradients of several processes, added up while the backward pass still runs: torch's DistributedDataParallel.

It averages by itself; ptm needs the sum, which is divided once by a count that all processes have together. So its
buckets are added up, and nothing else (a communication hook). Gradients are views of these buckets, so that no second
copy of them exists. Which gradients lie in which bucket depends on the model alone: sums are then rounded alike after
a resume, which buckets in the order of the first backward pass (its other mode) would not be.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ptm.pipeline import Output
from ptm.training.runtime import Runtime, peers

Loss = Callable[[nn.Module, Any], Output]


class SharedLoss:
    """``loss(model, batch)`` whose gradients this process shares with all others, once a step; in the only process it
    is nothing more than that.

    ``extra``: parameters that the loss trains besides those of the model. What does not require a gradient now is
    left out for good: where other layers begin to learn, a new one takes over. ``sharded``: the model itself adds up
    its gradients, in each backward pass. Raises PeerLost.
    """

    def __init__(
        self,
        loss: Loss,
        model: nn.Module,
        extra: nn.Module | None,
        runtime: Runtime,
        *,
        sharded: bool = False,
    ) -> None:
        own = _Pass(loss, model, extra, runtime.device)
        self._module: nn.Module = own
        self._shared: DistributedDataParallel | None = None
        self._alone = runtime.ranks == 1
        if runtime.ranks == 1 or sharded:
            return
        with peers(), warnings.catch_warnings():
            # Of broadcast_buffers, whose successor sends buffers once, and which older ones do not know.
            warnings.simplefilter("ignore", FutureWarning)
            self._module = self._shared = DistributedDataParallel(
                own,
                init_sync=False,  # all began alike, or from one checkpoint
                broadcast_buffers=False,  # batch norms are chained instead
                find_unused_parameters=True,
                gradient_as_bucket_view=True,
            )
        self._shared.register_comm_hook(None, lambda _, bucket: _sum(bucket.buffer()))

    @property
    def in_buckets(self) -> bool:
        """Whether gradients live on from step to step, as views of what is sent."""
        return self._shared is not None

    def __call__(self, batch: Any) -> Output:
        loss, rest = self._module(batch)
        output: Output = rest()
        return replace(output, loss_sum=loss)

    @contextmanager
    def part(self, *, last: bool) -> Iterator[None]:
        """Around the forward and the backward pass of a micro-batch. After the last one gradients are shared.

        Raises PeerLost.
        """
        if self._alone:
            yield
        elif self._shared is None or last:
            with peers():
                yield
        else:
            with self._shared.no_sync():
                yield

    def take_part(self) -> None:
        """In the place of all micro-batches, in a process that has none in this step: add nothing. Raises PeerLost."""
        with peers():
            self._module(None)[0].backward()


class _Pass(nn.Module):
    """A forward pass, as DistributedDataParallel wraps it."""

    def __init__(self, loss: Loss, model: nn.Module, extra: nn.Module | None, device: torch.device) -> None:
        super().__init__()
        self.model, self.extra = model, extra
        self._loss = loss
        # All that a process without a micro-batch uses; in others it is the one parameter without a gradient, or torch
        # would warn that there is none.
        self.nothing = nn.Parameter(torch.zeros((), device=device))

    def forward(self, batch: Any) -> tuple[Tensor, Callable[[], Output | None]]:
        if batch is None:
            return self.nothing * 0, lambda: None
        output = self._loss(self.model, batch)
        # In a function: a gradient is waited for of whatever leads to a tensor that is returned, such as logits.
        return output.loss_sum, lambda: output


def _sum(numbers: Tensor) -> torch.futures.Future[Tensor]:
    """Over the processes, in the memory of these numbers, while something else is computed."""
    work = dist.all_reduce(numbers, async_op=True)
    assert work is not None
    return work.get_future().then(lambda done: done.value()[0])
