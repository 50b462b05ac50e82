"""THE evaluation loop. Every command and every task goes through it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ptm.base.console import Reporter
from ptm.base.signals import StopFlag
from ptm.pipeline import Batch, Metrics, Output, Pipeline, Split
from ptm.training import order
from ptm.training.memory import batch_memory
from ptm.training.runtime import Runtime

_STOP_EVERY_BATCHES = 8  # of an evaluation in several processes, which have to agree


class StopRequested(Exception):
    """A signal came during an evaluation; who asked for it saves and ends the run."""


Outputs = list[tuple[Batch, Output]]  # what this process's batches gave, the batches without their inputs


@dataclass(frozen=True)
class Evaluation:
    """What the weights after ``step`` steps reach on the evaluation split, and in how long; ``outputs`` are this
    process's, where something is to be fitted on them."""

    step: int
    metrics: Metrics
    seconds: float
    outputs: Outputs | None = None


def evaluate(
    pipeline: Pipeline,
    runtime: Runtime,
    *,
    batch_size: int,
    batch_key: str = "train.eval_batch_size",
    split: Split = "eval",
    stop: StopFlag | None = None,
    reporter: Reporter | None = None,
    outputs: Outputs | None = None,
) -> Metrics:
    """Every example of a split once through the model, in evaluation mode; the same metrics in every process.

    ``batch_key`` is what the user sets ``batch_size`` by; ``outputs`` is given what each batch of this process came to.
    Raises StopRequested, in all processes, when ``stop`` is set in any.
    """
    model = pipeline.model
    plan = order.eval_plan(pipeline.size(split), batch_size, pipeline.lengths(split))
    mine = plan[runtime.rank :: runtime.ranks]
    every = 1 if runtime.ranks == 1 else _STOP_EVERY_BATCHES
    metrics = pipeline.new_metrics()
    model.eval()
    if reporter is not None:
        reporter.begin("evaluate", len(mine))
    with torch.inference_mode(), runtime.autocast():
        for done, batch in enumerate(pipeline.batches(split, mine, 0), start=1):
            # Several processes must stop at the same place, and may not have the same number of batches.
            is_due = done <= len(plan) // runtime.ranks and (done % every == 0)
            if stop is not None and is_due and runtime.any(stop.requested):
                raise StopRequested
            with batch_memory(pipeline, batch, batch_key):
                output = pipeline.evaluate_batch(model, batch.to(runtime.device))
                metrics.update(batch, output)
            if outputs is not None:
                outputs.append((replace(batch, inputs={}), replace(output, parts={}, features={})))
            if reporter is not None:
                reporter.advance(done, "")
    if reporter is not None:
        reporter.end()
    return merge(metrics, runtime)


def evaluate_outputs(pipeline: Pipeline, runtime: Runtime, outputs: Outputs) -> Metrics:
    """As :func:`evaluate`, to the bit, of a model that gave these outputs without decisions, by those it has now."""
    metrics = pipeline.new_metrics()
    with torch.inference_mode(), runtime.autocast():
        for batch, output in outputs:
            metrics.update(batch, pipeline.decided(batch.to(runtime.device), output))
    return merge(metrics, runtime)


def merge(metrics: Metrics, runtime: Runtime) -> Metrics:
    """What all processes saw, the same in each."""
    if runtime.ranks == 1:
        return metrics
    first: Metrics
    first, *others = runtime.gather(metrics)
    return first.merge(others)
