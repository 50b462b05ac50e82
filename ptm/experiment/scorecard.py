"""Teacher, student alone and student distilled side by side, evaluated and timed on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptm import engine
from ptm.base.console import Reporter
from ptm.config.load import load_config
from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.errors import PtmError
from ptm.experiment.comparison import Measure, Row, measure_of, scores_of
from ptm.experiment.prepare import WARNING
from ptm.experiment.session import open_session
from ptm.experiment.trained import trained_model
from ptm.export.directory import is_export
from ptm.models.size import describe_size
from ptm.pipeline import Metrics, Pipeline
from ptm.run.directory import RunDirectory
from ptm.run.opening import read_finished
from ptm.run.predictions import read_predictions
from ptm.run.results import Judged, Results, write_results
from ptm.training.finite import finite_values
from ptm.training.runtime import Runtime

BATCHES = (1, 32)  # examples, for latencies
REPEATS = 50
SECONDS = 4.0  # a latency is measured for at most so long


def measure_scorecard(run: Path, reporter: Reporter) -> dict[str, Any]:
    """Evaluate and time a distilled run's teacher and student on what the run is judged by; the scorecard is added to
    its results.json.

    The student alone is the same network, so it has the same times; its predictions are those of its own run.

    Raises a PtmError when teacher or data cannot be had any more.
    """
    spec = load_config(run / "config.yaml")
    assert spec.teacher is not None
    directory = RunDirectory(run)
    results = read_finished(run)
    measure = measure_of(spec, results.labels)
    with open_session(spec, reporter) as session:
        runtime = session.runtime
        data = session.task.load_data(spec, labels=None, train=False)
        data = replace(data, eval=data.judged, test=None)
        student = ModelRef(name=str(run.resolve() / "model"))
        columns, predictions = {}, {}
        for name, model in (("teacher", spec.teacher.refs()[0]), ("student distilled", student)):
            reporter.say(f"measuring the {name}")
            pipeline = session.task.build(spec, data, model=model, complete=True)
            pipeline.model.to(runtime.device)
            columns[name], predictions[name] = _measure_model(spec, pipeline, runtime, measure, name)
            columns[name]["disk_bytes"] = _disk_bytes(Path(model.name))
        for name, path in _exports(results).items():
            reporter.say(f"measuring the {name}")
            try:
                trained = trained_model(path, [])
                pipeline = trained.build(session, data)
                columns[name], predictions[name] = _measure_model(spec, pipeline, runtime, measure, name)
            except PtmError as error:  # an export is one column more, not what the scorecard is about
                reporter.say(f"{WARNING}{name} is left out: {error}")
                continue
            size = trained.size(pipeline)
            columns[name] |= {"parameters": size.parameters, "bytes": None, "disk_bytes": size.bytes}
        where = {"device": str(runtime.device), "threads": runtime.threads, "precision": runtime.precision}
    alone = _control_rows(run, results, results.judged_split, measure, sorted(predictions["teacher"]))
    if alone is not None:
        # The same network with other weights: its predictions differ, its times do not.
        predictions["student alone"] = alone
        columns["student alone"] = {**columns["student distilled"], "value": _value(measure, alone)}
    reference, ids = columns["teacher"]["value"], sorted(predictions["teacher"])
    for name, column in columns.items():
        rows = [[predictions[model][index] for index in ids] for model in ("teacher", name)]
        for key, statistic in (("agreement", measure.agreement), ("correlation", measure.correlation)):
            if statistic is not None:
                column[key] = statistic(*rows)
        column["kept"] = column["value"] / reference if measure.higher_is_better and reference else None
    first = [name for name in ("teacher", "student alone", "student distilled") if name in columns]
    order = dict.fromkeys([*first, *columns])
    card = {
        "where": where,
        "split": results.judged_split,
        "metric": measure.metric,
        "models": {name: columns[name] for name in order},
    }
    write_results(directory.results, replace(results, scorecard=card))
    return card


def _exports(results: Results) -> dict[str, Path]:
    """The exports of a run that are still there, each as a column is called: ``student int8``; a second of a kind by
    the name of its directory."""
    folders: dict[str, Path] = {}
    for directory, record in (results.exports or {}).items():
        if not isinstance(record, dict):  # a damaged record
            continue
        path = Path(str(record.get("path")))
        name = f"student {record.get('quantize') or 'onnx'}"
        if record.get("format") == "onnx" and is_export(path):
            folders[name if name not in folders else f"student {directory}"] = path
    return folders


def _measure_model(
    spec: RunSpec, pipeline: Pipeline, runtime: Runtime, measure: Measure, name: str
) -> tuple[dict[str, Any], dict[int, Row]]:
    """Numbers of a model, and its prediction for each example."""
    # Latencies first: they warm caches up, which the evaluation of the first model would pay for.
    sizes = [n for n in BATCHES if n <= pipeline.size("eval")]
    latencies = {str(n): _latency(pipeline, runtime, n) for n in sizes}
    batch_size = spec.train.eval_batch_size
    metrics, seconds = _timed_evaluation(pipeline, runtime, batch_size)
    if seconds < SECONDS:
        metrics, seconds = _timed_evaluation(pipeline, runtime, batch_size)
    finite_values(metrics, pipeline, name)
    size = describe_size("", pipeline.model)
    rows: dict[int, Row] = {row["id"]: row for row in metrics.predictions()}
    column = {
        "value": _value(measure, rows),
        "parameters": size["parameters"],
        "bytes": size["bytes"],
        "examples_per_second": round(pipeline.size("eval") / seconds, 2),
        "latency_ms": latencies,
    }
    return column, rows


def _timed_evaluation(pipeline: Pipeline, runtime: Runtime, batch_size: int) -> tuple[Metrics, float]:
    """Metrics over the evaluation split, and seconds."""
    begun = time.perf_counter()
    metrics = engine.evaluate(pipeline, runtime, batch_size=batch_size)
    return metrics, time.perf_counter() - begun


def _value(measure: Measure, rows: Mapping[int, Row]) -> float:
    scores, counts = scores_of(measure, rows, sorted(rows))
    return float(scores.sum() / counts.sum()) if counts.any() else 0.0


def _latency(pipeline: Pipeline, runtime: Runtime, size: int) -> dict[str, float]:
    """Of a forward pass over ``size`` examples spread over the split."""
    ids = np.linspace(0, pipeline.size("eval") - 1, size).astype(np.int64)
    (batch,) = pipeline.batches("eval", [ids], 0)
    batch = batch.to(runtime.device)
    pipeline.model.eval()
    return latency_ms(lambda: pipeline.forward(pipeline.model, batch), runtime)


@torch.inference_mode()
def latency_ms(call: Callable[[], Any], runtime: Runtime) -> dict[str, float]:
    """Median and 95th percentile of the time that ``call`` takes, milliseconds."""
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < REPEATS + 3 and (len(times) < 8 or time.perf_counter() - begun < SECONDS):
        start = time.perf_counter()
        with runtime.autocast():
            call()
        if runtime.device.type == "cuda":
            torch.cuda.synchronize(runtime.device)
        times.append(1000 * (time.perf_counter() - start))
    steady = times[3:]  # the first passes warm caches and choose kernels
    return {"median": round(float(np.median(steady)), 3), "p95": round(float(np.quantile(steady, 0.95)), 3)}


def _disk_bytes(model: Path) -> int | None:
    """Bytes of the saved model's weights; None for a model that is not a directory here."""
    folder = model / "model" if (model / "model").is_dir() else model
    weights = list(folder.glob("*.safetensors")) if folder.is_dir() else []
    return sum(path.stat().st_size for path in weights) or None


def _control_rows(
    run: Path, results: Results, split: Judged, measure: Measure, ids: Sequence[int]
) -> dict[int, Row] | None:
    """Predictions of the control run; None where there is none, or they are not of the examples ``ids``."""
    control = (results.control or {}).get("run")
    try:
        rows: dict[int, Row] = (
            dict(read_predictions(RunDirectory(run / control).predictions_of(split))) if control else {}
        )
        return rows if sorted(rows) == ids and len(scores_of(measure, rows, ids)[0]) else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
