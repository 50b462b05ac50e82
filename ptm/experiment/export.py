"""``ptm export``: the graph of a run's model, held against the model before it is called done."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import nn

import ptm
from ptm.base.console import Reporter
from ptm.config.evaluation import best_mode
from ptm.config.expect import check_expectations
from ptm.config.spec import RunSpec
from ptm.config.tasks import IMAGE_CLASSIFICATION, TASKS, TEXT_SIMILARITY
from ptm.data.examples import Dataset
from ptm.errors import ConfigError, ExpectationMissed, ModelError, Problem
from ptm.experiment.export_files import write_export
from ptm.experiment.export_vocabulary import require_trimmable, trimmed
from ptm.experiment.session import Session, open_session, require_downloads, require_readable
from ptm.experiment.trained import Trained, trained_model
from ptm.export import quantize as quantization
from ptm.export.calibration import feeds
from ptm.export.comparison import Difference, compare
from ptm.export.directory import GRAPHS, require_place
from ptm.export.graph import OPSET, OPSETS, OUTPUT, Network, image_network, text_network, to_onnx, to_torch
from ptm.export.record import (
    Comparison,
    ExportRecord,
    Format,
    Quantization,
    Side,
)
from ptm.export.session import OnnxModel, TorchModel
from ptm.export.untrusted import MOST_BYTES, require_packages
from ptm.pipeline import Pipeline
from ptm.run.directory import RunDirectory
from ptm.run.opening import read_finished
from ptm.run.results import write_results
from ptm.text.pipeline import TextPipeline
from ptm.training.finite import finite_values

TOLERANCE = {None: 0.001, "int8": 0.01, "bf16": 0.01}  # by which the metric may get worse
LARGEST_DIFFERENCE = 1e-3  # of a logit without quantisation, beside one of this share of the largest
CALIBRATION = 128  # training examples of a static quantisation


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What ``ptm export`` was asked for. ``calibrate``: training examples that a static quantisation looks at; 0: a
    dynamic one; None: 128 of images, 0 of texts. ``tolerance``: None: that of TOLERANCE. ``trim``: leave out all tokens
    that neither training nor evaluation texts use, but this many; None: keep all."""

    format: Format = "onnx"
    quantize: Quantization | None = None
    opset: int = OPSET
    calibrate: int | None = None
    tolerance: float | None = None
    trim: int | None = None
    measure: bool = True


def run_export(
    run: Path, output: Path | None, options: ExportOptions, *, overwrite: bool = False, reporter: Reporter
) -> ExportRecord:
    """Write the export of a run's model to ``output``, by default beside the run.

    Raises ConfigError for a task or options that are not exported, ModelError for a network that the exporter does not
    take, ExpectationMissed where the export differs from the model by more than the tolerance, or misses a bound of
    ``expect:`` that the model meets. Nothing is left then.
    """
    _require_sense(options)
    results = read_finished(run)
    trained = trained_model(run, [])
    require_exportable(trained.spec, run)
    if options.trim is not None:
        require_trimmable(trained.spec)
    if options.format == "onnx":
        require_packages()
    place = output or default_output(run, options)
    require_place(place, overwrite=overwrite, inputs=[run])
    # On the CPU, where the export computes, and in fp32.
    spec = replace(trained.spec, runtime=replace(trained.spec.runtime, device="cpu", precision="fp32"))
    trained = replace(trained, spec=spec)
    require_downloads(spec, model=trained.model, teacher=False)
    with open_session(spec, reporter) as session:
        record = _exported(session, trained, place, options, results.labels, overwrite=overwrite)
    summary = {**record.as_dict(), "path": str(place.resolve())}
    exports = {**(results.exports or {}), place.name: summary}
    write_results(RunDirectory(run).results, replace(read_finished(run), exports=exports))
    _rewrite_report(run)
    return record


def require_exportable(spec: RunSpec, where: object) -> None:
    """ConfigError, with the reason, for a task whose models are not exported."""
    if spec.descriptor.no_export:
        raise ConfigError(
            f"models for {spec.task} are not exported: {spec.descriptor.no_export}",
            where=where,
            expected=f"a run for {', '.join(name for name, task in TASKS.items() if not task.no_export)}",
            cure="use the model itself: ptm predict, or model/ as the README.md of the run shows",
        )
    if spec.data.eval_views != "none":
        raise ConfigError(
            f"eval_views: {spec.data.eval_views} is work around the network that no graph holds",
            where=where,
            expected="a run whose images are seen once",
            cure="use the model itself: ptm predict",
        )
    if spec.data.long_texts not in (None, "cut"):
        raise ConfigError(
            f"long_texts: {spec.data.long_texts} is work around the network that no graph holds",
            where=where,
            expected="a run whose longer texts are cut",
            cure="use the model itself: ptm predict",
        )


def default_output(run: Path, options: ExportOptions) -> Path:
    """``runs/sst2`` → ``runs/sst2-onnx-int8``."""
    real = run.resolve()
    kind = f"-{options.quantize}" if options.quantize else ""
    trimmed = "" if options.trim is None else "-trimmed"
    return real.with_name(f"{real.name}-{options.format}{trimmed}{kind}")


def _rewrite_report(run: Path) -> None:
    from ptm.report.page import write_report

    write_report(run)


def _require_sense(options: ExportOptions) -> None:
    if options.format == "torch" and options.quantize == "int8":
        raise ConfigError(
            "int8 is ONNX Runtime's quantisation",
            where="--quantize int8",
            expected="--format onnx, or --quantize bf16",
            cure="leave --format out",
        )
    if options.opset not in OPSETS:
        raise ConfigError(
            f"opset {options.opset} is not one that torch's exporter writes",
            where="--opset",
            expected=f"a number from {OPSETS.start} to {OPSETS.stop - 1}",
        )
    if options.calibrate is not None and options.quantize != "int8":
        raise ConfigError(
            "only int8 is calibrated", where="--calibrate", cure="leave it out, or add --quantize int8"
        )


@dataclass(frozen=True)
class _Graph:
    """What was exported: the file's content, and what computes it. ``content`` is None of torch's format, whose file
    is written by torch."""

    content: bytes | None
    model: nn.Module
    inputs: tuple[str, ...]
    calibrated: int | None = None  # examples; 0: dynamic; None: not quantised


def _exported(
    session: Session,
    trained: Trained,
    place: Path,
    options: ExportOptions,
    labels: tuple[str, ...],
    *,
    overwrite: bool,
) -> ExportRecord:
    spec, reporter = session.spec, session.reporter
    calibrate = _calibration(spec, options)
    stored = session.task.stored_labels(trained.model.name)
    data = session.task.load_data(spec, labels=stored, train=calibrate > 0 or options.trim is not None)
    # On what the run is judged by, as its ``expect:``.
    evaluated = replace(data, train=None, eval=data.judged, test=None)
    pipeline = trained.build(session, evaluated)
    pipeline.model.eval()
    require_readable(session, pipeline)
    with TemporaryDirectory(prefix="ptm-export-") as folder:
        exported, vocabulary = pipeline, None
        if options.trim is not None:
            exported, vocabulary = trimmed(
                session, trained, pipeline, data, options.trim, Path(folder) / "model"
            )
        network = _network(spec, exported)
        size = trained.size(exported)
        reporter.say(f"exporting {size.parameters:,} parameters, format {options.format}")
        file = Path(folder) / GRAPHS[options.format]
        graph = _make_graph(session, network, exported, data, options, calibrate, file)
        if graph.content is not None:
            file.write_bytes(graph.content)
        metrics, comparison = _compared(session, pipeline, exported, graph.model, options)
        # What a passing pipeline keeps of the model is not needed any more.
        record = ExportRecord(
            ptm=ptm.__version__,
            task=spec.task,
            format=options.format,
            quantize=options.quantize,
            calibration=None if graph.calibrated is None else "static" if graph.calibrated else "dynamic",
            calibration_examples=graph.calibrated or 0,
            opset=options.opset if options.format == "onnx" else None,
            graph=GRAPHS[options.format],
            inputs=graph.inputs,
            outputs=(network.output,),
            labels=stored or labels,
            run=str(trained.target.resolve()),
            parameters=size.parameters,
            threads=session.runtime.threads,
            before=Side(metrics=metrics[0], bytes=_weights_bytes(trained.target / "model")),
            after=Side(metrics=metrics[1], bytes=file.stat().st_size),
            comparison=comparison,
            vocabulary=vocabulary,
            expect=tuple(check_expectations(spec.expect.items(), metrics[1])),
            packages=_packages(options.format),
        )
        _require_close(record, metrics[0], spec, place)
        return write_export(
            session, trained, exported, record, file, place, measure=options.measure, overwrite=overwrite
        )


def _calibration(spec: RunSpec, options: ExportOptions) -> int:
    if options.quantize != "int8":
        return 0
    default = CALIBRATION if spec.descriptor.modality == "image" else 0
    return default if options.calibrate is None else options.calibrate


def _network(spec: RunSpec, pipeline: Pipeline) -> Network:
    if spec.descriptor.modality == "text":
        (batch,) = pipeline.batches("eval", [np.arange(min(2, pipeline.size("eval")))], 0)
        assert isinstance(pipeline, TextPipeline)
        segments = "token_type_ids" in batch.inputs
        output = "embeddings" if spec.task == TEXT_SIMILARITY.name else OUTPUT
        return text_network(pipeline.model, segments=segments, output_of=pipeline.graph_output, output=output)
    fixed = spec.task == IMAGE_CLASSIFICATION.name
    return image_network(pipeline.model, side=pipeline.effective_data["image_size"] if fixed else None)


def _make_graph(
    session: Session,
    network: Network,
    pipeline: Pipeline,
    data: Dataset,
    options: ExportOptions,
    calibrate: int,
    file: Path,
) -> _Graph:
    where, inputs = session.spec.model.name, tuple(network.inputs)
    if options.format == "torch":
        model = to_torch(network, file, reduced=options.quantize == "bf16", where=where)
        return _Graph(None, TorchModel(model, inputs), inputs)
    content = to_onnx(network, options.opset, where)
    calibrated = None
    if options.quantize == "bf16":
        content = quantization.stored_in_bf16(content)
    if options.quantize == "int8":
        session.reporter.say(
            f"quantising to int8, {f'calibrated on {calibrate} training examples' if calibrate else 'dynamic'}"
        )
        if calibrate:
            batches = feeds(pipeline, data, calibrate, session.spec.train.eval_batch_size, inputs)
            content = quantization.static_int8(content, batches)
            calibrated = min(calibrate, len(data.train) if data.train is not None else 0)
        else:
            content, calibrated = quantization.dynamic_int8(content), 0
    if len(content) > MOST_BYTES:
        raise ModelError(
            f"its graph is larger than {MOST_BYTES:,} bytes", where=where, expected="a smaller model"
        )
    graph = OnnxModel(content, threads=session.runtime.threads, where=where)
    return _Graph(content, graph, inputs, calibrated)


def _compared(
    session: Session, pipeline: Pipeline, exported: Pipeline, export: nn.Module, options: ExportOptions
) -> tuple[tuple[dict[str, float], dict[str, float]], Comparison]:
    """Metrics of the model and of its export, and how far they are apart."""
    spec = session.spec
    before, after, difference = compare(
        pipeline,
        exported,
        export,
        session.runtime,
        batch_size=spec.train.eval_batch_size,
        spec=spec,
        reporter=session.reporter,
    )
    values = finite_values(before, pipeline, spec.model.name), finite_values(after, pipeline, "the export")
    metric = _chief(spec, values[0])
    tolerance = TOLERANCE[options.quantize] if options.tolerance is None else options.tolerance
    comparison = Comparison(
        examples=pipeline.size("eval"),
        largest_difference=difference.largest,
        mean_difference=difference.mean,
        equal_answers=difference.equal_answers,
        metric=metric,
        worse=_worse(metric, values[0][metric], values[1][metric]),
        tolerance=tolerance,
    )
    # A word of the test split whose token is gone is cut otherwise: there the metric alone decides.
    unseen = options.trim is not None and spec.data.test is not None
    if options.quantize is None and not unseen:
        _require_same_logits(difference)
    return values, comparison


def _chief(spec: RunSpec, values: dict[str, float]) -> str:
    named = [spec.best.metric if spec.best is not None else "", spec.evaluation.headline, *values]
    return next(name for name in named if name in values)


def _worse(metric: str, before: float, after: float) -> float:
    """Of metrics of which the lowest is best, as a fraction of what it was: they have no scale of their own."""
    if best_mode(metric) == "max":
        return before - after
    return (after - before) / max(abs(before), 1e-12)


def _require_same_logits(difference: Difference) -> None:
    most = LARGEST_DIFFERENCE * (1 + difference.size)
    if not difference.largest <= most:
        raise ExpectationMissed(
            f"the export's outputs differ from the model's by up to {difference.largest:.4g}",
            where="ptm export",
            expected=f"at most {most:.4g}",
            cure="nothing was written; try another --opset, or --format torch",
        )


def _require_close(record: ExportRecord, before: dict[str, float], spec: RunSpec, place: Path) -> None:
    c = record.comparison
    problems: list[Problem] = []
    if not c.worse <= c.tolerance:
        a, b = record.before.metrics[c.metric], record.after.metrics[c.metric]
        problems.append(
            Problem(
                f"{c.metric} falls from {a:.4f} to {b:.4f}"
                if b < a
                else f"{c.metric} rises from {a:.4f} to {b:.4f}",
                where=str(place),
                expected=f"at most {c.tolerance:g} worse",
                cure="nothing was written; allow more with --tolerance, or quantise less",
            )
        )
    met = {(e.metric, e.bound) for e in check_expectations(spec.expect.items(), before) if e.met}
    for bound in record.expect:
        if not bound.met and (bound.metric, bound.bound) in met:
            problems.append(
                Problem(
                    f"{bound.metric} of the export is {bound.value:.4f}, a bound of expect: that the model meets",
                    where=str(place),
                    expected=bound.bound,
                    cure="nothing was written; quantise less",
                )
            )
    if problems:
        raise ExpectationMissed(problems)


def _weights_bytes(model: Path) -> int:
    return sum(path.stat().st_size for path in model.glob("*.safetensors"))


def _packages(format: Format) -> dict[str, str]:
    names = ("torch", *(("onnx", "onnxscript", "onnxruntime") if format == "onnx" else ()))
    return {name: importlib.metadata.version(name) for name in names}
