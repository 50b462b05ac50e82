"""THE evaluation loop. Every command and every task goes through it."""

from __future__ import annotations

import torch

from ptm.base.console import Reporter
from ptm.base.signals import StopFlag
from ptm.pipeline import Metrics, Pipeline, Split
from ptm.training import order
from ptm.training.memory import batch_memory
from ptm.training.runtime import Runtime

_STOP_EVERY_BATCHES = 8  # of an evaluation in several processes, which have to agree


class StopRequested(Exception):
    """A signal came during an evaluation; who asked for it saves and ends the run."""


def evaluate(
    pipeline: Pipeline,
    runtime: Runtime,
    *,
    batch_size: int,
    batch_key: str = "train.eval_batch_size",
    split: Split = "eval",
    stop: StopFlag | None = None,
    reporter: Reporter | None = None,
    metrics: Metrics | None = None,
) -> Metrics:
    """Every example of a split once through the model, in evaluation mode; the same metrics in every process.

    ``batch_key`` is what the user sets ``batch_size`` by; ``metrics`` takes the place of the task's. Raises
    StopRequested, in all processes, when ``stop`` is set in any.
    """
    model = pipeline.model
    plan = order.eval_plan(pipeline.size(split), batch_size, pipeline.lengths(split))
    mine = plan[runtime.rank :: runtime.ranks]
    every = 1 if runtime.ranks == 1 else _STOP_EVERY_BATCHES
    metrics = pipeline.new_metrics() if metrics is None else metrics
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
                metrics.update(batch, pipeline.evaluate_batch(model, batch.to(runtime.device)))
            if reporter is not None:
                reporter.advance(done, "")
    if reporter is not None:
        reporter.end()
    if runtime.ranks == 1:
        return metrics
    first: Metrics
    first, *others = runtime.gather(metrics)
    return first.merge(others)
