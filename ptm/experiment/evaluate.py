"""``ptm eval``: the metrics of a trained model on the splits that its config names."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ptm.base import files
from ptm.base.collector import collect_as_usual
from ptm.base.console import Reporter
from ptm.config.load import dump_config
from ptm.config.spec import RunSpec
from ptm.data.examples import Examples
from ptm.errors import ConfigError
from ptm.experiment.outputs import refuse_inputs, require_new_file, require_own_predictions
from ptm.experiment.prepare import WARNING, load_test
from ptm.experiment.session import Session, evaluate, open_session, require_downloads, require_readable
from ptm.experiment.slices import require_metrics, require_sliced
from ptm.experiment.split_results import evaluated, expectations_of, split_results
from ptm.experiment.trained import trained_model
from ptm.pipeline import Metrics, Pipeline
from ptm.run.lockfile import Pins, require_unchanged
from ptm.run.predictions import prediction_lines
from ptm.run.provenance import manifest_of
from ptm.run.results import Judged, Results, SplitResults


def run_evaluation(
    target: Path,
    *,
    overrides: Iterable[str] = (),
    expect: Sequence[tuple[str, str]] = (),
    predictions: Path | None = None,
    split: Judged | None = None,
    pins: Pins | None = None,
    reporter: Reporter,
) -> Results:
    """Measure a run's model, or the model that a config names, on its evaluation split, and on its test where it has
    one; ``split``: on one of them alone.

    Checks the config's own ``expect``, which is about the test where there is one, and, on top, the bounds (metric,
    bound) of ``expect``. ``predictions``: a file for a line an example. Raises ModelError when a file of the model has
    changed since the run wrote it, NotFinite for a model that gives numbers that are none.
    """
    if predictions is not None:
        require_new_file(predictions, "--predictions", (".jsonl",))
    trained = trained_model(target, list(overrides))
    spec, model = trained.spec, trained.model
    own_bounds = spec.expect
    if split == "eval" and spec.data.test is not None:
        own_bounds = {}  # they are about the test, which is left out; the evaluation examples stay the same ones
        if "test" not in spec.data.held_out and pins is None:
            spec = replace(spec, data=replace(spec.data, test=None))
    if split == "test" and spec.data.test is None:
        raise ConfigError("there is no test split", where="data.test", cure="name one: --set data.test=…")
    if predictions is not None and split is None and spec.data.test is not None:
        raise ConfigError(
            "eval and test are both measured, and a file holds the predictions of one split",
            where="--predictions",
            cure="say which: --split test, or --split eval",
        )
    if predictions is not None:
        refuse_inputs(predictions, "--predictions", target, spec)
        require_own_predictions(predictions, "--predictions")
    require_downloads(spec, model=model, teacher=False)
    with open_session(spec, reporter) as session:
        data = session.task.load_data(spec, labels=session.task.stored_labels(model.name), train=False)
        for warning in data.warnings:
            reporter.say(f"{WARNING}{warning}")
        if split is not None:
            data = replace(data, eval=data.judged if split == "test" else data.eval, test=None)
        bounds = (*own_bounds.items(), *expect)
        require_metrics(spec, data, [("expect", name) for name, _ in bounds])
        pipeline = trained.build(session, data)
        require_readable(session, pipeline)
        require_sliced(spec, pipeline)
        test = load_test(session, data, pipeline)
        for line in pipeline.load_report.warnings:
            reporter.say(f"{WARNING}{line}")
        if pins is not None:
            now = manifest_of(spec, dump_config(spec), data, session.runtime, {"model": pipeline}, {})
            role = "" if target.is_dir() else ".teacher"  # a run's own model is sealed
            own = [f"{kind}{role}" for kind in ("weights", "revisions", "models")]
            require_unchanged(pins, Pins.of(now), target, (*own, "data.train"))
        pipeline.model.to(session.runtime.device)
        collect_as_usual()
        spec = replace(spec, model=model)
        metrics, on_eval = _measured(session, spec, pipeline, data.eval, split or "eval")
        on_test = None
        if test is not None and data.test is not None:
            _, on_test = _measured(session, spec, test, data.test, "test")
    if predictions is not None:
        require_own_predictions(predictions, "--predictions")  # put there meanwhile
        files.write_file(predictions, prediction_lines(metrics.predictions(), pipeline))
    return Results(
        task=spec.task,
        status="done",
        **evaluated(on_eval, on_test),
        model=trained.size(pipeline),
        expect=expectations_of(bounds, on_eval, on_test, split),
        labels=tuple(pipeline.labels),
    )


def _measured(
    session: Session, spec: RunSpec, pipeline: Pipeline, examples: Examples, split: Judged
) -> tuple[Metrics, SplitResults]:
    begun = time.perf_counter()
    metrics = evaluate(session, pipeline)
    seconds = time.perf_counter() - begun
    return metrics, split_results(spec, metrics, pipeline, examples, seconds, split)
