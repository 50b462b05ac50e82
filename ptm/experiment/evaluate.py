"""``ptm eval``: the metrics of a trained model on an evaluation split."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from ptm.base import files
from ptm.base.console import Reporter
from ptm.config.expect import check_expectations
from ptm.config.load import dump_config
from ptm.experiment.outputs import refuse_inputs, require_new_file
from ptm.experiment.prepare import WARNING
from ptm.experiment.session import beside, evaluate, open_session, require_downloads, require_readable
from ptm.experiment.trained import trained_model
from ptm.run.lockfile import Pins, require_unchanged
from ptm.run.predictions import prediction_lines
from ptm.run.provenance import manifest_of
from ptm.run.results import Results, Throughput
from ptm.training.finite import finite_values


def run_evaluation(
    target: Path,
    *,
    overrides: Iterable[str] = (),
    expect: Sequence[tuple[str, str]] = (),
    predictions: Path | None = None,
    pins: Pins | None = None,
    reporter: Reporter,
) -> Results:
    """Measure a run's model, or the model that a config names, on an evaluation split.

    Checks the config's own ``expect`` and, on top, the bounds (metric, bound) of ``expect``. ``predictions``: a file
    for a line an example. Raises ModelError when a file of the model has changed since the run wrote it, NotFinite for
    a model that gives numbers that are none.
    """
    if predictions is not None:
        require_new_file(predictions, "--predictions", (".jsonl",))
    trained = trained_model(target, list(overrides))
    spec, model = trained.spec, trained.model
    if predictions is not None:
        refuse_inputs(predictions, "--predictions", target, spec)
    require_downloads(spec, model=model, teacher=False)
    with open_session(spec, reporter) as session:
        data = session.task.load_data(spec, labels=session.task.stored_labels(model.name), train=False)
        for warning in data.warnings:
            reporter.say(f"{WARNING}{warning}")
        bounds = (*spec.expect.items(), *expect)
        spec.evaluation.require([("expect", name) for name, _ in bounds], data.labels)
        pipeline = trained.build(session, data)
        require_readable(session, pipeline)
        for line in pipeline.load_report.warnings:
            reporter.say(f"{WARNING}{line}")
        if pins is not None:
            now = manifest_of(spec, dump_config(spec), data, session.runtime, {"model": pipeline}, {})
            own = ("weights", "revisions") if target.is_dir() else ("weights.teacher", "revisions.teacher")
            require_unchanged(pins, Pins.of(now), target, (*own, "data.train"))
        pipeline.model.to(session.runtime.device)
        begun = time.perf_counter()
        metrics = evaluate(session, pipeline)
        seconds = time.perf_counter() - begun
        values = finite_values(metrics, pipeline, model.name)
    if predictions is not None:
        files.write_file(predictions, prediction_lines(metrics.predictions(), pipeline))
    return Results(
        task=spec.task,
        status="done",
        metrics=values,
        **beside(spec, metrics, values),
        eval=Throughput(**Throughput.of(spec.data.eval, pipeline.size("eval"), seconds)),
        model=trained.size(pipeline),
        expect=tuple(check_expectations(bounds, values)),
        labels=tuple(pipeline.labels),
    )
