"""``ptm finetune``, ``ptm pretrain`` and ``ptm distill``: a spec to a finished run directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ptm import engine
from ptm.base import files
from ptm.base.console import Reporter, Silent
from ptm.base.signals import StopFlag, stop_on_signals
from ptm.config.load import dump_config
from ptm.config.spec import RunSpec
from ptm.errors import Interrupted, ModelError, NotFinite
from ptm.experiment.chosen import Measured, choose_best, measure, measure_chosen
from ptm.experiment.consistent import contradiction
from ptm.experiment.insights import Insights
from ptm.experiment.prepare import MATRICES_COUNT, WARNING, Prepared, prepare
from ptm.experiment.session import Session, open_session, require_downloads
from ptm.experiment.split_results import evaluated, expectations_of, split_results
from ptm.metrics.conformal import Conformal
from ptm.models import adapters
from ptm.models.size import describe_size
from ptm.objective import all_counts
from ptm.pipeline import Pipeline
from ptm.report.page import write_report
from ptm.report.shown import Views
from ptm.run.checkpoint import CheckpointStore, SpaceNeeded
from ptm.run.directory import RunDirectory
from ptm.run.lockfile import Pins, require_unchanged
from ptm.run.log import MetricsLog
from ptm.run.opening import Mode, open_run
from ptm.run.ownership import input_paths, is_run
from ptm.run.predictions import prediction_lines
from ptm.run.results import (
    BackboneSummary,
    Best,
    DistillSummary,
    Judged,
    ModelSize,
    Results,
    TeacherSummary,
    Throughput,
    TrainSummary,
)
from ptm.run.saved_config import AUTO_KEYS, config_changes, config_values, saved_config
from ptm.run.trackers import LiveTrackers
from ptm.training import order
from ptm.training.progress import Progress
from ptm.training.runtime import environment_ranks
from ptm.training.thread_cost import measure_threads


def run_training(
    spec: RunSpec, *, mode: Mode, reporter: Reporter, allow_drift: bool = False, pins: Pins | None = None
) -> Results:
    """Train, choose the best weights, measure them, write everything. ``pins``: what a lock file holds it against.

    The results say which bounds of ``expect:`` were missed. Raises Interrupted when a signal came (what was done is
    saved), NotFinite for a loss or metric that is no number, any other PtmError before the first step.
    """
    with _open_run(spec, mode, allow_drift, reporter) as run:
        done = _finished_already(run, spec, pins, reporter)
        if done is not None:
            reporter.say(f"{run.path} is finished already")
            return done
        spec = _as_before(spec, run)
        with stop_on_signals() as stop, open_session(spec, _first_speaks(reporter)) as session:
            prepared = prepare(session, pins)
            session = prepared.session
            if session.runtime.any(stop.requested):
                raise Interrupted(
                    f"stopped by {stop.cause} before the first step; nothing was changed",
                    cure="the same command begins, or goes on, again",
                )
            context = _begin(run, session, prepared, stop, pins)
            # Not before: what is refused leaves the run that is there as it was.
            with _failure_recorded(run, session):
                trained = engine.train(context, resume=run.resuming)
                progress = trained.progress
                trainable = choose_best(session, prepared, context, progress)
                measured = measure_chosen(session, prepared, context, trained)
                tested = None if prepared.test is None else measure(session, prepared.test, context)
                results = _results(run, session, prepared, progress, trainable, measured, tested)
                return _finish(run, session, prepared.pipeline, results, measured, tested)


@contextmanager
def _open_run(spec: RunSpec, mode: Mode, allow_drift: bool, reporter: Reporter) -> Iterator[RunDirectory]:
    """The run directory: locked by the first process, which alone writes; the others only look."""
    path = Path(spec.output)
    if environment_ranks()[0] > 0:
        yield RunDirectory(path, resuming=mode == "resume" and is_run(path))
        return
    require_downloads(spec)
    inputs = tuple(input_paths(spec))
    with open_run(path, dump_config(spec), mode, allow_drift=allow_drift, inputs=inputs) as run:
        if mode == "resume" and not run.resuming:
            reporter.say(f"there is no run to resume in {path}: a new one begins")
        yield run


def _as_before(spec: RunSpec, run: RunDirectory) -> RunSpec:
    """A run that goes on keeps what `auto` came to where it began, on another machine too."""
    if not run.resuming:
        return spec
    before = config_values(saved_config(run.config))
    for section, key in (name.split(".") for name in AUTO_KEYS):
        if getattr(getattr(spec, section), key) == "auto":
            value = before.get(f"{section}.{key}") or "auto"
            spec = replace(spec, **{section: replace(getattr(spec, section), **{key: value})})
    return spec


def _finished_already(
    run: RunDirectory, spec: RunSpec, pins: Pins | None, reporter: Reporter
) -> Results | None:
    """Results of a run to resume that has nothing left to do; all processes find the same.

    None where its model or predictions are not as they were written: its last checkpoint makes them again. Raises
    ModelError where there is none.
    """
    if not run.resuming or run.extended is not None or not run.finished():
        return None
    own = environment_ranks()[0] == 0
    if not own and config_changes(run.config, dump_config(spec)):
        return None  # it is to be extended, as only the first process knows
    results = run.read_results()
    damage = run.damage() or (contradiction(spec, results) if results is not None else None)
    if damage is None:
        if pins is not None:
            _require_pinned(run, pins)
        return results
    if not any(run.checkpoints.glob("step-*")):
        cure = "restore the file, or train again with --overwrite"
        raise ModelError(
            f"the run is finished, but damaged, and has no checkpoint: {damage}", where=run.path, cure=cure
        )
    if own:
        reporter.say(f"{run.path} is finished, but damaged: {damage}; it is restored from its checkpoint")
    return None


def _require_pinned(run: RunDirectory, pins: Pins) -> None:
    """A finished run is trained no more, so that its record is held against the lock file. Raises ConfigError."""
    manifest = run.read_manifest()
    if manifest is not None:  # a run without one is damaged, which is told elsewhere
        require_unchanged(pins, Pins.of(manifest), run.path)


def _first_speaks(reporter: Reporter) -> Reporter:
    return reporter if environment_ranks()[0] == 0 else Silent()


@contextmanager
def _failure_recorded(run: RunDirectory, session: Session) -> Iterator[None]:
    """Why a run ended early stands in its results.json."""
    try:
        yield
    except (Interrupted, NotFinite) as error:
        if session.runtime.main:
            run.fail(session.spec.task, error)
        raise


def _begin(
    run: RunDirectory, session: Session, prepared: Prepared, stop: StopFlag, pins: Pins | None
) -> engine.RunContext:
    """Write the record, or hold it against that of the run to resume. From here on there is a run."""
    spec, model = session.spec, prepared.pipeline.model
    store = CheckpointStore(run.checkpoints, spec.train.keep_checkpoints)
    if prepared.manifest is not None:
        needed = SpaceNeeded.of(spec, model, prepared.objective.module, prepared.pipeline.size("train"))
        # Of a run that goes on, its checkpoints count among these; one that is overwritten goes as a whole.
        store.require_space(needed, files.tree_bytes(run.checkpoints if run.resuming else run.path))
        run.begin(prepared.config, prepared.manifest, pins, session.reporter.say)
    _warn_of_threads(session, model)
    return engine.RunContext(
        spec=spec,
        pipeline=prepared.pipeline,
        objective=prepared.objective,
        runtime=session.runtime,
        store=store,
        log=_log(run, session),
        reporter=session.reporter,
        stop=stop,
    )


def _warn_of_threads(session: Session, model: nn.Module) -> None:
    """Where other work on this machine makes several threads slower than one; it takes 0.05 s to see."""
    runtime = session.runtime
    alone = runtime.device.type == "cpu" and runtime.ranks == 1 and runtime.threads > 1
    if alone and sum(p.numel() for p in model.parameters()) >= MATRICES_COUNT:
        cost = measure_threads(runtime.threads)
        if cost.slower:
            session.reporter.say(f"{WARNING}{cost}")


def _log(run: RunDirectory, session: Session) -> MetricsLog:
    """The log of the first process, and what the config lets look on."""
    if not session.runtime.main:
        return MetricsLog(None)
    if not session.spec.track:
        return MetricsLog(run.metrics)
    live = LiveTrackers(session.spec.track, run.path, session.resources, session.reporter.say)
    return MetricsLog(run.metrics, live.write)


def _finish(
    run: RunDirectory,
    session: Session,
    pipeline: Pipeline,
    results: Results,
    measured: Measured,
    tested: Measured | None,
) -> Results:
    """Write what the run has to show: the first process does. Returns the results as they were written."""
    adapter = session.spec.model.adapter

    def save_model(directory: Path) -> None:
        if adapter is None or adapter.merge:
            pipeline.save_model(directory)
        else:
            adapters.save_beside(pipeline.model, pipeline.learns_with_adapter, directory, pipeline.save_model)
        if pipeline.decisions is not None:
            pipeline.decisions.write(directory)
        conformal = Conformal.of(measured.metrics)
        if conformal is not None:
            conformal.write(directory)

    if session.runtime.main:
        judged = (tested or measured).pipeline
        predictions: dict[Judged, bytes] = {"eval": _lines(measured)}
        if tested is not None:
            predictions["test"] = _lines(tested)
        results = run.finish(results, predictions, save_model)
        example = lambda index: judged.example("eval", index)  # noqa: E731
        write_report(run.path, Views(example, judged.render_prediction, Insights(judged)))
    session.runtime.barrier()
    return results


def _lines(measured: Measured) -> bytes:
    return prediction_lines(measured.metrics.predictions(), measured.pipeline)


def _results(
    run: RunDirectory,
    session: Session,
    prepared: Prepared,
    progress: Progress,
    trainable: int,
    measured: Measured,
    tested: Measured | None,
) -> Results:
    """What the run has come to. All processes gather."""
    spec, pipeline, distillation = session.spec, prepared.pipeline, prepared.distillation
    data = prepared.data
    on_eval = split_results(spec, measured.metrics, pipeline, data.eval, measured.seconds, "eval")
    on_test = None
    if tested is not None and data.test is not None:
        on_test = split_results(spec, tested.metrics, tested.pipeline, data.test, tested.seconds, "test")
    manifest = run.read_manifest()
    teacher = distill = None
    if distillation is not None:
        teacher = TeacherSummary(**distillation.teacher_summary())
        distill = DistillSummary(**distillation.distill_summary(progress.seconds, session.runtime))
    size = describe_size(spec.model.name, pipeline.model)
    return Results(
        task=spec.task,
        status="done",
        **evaluated(on_eval, on_test),
        best=_best(spec, progress),
        train=TrainSummary(
            steps=progress.step,
            epochs=progress.examples / pipeline.size("train"),
            padding_share=_padding_fraction(session, prepared),
            processes=session.runtime.ranks,
            batch_size=spec.train.batch_size,
            micro_batch_size=spec.train.forward_size,
            **Throughput.of(spec.data.train, progress.examples, progress.seconds),
        ),
        model=ModelSize(**{**size, "trainable_parameters": trainable}),
        teacher=teacher,
        distill=distill,
        backbone=_backbone(session, prepared),
        expect=expectations_of(spec.expect.items(), on_eval, on_test),
        average=_average(spec, progress),
        decisions=pipeline.decisions.as_dict() if pipeline.decisions else None,
        prediction_sets=_prediction_sets(measured, tested),
        labels=tuple(pipeline.labels),
        output=str(run.path),
        drift=manifest.drift if manifest else (),
        extended=manifest.extended if manifest else (),
    )


def _average(spec: RunSpec, progress: Progress) -> dict[str, Any] | None:
    """What the trained weights reached where the averaged ones were chosen; None where nothing was averaged."""
    if not spec.train.averages:
        return None
    how = {"decay": spec.train.ema} if spec.train.ema else {"checkpoints": spec.train.average_checkpoints}
    return {**how, "trained": progress.trained}


def _prediction_sets(measured: Measured, tested: Measured | None) -> dict[str, Any] | None:
    """What sets of labels are like that the evaluation split gives, on the split that is judged."""
    conformal = Conformal.of(measured.metrics)
    if conformal is None:
        return None
    return conformal.facts((tested or measured).metrics, "eval" if tested is None else "test")


def _best(spec: RunSpec, progress: Progress) -> Best | None:
    if spec.best is None:
        return None
    return Best(
        metric=spec.best.metric, mode=str(spec.best.mode), value=progress.best_value, step=progress.best_step
    )


def _backbone(session: Session, prepared: Prepared) -> BackboneSummary | None:
    """How often a frozen backbone was run, and how often its features were stored already; None without a store."""
    if prepared.distillation is not None or not prepared.objective.counts:
        return None
    counts = all_counts(session.runtime.gather(prepared.objective.counts))
    return BackboneSummary(
        examples_used=int(counts["used"]),
        examples_computed=int(counts["computed"]),
        seconds=round(counts["teacher_seconds"], 3),
    )


def _padding_fraction(session: Session, prepared: Prepared) -> float | None:
    """How much of the computed tokens was padding, in the first epoch; None where nothing is padded."""
    lengths = prepared.pipeline.lengths("train")
    if lengths is None or session.spec.data.long_texts == "windows":  # these are padded one by one
        return None
    spec = session.spec.train
    grouped = lengths if spec.group_by_length else None
    computed = 0
    useful = 0
    classes = prepared.pipeline.sampled_classes(spec)
    for ids in order.epoch_plan(len(lengths), spec.batch_size, spec.seed, 0, grouped, classes):
        for piece in order.micro_batches(ids, spec.forward_size, grouped):
            computed += int(lengths[piece].max()) * len(piece)
        useful += int(lengths[ids].sum())
    return round(1 - useful / computed, 4)
