"""The weights that a training has chosen: brought back, measured, and let answer by what was fitted on ``eval``."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from ptm import engine
from ptm.base.signals import StopFlag
from ptm.errors import Interrupted
from ptm.experiment.decide import decide
from ptm.experiment.prepare import Prepared, trainable_parameters
from ptm.experiment.session import Session, evaluate
from ptm.models import adapters
from ptm.pipeline import Metrics, Pipeline
from ptm.run.checkpoint import restore
from ptm.training.averaging import WeightAverage
from ptm.training.evaluation import Outputs, evaluate_outputs
from ptm.training.progress import Progress


@dataclass(frozen=True)
class Measured:
    """What the chosen weights reach on the evaluation split of ``pipeline``, how long that took, and what they gave
    where decisions are to be fitted."""

    pipeline: Pipeline
    metrics: Metrics
    seconds: float
    outputs: Outputs | None


def choose_best(session: Session, prepared: Prepared, context: engine.RunContext, progress: Progress) -> int:
    """Bring the best weights back, as they will be saved. Returns how many parameters were trained."""
    pipeline, adapter = prepared.pipeline, session.spec.model.adapter
    if progress.best_step is not None and progress.best_step != progress.step:
        context.store.require_intact(progress.best_step)
        path = context.store.path(progress.best_step)
        # Only read here, not carried on: no step has a share in it.
        average = WeightAverage(pipeline.model, lambda step: 0.0) if session.spec.train.averages else None
        restore(path, pipeline.model, prepared.objective.module, None, average)
        if average is not None:
            average.put_into_model()
    trainable = trainable_parameters(pipeline.model)
    if adapter is not None and adapter.merge:
        adapters.take_out(pipeline.model, merge=True)
    return trainable


def measure_chosen(
    session: Session, prepared: Prepared, context: engine.RunContext, trained: engine.Trained
) -> Measured:
    """Evaluate the chosen weights, and let them answer by what is fitted there. The training has evaluated the same
    weights, unless a resume forgot it or an adapter was merged into them: then the model is not asked again."""
    pipeline, progress, evaluation = prepared.pipeline, trained.progress, trained.evaluation
    adapter = session.spec.model.adapter
    chosen = progress.step if progress.best_step is None else progress.best_step
    if evaluation is not None and evaluation.step == chosen and not (adapter and adapter.merge):
        measured = Measured(pipeline, evaluation.metrics, evaluation.seconds, evaluation.outputs)
    else:
        measured = measure(session, pipeline, context)
    if session.spec.decisions is None:
        return measured
    assert measured.outputs is not None
    pipeline.decisions = decide(session, pipeline, measured.outputs)
    if prepared.test is not None:
        prepared.test.decisions = pipeline.decisions
    return replace(measured, metrics=evaluate_outputs(pipeline, session.runtime, measured.outputs))


def _stopped_evaluating(stop: StopFlag) -> Interrupted:
    return Interrupted(
        f"stopped by {stop.cause} during the final evaluation; everything is saved",
        cure="the same command with --resume evaluates again and finishes",
    )


def measure(session: Session, pipeline: Pipeline, context: engine.RunContext) -> Measured:
    """Evaluate the chosen weights on the evaluation split of ``pipeline``."""
    begun = time.perf_counter()
    outputs: Outputs | None = None if session.spec.decisions is None else []
    try:
        metrics = evaluate(session, pipeline, context.stop, outputs)
    except engine.StopRequested:
        raise _stopped_evaluating(context.stop) from None
    return Measured(pipeline, metrics, time.perf_counter() - begun, outputs)
