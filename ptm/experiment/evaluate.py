"""``ptm eval``: the metrics of a trained model on an evaluation split."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ptm.base import files
from ptm.base.console import Reporter
from ptm.config.expect import check_expectations
from ptm.config.load import dump_config, load_config
from ptm.config.spec import ModelSpec, RunSpec
from ptm.errors import ModelError
from ptm.experiment.outputs import refuse_inputs, require_new_file
from ptm.experiment.prepare import WARNING
from ptm.experiment.session import beside, evaluate, open_session, require_downloads, require_readable
from ptm.models.seals import require_intact
from ptm.models.size import describe_size
from ptm.pipeline import task_module
from ptm.run.directory import require_run
from ptm.run.lockfile import Pins, require_unchanged
from ptm.run.predictions import prediction_lines
from ptm.run.provenance import manifest_of
from ptm.run.results import ModelSize, Results, Throughput
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
    spec, model = evaluation_spec(target, list(overrides))
    if predictions is not None:
        refuse_inputs(predictions, "--predictions", target, spec)
    require_downloads(spec, model=model, teacher=False)
    with open_session(spec, reporter) as session:
        data = session.task.load_data(spec, labels=session.task.stored_labels(model.name), train=False)
        for warning in data.warnings:
            reporter.say(f"{WARNING}{warning}")
        bounds = (*spec.expect.items(), *expect)
        spec.evaluation.require([("expect", name) for name, _ in bounds], data.labels)
        pipeline = session.task.build(spec, data, model=model.ref(), complete=True)
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
        model=ModelSize(**describe_size(model.name, pipeline.model)),
        expect=tuple(check_expectations(bounds, values)),
        labels=tuple(pipeline.labels),
    )


def evaluation_spec(target: Path, overrides: list[str]) -> tuple[RunSpec, ModelSpec]:
    """The spec to evaluate under, and the model: that of the run, or the one the config names."""
    if not target.is_dir():
        spec = load_config(target, overrides)
        return spec, spec.model
    require_run(target, "a run directory or a config file")
    model = target.resolve() / "model"
    if not model.is_dir():
        raise ModelError(
            "the run is not finished: there is no model/ yet", where=target, cure="continue it with --resume"
        )
    require_intact(model)
    spec = load_config(target / "config.yaml", overrides)
    return _of_other_data(spec, load_config(target / "config.yaml"), str(model)), ModelSpec(name=str(model))


def _of_other_data(spec: RunSpec, saved: RunSpec, model: str) -> RunSpec:
    """``spec``; where it names other data than the run was trained on, their labels are matched with those of the
    model, by what the data call them: the config of a run names all labels, whoever decided on them."""
    own = spec.data.labels is not None and spec.data.labels == task_module(spec.task).stored_labels(model)
    if spec.data.source == saved.data.source or spec.data.labels != saved.data.labels or not own:
        return spec
    return replace(spec, data=replace(spec.data, labels=None))
