"""Whether the smallest batch of a run can be learned from: found out before the first step, not hours later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from ptm.config.spec import TrainSpec
from ptm.errors import ModelError
from ptm.pipeline import Pipeline
from ptm.training import optim, order
from ptm.training.runtime import Runtime, batch_norms


def require_smallest_batch(spec: TrainSpec, pipeline: Pipeline, runtime: Runtime) -> None:
    """ModelError where some forward pass of the run gets one example alone and a batch norm cannot take it.

    Whether it can depends on the network (one with pixels left takes it), so that such a pass is tried. What is to be
    trained must have been chosen; nothing is changed.
    """
    size = pipeline.size("train")
    if 1 not in forward_sizes(spec, size):
        return
    model = pipeline.model
    with unchanged(model):
        optim.training_mode(model)
        if not batch_norms(model.modules()):
            return
        (batch,) = pipeline.batches("train", [np.array([0])], 0)
        try:
            with torch.no_grad(), runtime.autocast():
                pipeline.forward(model, batch.to(runtime.device))
        except ModelError as error:
            (problem,) = error.problems
            other = _fitting_size(spec, size)
            raise ModelError(
                problem.what,
                where=f"train.batch_size {spec.batch_size}, micro_batch_size {spec.forward_size}, {size} examples",
                expected="at least two images in every forward pass, the last one of an epoch included",
                cure=f"--set train.batch_size={other} --set train.micro_batch_size=null"
                if other is not None
                else "take more training examples, or a larger image_size",
            ) from None


def forward_sizes(spec: TrainSpec, examples: int) -> set[int]:
    """How many examples the forward passes of a run get."""
    counts = optim.StepCounts.of(spec, examples)
    last = examples % spec.batch_size if counts.steps >= counts.steps_per_epoch else 0
    batches = {last, spec.batch_size if examples >= spec.batch_size else 0} - {0}
    pieces = (order.micro_batches(np.arange(batch), spec.forward_size) for batch in batches)
    return {len(piece) for batch in pieces for piece in batch}


def _fitting_size(spec: TrainSpec, examples: int) -> int | None:
    """The batch size next to the present one that leaves no example alone."""
    sizes = sorted(range(2, 2 * spec.batch_size + 2), key=lambda size: abs(size - spec.batch_size))
    return next((size for size in sizes if size <= examples and examples % size != 1), None)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Buffers, modes and random state as they were."""
    modes = {module: module.training for module in model.modules()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
        for module, training in modes.items():
            module.training = training
