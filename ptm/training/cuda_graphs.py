"""Forward and backward passes as CUDA graphs: recorded once for each shape of batch, then started as one.

A fast GPU waits for the CPU, which starts its kernels one by one: for a small model that is most of a step. A graph
holds all kernels of a pass, with their order and their memory, and is started by one call (torch's
:class:`torch.cuda.CUDAGraph`). It computes what it was recorded with, from the same memory each time: a batch is copied
there, weights and gradients stay where they are, and random numbers come from torch's generator as they otherwise do.
What Python decides is decided once. So only passes that depend on nothing but tensors and their shapes can be recorded
(text and image classifiers: their counts are numbers of examples).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from ptm.errors import ConfigError, PtmError, first_line

T = TypeVar("T")


class OfTensors(Protocol):
    """A batch that is nothing but tensors."""

    def tensors(self) -> dict[str, Tensor]: ...

    def with_tensors(self, tensors: dict[str, Tensor]) -> Self: ...


B = TypeVar("B", bound=OfTensors)


@dataclass(frozen=True)
class _Recording(Generic[T]):
    graph: Any  # torch.cuda.CUDAGraph
    inputs: dict[str, Tensor]  # where a batch is copied to
    result: T  # what the graph fills anew each time


class Recorder(Generic[B, T]):
    """``passes(batch)``, recorded once for each shape of batch. What it returns is overwritten by the next call.

    ``passes`` runs once more before it is recorded, for libraries to choose their kernels; ``without_trace``: around
    that, undoes what it changes. All recordings share their memory: it is that of the largest. Raises ConfigError for
    passes that cannot be recorded.
    """

    def __init__(
        self,
        passes: Callable[[B], T],
        device: torch.device,
        without_trace: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._passes, self._device, self._without_trace = passes, device, without_trace
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # nothing is recorded on the one that all else runs on
        self._made: dict[Any, _Recording[T]] = {}

    def __call__(self, batch: B, seed: Callable[[], None]) -> T:
        """``batch`` on the device; ``seed`` sets the generator, as before passes that are not recorded."""
        tensors = batch.tensors()
        key = tuple((name, t.shape, t.stride(), t.dtype) for name, t in tensors.items())
        if key not in self._made:
            self._made[key] = self._record(batch, tensors, seed)
        made = self._made[key]
        for name, tensor in tensors.items():
            made.inputs[name].copy_(tensor)
        seed()
        made.graph.replay()
        return made.result

    def _record(self, batch: B, tensors: dict[str, Tensor], seed: Callable[[], None]) -> _Recording[T]:
        own = {name: tensor.clone() for name, tensor in tensors.items()}
        batch = batch.with_tensors(own)
        seed()
        with self._without_trace():
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(self._stream):
                self._passes(batch)
            self._stream.synchronize()
        seed()
        graph = torch.cuda.CUDAGraph()
        try:
            with self._capturing(graph):
                result = self._passes(batch)
        except (PtmError, torch.OutOfMemoryError):
            raise
        except RuntimeError as error:
            raise ConfigError(
                f"the passes of this model cannot be recorded: {first_line(error)}",
                where="runtime.cuda_graphs",
                expected="a model that never waits for the GPU within a pass",
                cure="--set runtime.cuda_graphs=false",
            ) from error
        return _Recording(graph, own, result)

    @contextmanager
    def _capturing(self, graph: Any) -> Iterator[None]:
        # Not torch.cuda.graph, which first gives all free memory back to the system: to find it again takes longer than
        # to record. Other threads may pin memory meanwhile, which has nothing to do with what is recorded.
        with torch.cuda.stream(self._stream):
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                yield
            except BaseException:
                with suppress(
                    RuntimeError
                ):  # what is recorded is worth nothing, which is what the error says
                    graph.capture_end()
                raise
            graph.capture_end()


@contextmanager
def training_undone(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Gradients and buffers (running statistics) are afterwards as before. Where a parameter gets a gradient for the
    first time, zeros remain in its place: memory into which recorded passes add theirs."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    buffers = [buffer for module in modules for buffer in module.buffers()]
    gradients, values = [p.grad for p in parameters], [buffer.clone() for buffer in buffers]
    for parameter in parameters:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            received = parameter.grad is not None
            parameter.grad = torch.zeros_like(parameter) if gradient is None and received else gradient
        with torch.no_grad():
            for buffer, value in zip(buffers, values, strict=True):
                buffer.copy_(value)
