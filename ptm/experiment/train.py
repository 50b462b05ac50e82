"""A spec to a finished run directory, or to an evaluation: puts data, models, engine and records together."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ptm import engine
from ptm.base import files
from ptm.base.console import Reporter, Silent, parameters
from ptm.base.signals import StopFlag, stop_on_signals
from ptm.config.expect import check_expectations
from ptm.config.load import dump_config, load_config
from ptm.config.spec import ModelSpec, RunSpec, TeacherSpec
from ptm.data.examples import Dataset, singleton_labels
from ptm.distill.assembly import Distillation, open_distillation, open_frozen_backbone
from ptm.errors import (
    ConfigError,
    Interrupted,
    MissingDownload,
    ModelError,
    NotFinite,
    Problem,
    PtmError,
)
from ptm.models import adapters
from ptm.models.layers import layers_of
from ptm.models.size import describe_size
from ptm.objective import Objective, Supervised, all_counts
from ptm.pipeline import Metrics, Pipeline, task_module
from ptm.report.page import write_report
from ptm.run import manifest as record
from ptm.run.checkpoint import CheckpointStore, Progress, checkpoint_bytes, restore
from ptm.run.directory import Mode, RunDirectory, begin_run, drifted, is_run, listed, open_run
from ptm.run.lockfile import lock_path, pins_of, require_unchanged
from ptm.run.log import MetricsLog
from ptm.training import optim, order
from ptm.training.runtime import Runtime, environment_ranks, open_runtime


def run_training(
    spec: RunSpec,
    *,
    mode: Mode,
    reporter: Reporter,
    allow_drift: bool = False,
    locked: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """``ptm finetune`` and ``ptm distill``: train, choose the best, evaluate, write everything. Returns results.json.

    ``locked``: the pins of a lock file, which everything that is loaded must meet.
    Bounds of ``expect:`` that are missed stand in the results: config.expect.require_met raises for them. Raises
    Interrupted when a signal came, any PtmError before the first step when something cannot be used.
    """
    rank, _ = environment_ranks()
    if rank > 0:
        run = RunDirectory(Path(spec.output), resuming=mode == "resume" and is_run(Path(spec.output)))
        if run.resuming and run.finished() and run.config.read_text(encoding="utf-8") == dump_config(spec):
            return run.read_results()  # as the first process finds, which will not wait for the others
        return _train_in(run, spec, Silent())
    missing = [*task_module(spec.task).missing(spec), *adapters.missing(spec.model)]
    if missing:
        raise MissingDownload(missing)
    with open_run(Path(spec.output), dump_config(spec), mode, allow_drift=allow_drift) as run:
        if run.resuming and run.finished() and run.extended is None:
            reporter.say(f"{run.path} is finished already")
            return run.read_results()
        return _train_in(run, spec, reporter, locked)


def run_evaluation(
    target: Path,
    *,
    overrides: Iterable[str] = (),
    expect: Mapping[str, str] | None = None,
    predictions: Path | None = None,
    locked: Mapping[str, Any] | None = None,
    reporter: Reporter,
) -> dict[str, Any]:
    """``ptm eval``: the metrics of a run's model, or of the model that a config names, on an evaluation split.

    Checks the config's own ``expect``, and ``expect`` on top. Raises ModelError when a file of the model has
    changed since the run wrote it.
    """
    spec, model = evaluation_spec(target, list(overrides))
    module = task_module(spec.task)
    missing = module.missing(replace(spec, model=model, teacher=None))
    if missing:
        raise MissingDownload(missing)
    with open_runtime(spec.runtime) as runtime, engine.memory_errors(spec):
        data = module.load_data(spec, labels=module.stored_labels(model.name), train=False)
        bounds = {**spec.expect, **(expect or {})}
        spec.evaluation.require([("expect", name) for name in bounds], data.labels)
        pipeline = module.build(spec, data, model=model, complete=True)
        if locked is not None:
            now = record.manifest(spec, dump_config(spec), data, runtime, {})
            pins = pins_of(now | record.inputs(spec, data, {"model": pipeline}))
            own = ("weights", "revisions") if target.is_dir() else ("weights.teacher", "revisions.teacher")
            require_unchanged(locked, pins, target, (*own, "data.train"))
        pipeline.model.to(runtime.device)
        begun = time.perf_counter()
        batch_size = spec.train.eval_batch_size
        metrics = engine.evaluate(pipeline, runtime, batch_size=batch_size, reporter=reporter)
        seconds = time.perf_counter() - begun
        values = metrics.compute()
    if predictions is not None:
        files.write_file(predictions, _prediction_lines(metrics, pipeline))
    return {
        "task": spec.task,
        "status": "done",
        "metrics": values,
        "eval": _rate(spec.data.eval, pipeline.size("eval"), seconds),
        "model": describe_size(model.name, pipeline.model),
        "expect": [e.as_dict() for e in check_expectations(bounds, values)],
        "labels": list(pipeline.labels),
    }


def check_inputs(spec: RunSpec) -> list[Problem]:
    """``ptm check --data``: what of a run's data cannot be used, and what is not there. Reads data, builds no model."""
    module = task_module(spec.task)
    problems: list[Problem] = []
    try:
        problems += module.missing(spec)
        _require_named_metrics(spec, module.load_data(spec))
    except PtmError as error:
        problems += error.problems
    return list(dict.fromkeys(problems))


def make_pins(spec: RunSpec) -> dict[str, Any]:
    """``ptm lock``: what the experiment is made of now, for a lock file. Loads data, model and teachers."""
    module = task_module(spec.task)
    missing = module.missing(spec)
    if missing:
        raise MissingDownload(missing)
    with open_runtime(spec.runtime) as runtime, engine.memory_errors(spec):
        data = module.load_data(spec)
        pipelines = {"model": module.build(spec, data, model=spec.model, complete=False)}
        others = spec.teacher.others if spec.teacher else ()
        teachers = [spec.teacher] if spec.teacher else []
        teachers += [TeacherSpec(name=name, labels=teachers[0].labels) for name in others]
        for index, teacher in enumerate(teachers, start=1):
            role = f"teacher {index}" if index > 1 else "teacher"  # as distillation.py calls them
            pipelines[role] = module.build(spec, data, model=teacher, complete=True)
        manifest = record.manifest(spec, dump_config(spec), data, runtime, {})
        return pins_of(manifest | record.inputs(spec, data, pipelines))


def _train_in(
    run: RunDirectory, spec: RunSpec, reporter: Reporter, locked: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Everything from loading to results.json, in one process of perhaps several."""
    with (
        stop_on_signals() as stop,
        open_runtime(spec.runtime) as runtime,
        engine.memory_errors(spec),
        ExitStack() as stores,
    ):
        try:
            context, distillation = _prepare(run, spec, runtime, reporter, stop, locked, stores)
            progress = engine.train(context, resume=run.resuming)
            return _finish(run, context, progress, distillation)
        except (Interrupted, NotFinite) as error:
            if runtime.main:
                status = "interrupted" if isinstance(error, Interrupted) else "failed"
                files.write_json(
                    run.results, {"task": spec.task, "status": status, "reason": str(error), "metrics": {}}
                )
            raise


def _prepare(
    run: RunDirectory,
    spec: RunSpec,
    runtime: Runtime,
    reporter: Reporter,
    stop: StopFlag,
    locked: Mapping[str, Any] | None,
    stores: ExitStack,
) -> tuple[engine.RunContext, Distillation | None]:
    module = task_module(spec.task)
    data = module.load_data(spec)
    _require_named_metrics(spec, data)
    pipeline: Pipeline = module.build(spec, data, model=spec.model, complete=False)
    assert data.train is not None
    of_labels = f", labels {_shown(data.labels)}" if data.labels else ""
    reporter.say(f"data: {len(data.train)} train, {len(data.eval)} eval{of_labels}")
    reporter.say(
        f"model: {spec.model.name}, {parameters(_parameters(pipeline.model))}; {pipeline.load_report}"
    )
    for label, where in singleton_labels(data):
        reporter.say(f"warning: the label {label!r} has one training example, {where}: a typo?")
    weights = {"model": record.weights_digest(pipeline.model)} if runtime.main else {}
    pipeline.model.to(runtime.device)
    distillation = None
    objective: Objective = Supervised(pipeline, spec.data.views)
    if spec.teacher is None:
        backbone = open_frozen_backbone(spec, data, pipeline, runtime, reporter)
        objective = stores.enter_context(backbone) or objective
    else:
        distillation = stores.enter_context(
            open_distillation(spec, module, data, pipeline, runtime, reporter)
        )
        weights |= distillation.digests if runtime.main else {}
        objective = distillation.objective
    store = CheckpointStore(run.checkpoints, spec.train.keep_checkpoints)
    if runtime.main:
        manifest = record.manifest(spec, dump_config(spec), data, runtime, weights)
        manifest |= {"data": pipeline.describe(), "weights": pipeline.load_report.as_dict()}
        pipelines = {"model": pipeline, **(distillation.pipelines if distillation else {})}
        manifest |= record.inputs(spec, data, pipelines)
        if locked is not None:
            require_unchanged(locked, pins_of(manifest), spec.model.name)
    _choose_trained(spec, pipeline, reporter)
    if runtime.main:
        store.require_space(
            checkpoint_bytes(pipeline.model, objective.module, optim.state_copies(spec.train))
        )
        _begin_or_compare(run, dump_config(spec), manifest, reporter)
        if locked is not None:
            files.write_json(lock_path(run.config), locked)  # for ptm eval RUN --locked
    log = MetricsLog(run.metrics if runtime.main else None)
    return engine.RunContext(spec, pipeline, objective, runtime, store, log, reporter, stop), distillation


def _require_named_metrics(spec: RunSpec, data: Dataset) -> None:
    """Metrics that the config names and these labels do not have: before the first step, not after the last."""
    named = [("expect", name) for name in spec.expect]
    named += [("best.metric", spec.best.metric)] if spec.best is not None else []
    spec.evaluation.require(named, data.labels)


def _choose_trained(spec: RunSpec, pipeline: Pipeline, reporter: Reporter) -> None:
    """Add the adapter, or freeze what is not trained, and say how much is. The engine freezes as well.

    Raises ConfigError for what the model cannot do.
    """
    model, adapter = pipeline.model, spec.model.adapter
    for key in ("layer_decay", "unfreeze_every"):
        if getattr(spec.train, key) is not None:
            layers_of(model, pipeline.head, pipeline.embeddings, where=f"train.{key}")
    if adapter is not None:
        adapted = adapters.add_adapter(model, adapter, pipeline.head, seed=spec.train.seed)
        reporter.say(f"adapter: rank {adapter.rank}, beside {len(adapted)} layers")
    optim.freeze(model, spec.model, pipeline.head, pipeline.embeddings)
    if _trained(model) < _parameters(model):
        reporter.say(f"trained: {_trained(model):,} of {_parameters(model):,} parameters")


def _begin_or_compare(run: RunDirectory, config: str, manifest: dict[str, Any], reporter: Reporter) -> None:
    """Write the record of a new run; hold that of a resumed one against what is there now.

    Raises RunDirectoryError when data, weights, versions or the machine have changed, unless drift is allowed:
    then the new record replaces the old one and keeps a list of what changed.
    """
    if not run.resuming:
        begin_run(run, config)
        files.write_json(run.manifest, manifest)
        return
    old = record.read(run.manifest)
    drift = (*run.drift, *(record.changes(old, manifest) if old else ()))
    if drift and not run.allow_drift:
        raise drifted(run.manifest, drift)
    extended = listed(old.get("extended"))
    if run.extended and extended[-1:] != [list(run.extended)]:
        extended.append(list(run.extended))
    if drift or not old or run.extended:
        # In this order: a kill between any two leaves what --resume understands.
        files.write_json(
            run.manifest, {**manifest, "drift": [*listed(old.get("drift")), *drift], "extended": extended}
        )
        if run.extended:
            reason = "extended from {} to {} epochs".format(*run.extended)
            files.write_json(
                run.results,
                {"task": manifest["task"], "status": "interrupted", "reason": reason, "metrics": {}},
            )
            reporter.say(f"{reason}: the learning rate goes on as in a run of the new length")
        files.write_file(run.config, config.encode())
    if drift:
        reporter.say(f"going on although {len(drift)} inputs have changed: {'; '.join(drift[:5])}")


def _finish(
    run: RunDirectory, context: engine.RunContext, progress: Progress, distillation: Distillation | None
) -> dict[str, Any]:
    """Evaluate the chosen weights once more and write what the run has to show."""
    spec, pipeline, runtime = context.spec, context.pipeline, context.runtime
    if progress.best_step is not None and progress.best_step != progress.step:
        context.store.require_intact(progress.best_step)
        restore(context.store.path(progress.best_step), pipeline.model, context.objective.module, None)
    trained, adapter = _trained(pipeline.model), spec.model.adapter
    if adapter is not None and adapter.merge:
        adapters.take_out(pipeline.model, merge=True)  # so that what is measured is what is saved
    begun = time.perf_counter()
    batch_size = spec.train.eval_batch_size
    metrics = engine.evaluate(pipeline, runtime, batch_size=batch_size, reporter=context.reporter)
    eval_seconds = time.perf_counter() - begun
    values = metrics.compute()
    examples = pipeline.size("eval")
    best = spec.best and {
        "metric": spec.best.metric,
        "mode": spec.best.mode,
        "value": progress.best_value,
        "step": progress.best_step,
    }
    results: dict[str, Any] = {
        "task": spec.task,
        "status": "done",
        "metrics": values,
        "best": best,
        "train": {
            "steps": progress.step,
            "epochs": progress.examples / pipeline.size("train"),
            **_rate(spec.data.train, progress.examples, progress.seconds),
            "padding_share": _padding_share(context),
        },
        "eval": _rate(spec.data.eval, examples, eval_seconds),
        "model": {**describe_size(spec.model.name, pipeline.model), "trainable_parameters": trained},
        "teacher": distillation and distillation.teacher_summary(),
        "distill": distillation and distillation.distill_summary(progress.seconds, runtime),
        "backbone": _backbone(context, runtime) if distillation is None else None,
        "expect": [e.as_dict() for e in check_expectations(spec.expect, values)],
        "labels": list(pipeline.labels),
        "output": str(run.path),
        "drift": record.read(run.manifest).get("drift", []),
        "extended": record.read(run.manifest).get("extended", []),
    }
    if runtime.main:
        with files.new_directory(run.model) as directory:
            if adapter is None or adapter.merge:
                pipeline.save_model(directory)
            else:
                adapters.save_beside(pipeline.model, pipeline.head, directory, pipeline.save_model)
            files.seal(directory)
        files.write_file(run.predictions, _prediction_lines(metrics, pipeline))
        files.write_json(run.results, results)
        write_report(run.path, lambda index: pipeline.example("eval", index), pipeline.render_prediction)
    runtime.barrier()
    return results


def evaluation_spec(target: Path, overrides: list[str]) -> tuple[RunSpec, ModelSpec]:
    """The spec to evaluate under, and the model: that of the run, or the one the config names."""
    if not target.is_dir():
        spec = load_config(target, overrides)
        return spec, spec.model
    if not is_run(target):
        raise ConfigError("not a run of ptm", where=target, expected="a run directory or a config file")
    model = target.resolve() / "model"
    if not model.is_dir():
        raise ModelError(
            "the run is not finished: there is no model/ yet", where=target, cure="continue it with --resume"
        )
    problem = files.broken_seal(model)
    if problem is not None:
        raise ModelError(
            f"the model is damaged: {problem}", where=model, cure="train it again, or restore the file"
        )
    return load_config(target / "config.yaml", overrides), ModelSpec(name=str(model))


def _prediction_lines(metrics: Metrics, pipeline: Pipeline) -> bytes:
    lines = []
    for prediction in metrics.predictions():
        example = pipeline.example("eval", prediction["id"])
        prediction["where"] = example["where"]
        if "text" in example:
            prediction["input"] = example["text"]
        lines.append(json.dumps(prediction, ensure_ascii=False))
    return ("\n".join(lines) + "\n").encode()


def _backbone(context: engine.RunContext, runtime: Runtime) -> dict[str, Any] | None:
    """How often a frozen backbone was run, and how often its answer was found; None where nothing is stored."""
    if not context.objective.counts:
        return None
    counts = all_counts(runtime.gather(context.objective.counts))
    return {
        "examples_used": int(counts["used"]),
        "examples_computed": int(counts["computed"]),
        "seconds": round(counts["teacher_seconds"], 3),
    }


def _padding_share(context: engine.RunContext) -> float | None:
    """Share of the computed tokens that were padding, in the first epoch; None where nothing is padded."""
    lengths = context.pipeline.lengths("train")
    if lengths is None:
        return None
    spec = context.spec.train
    grouped = lengths if spec.group_by_length else None
    computed = 0
    for ids in order.epoch_plan(len(lengths), spec.batch_size, spec.seed, 0, grouped):
        for piece in order.micro_batches(ids, spec.micro_batch_size or spec.batch_size, grouped):
            computed += int(lengths[piece].max()) * len(piece)
    return round(1 - int(np.sum(lengths)) / computed, 4)


def _rate(split: str | None, examples: int, seconds: float) -> dict[str, Any]:
    rate = round(examples / seconds, 2) if seconds else None
    return {"split": split, "examples": examples, "seconds": round(seconds, 3), "examples_per_second": rate}


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _trained(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _shown(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:10]) + (f", … ({len(labels)})" if len(labels) > 10 else "")
