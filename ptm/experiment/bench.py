"""``ptm bench``: where the time of a training step goes, and what would make it shorter, by trying it.

A few steps of a config are taken and thrown away. Everything is tried in turns with the config as it is, so that what
else the machine does disturbs all alike; what counts are the ratios within a round.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch

from ptm import engine
from ptm.base.console import Reporter, Silent
from ptm.base.machine_load import LoadMeter, load_average
from ptm.base.processors import core_count
from ptm.base.signals import StopFlag
from ptm.config.spec import RunSpec
from ptm.errors import PtmError, StorageError, first_line
from ptm.experiment.bench_changes import Change, changes_of
from ptm.experiment.bench_result import Bench, Tried
from ptm.experiment.prepare import Prepared, prepare, without_stores
from ptm.experiment.products import products_of, square_rate
from ptm.experiment.session import Session, open_session, require_downloads
from ptm.pipeline import Pipeline
from ptm.run.checkpoint import CheckpointStore, SpaceNeeded
from ptm.run.log import MetricsLog
from ptm.training import optim, order
from ptm.training.laps import Laps
from ptm.training.runtime import bf16_units
from ptm.training.thread_cost import thread_count

STEPS, ROUNDS = 3, 3
_EVALUATED = 3  # batches of the evaluation split that are timed
_SQUARE = 1024


@dataclass
class _Block:
    """Steps one after the other: seconds each, seconds of all by part, and what they were taken on."""

    seconds: list[float] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)
    examples: int = 0
    tokens: int = 0

    @property
    def rate(self) -> float:
        """Examples a second."""
        return self.examples / sum(self.seconds)


def run_bench(spec: RunSpec, reporter: Reporter, *, steps: int = STEPS, rounds: int = ROUNDS) -> Bench:
    """Measure a config; no run directory is read or written. Raises a PtmError as the run would."""
    require_downloads(spec)
    quick = without_stores(spec)
    if quick.distill is not None:
        quick = replace(quick, distill=replace(quick.distill, audit="off"))
    with (
        open_session(quick, reporter) as session,
        tempfile.TemporaryDirectory(prefix="ptm-bench-") as folder,
    ):
        prepared = prepare(session)
        return _Trials(prepared.session, prepared, steps, Path(folder)).run(rounds, _notes(spec))


def _notes(spec: RunSpec) -> tuple[str, ...]:
    if spec.teacher is not None:
        return (
            "the teacher was run on each batch; where a run keeps its outputs (distill.store), later epochs do without",
        )
    if spec.model.freeze == "backbone":
        return (
            "the backbone was run on each batch; a run can keep what it says instead (model.store_features)",
        )
    return ()


class _Trials:
    """One config on one machine, its model as it was before the first step at the beginning of each block."""

    def __init__(self, session: Session, prepared: Prepared, steps: int, folder: Path) -> None:
        self._session, self._pipeline = session, prepared.pipeline
        self._objective = prepared.objective
        self._steps = steps
        # With every step's numbers read at once, as steps are timed one by one.
        spec = replace(session.spec, train=replace(session.spec.train, log_every_steps=1))
        self._context = engine.RunContext(
            spec=spec,
            pipeline=prepared.pipeline,
            objective=prepared.objective,
            runtime=session.runtime,
            store=CheckpointStore(folder, keep=1),
            log=MetricsLog(None),
            reporter=Silent(),
            stop=StopFlag(),
        )
        modules = [
            prepared.pipeline.model,
            *([prepared.objective.module] if prepared.objective.module else []),
        ]
        self._modules = modules
        self._start = [{name: t.detach().clone() for name, t in m.state_dict().items()} for m in modules]
        self._tokens = _tokens(session.spec, prepared.pipeline)
        self._learning = [(p, p.requires_grad) for p in prepared.pipeline.model.parameters()]

    def run(self, rounds: int, notes: tuple[str, ...]) -> Bench:
        spec, runtime, pipeline = self._context.spec, self._context.runtime, self._pipeline
        reporter = self._session.reporter
        workers_work = pipeline.set_workers(spec.runtime.workers)
        changes = changes_of(spec, pipeline, runtime, workers_work=workers_work)
        own = Change("", "", spec)
        reporter.begin("bench", rounds * (1 + len(changes)))
        done, blocks, problems = 0, list[_Block](), dict[str, str]()
        ratios: dict[str, list[float]] = {change.setting: [] for change in changes}
        load = LoadMeter()
        # On a GPU, laps wait for it.
        lapped = [] if runtime.device.type == "cpu" else [self._block(own, laps=True)]
        for number in range(rounds):
            base = self._block(own, laps=not lapped)
            blocks.append(base)
            done += 1
            reporter.advance(done, "as it is")
            # Back and forth, so that none always comes right after the config as it is.
            for change in changes if number % 2 == 0 else changes[::-1]:
                done += 1
                if change.setting not in problems:
                    try:
                        ratios[change.setting].append(self._block(change).rate / base.rate)
                    except PtmError as error:
                        problems[change.setting] = first_line(error)
                reporter.advance(done, change.setting)
        others = load.others()
        reporter.end()
        parts = _shared_out(lapped or blocks)
        with self._as_set(own):  # weights of a few steps may overflow
            evaluation = self._evaluation_seconds()
        saving = self._saving_seconds()
        counts = optim.StepCounts.of(spec.train, pipeline.size("train"))
        evaluations = 1 / (spec.train.eval_every_steps or counts.steps_per_epoch)
        saves = evaluations + (1 / spec.train.save_every_steps if spec.train.save_every_steps else 0)
        parts |= {"evaluation": evaluation * evaluations} | (
            {} if saving is None else {"save": saving * saves}
        )
        one_by_one = Change("", "", replace(spec, runtime=replace(spec.runtime, cuda_graphs=False)))
        with self._as_set(one_by_one) as context:
            step = self._plan(spec, 1)
            products = products_of(lambda: list(engine.try_steps(context, step)), runtime.device)
        means = [mean(block.seconds) for block in blocks]
        taken = sum(len(block.seconds) for block in blocks)
        return Bench(
            device=runtime.device.type,
            threads=runtime.threads,
            cores=core_count(),
            precision=runtime.precision,
            units=bf16_units(runtime.device),
            steps=self._steps,
            rounds=rounds,
            examples=sum(block.examples for block in blocks) / taken,
            tokens=None if self._tokens is None else sum(block.tokens for block in blocks) / taken,
            seconds=median(means),
            spread=(max(means) - min(means)) / median(means),
            parts=parts,
            evaluation_seconds=evaluation,
            save_seconds=saving,
            operations=products.operations,
            products_seconds=products.seconds,
            square_rate=square_rate(_SQUARE, runtime.product_type, runtime.device),
            tried=tuple(
                Tried(
                    change.setting,
                    change.effect,
                    tuple(ratios[change.setting]),
                    problems.get(change.setting, ""),
                )
                for change in changes
            ),
            others=others,
            load_average=load_average(),
            notes=notes,
        )

    # -- a few steps ---------------------------------------------------------------------------------------

    def _block(self, change: Change, *, laps: bool = False) -> _Block:
        """A step that is not counted, then ``steps`` that are. Where passes are recorded, each is taken before, too."""
        block, counts = _Block(), self._objective.counts
        lap, waited = Laps(self._context.runtime.device), 0.0
        with self._as_set(change) as context:
            plan = self._plan(change.spec, self._steps)
            context = replace(context, lap=lap) if laps else context
            uncounted = plan if change.spec.runtime.cuda_graphs else plan[:1]
            for number, seconds in enumerate(engine.try_steps(context, [*uncounted, *plan])):
                if number < len(uncounted):
                    lap.restart()
                    waited = counts.get("step_seconds", 0.0)
                    continue
                ids = plan[number - len(uncounted)]
                block.seconds.append(seconds)
                block.examples += len(ids)
                block.tokens += 0 if self._tokens is None else int(self._tokens[ids].sum())
        block.parts = {name: seconds for name, seconds in lap.seconds.items() if name != "between"}
        teacher = counts.get("step_seconds", 0.0) - waited
        if laps and teacher:  # a forward pass waits for it
            block.parts |= {"teacher": teacher, "forward": block.parts["forward"] - teacher}
        return block

    @contextmanager
    def _as_set(self, change: Change) -> Iterator[engine.RunContext]:
        """The machine as a change wants it, the model as it was at the beginning; the former as before afterwards."""
        wanted, own = change.spec.runtime, self._context.runtime
        threads = wanted.threads or own.threads
        graphs = wanted.cuda_graphs and own.device.type == "cuda"
        runtime = replace(own, precision=wanted.precision, threads=threads, cuda_graphs=graphs)
        for module, state in zip(self._modules, self._start, strict=True):
            module.load_state_dict(state)
        for parameter, learns in self._learning:
            parameter.requires_grad_(learns)
            parameter.grad = None
        workers = self._context.spec.runtime.workers
        if wanted.workers != workers:
            self._pipeline.set_workers(wanted.workers)
        try:
            with thread_count(threads):
                yield replace(self._context, spec=change.spec, runtime=runtime)
        finally:
            if wanted.workers != workers:
                self._pipeline.set_workers(workers)

    def _plan(self, spec: RunSpec, count: int) -> list[np.ndarray]:
        """Batches of the first epoch, from short to long ones as it has them: each stands for as many others."""
        pipeline, train = self._pipeline, spec.train
        size, lengths = pipeline.size("train"), pipeline.lengths("train")
        grouped = lengths if train.group_by_length else None
        plan = order.epoch_plan(
            size, train.batch_size, train.seed, 0, grouped, pipeline.sampled_classes(train)
        )
        full = [ids for ids in plan if len(ids) == len(plan[0])]
        if lengths is not None:
            full.sort(key=lambda ids: int(lengths[ids].max()))
        return spread_out(full, count)

    # -- between steps -------------------------------------------------------------------------------------

    def _evaluation_seconds(self) -> float:
        """Of one evaluation, from a few of its batches."""
        pipeline, runtime, train = self._pipeline, self._context.runtime, self._context.spec.train
        plan = order.eval_plan(pipeline.size("eval"), train.eval_batch_size, pipeline.lengths("eval"))
        chosen = spread_out(plan, min(_EVALUATED, len(plan)))
        metrics, taken = pipeline.new_metrics(), list[float]()
        pipeline.model.eval()
        with torch.inference_mode(), runtime.autocast():
            for repeat in ([chosen[0]], chosen):
                begun = time.perf_counter()
                for batch in pipeline.batches("eval", repeat, 0):
                    metrics.update(batch, pipeline.evaluate_batch(pipeline.model, batch.to(runtime.device)))
                    now = time.perf_counter()
                    taken.append(now - begun)
                    begun = now
        return mean(taken[1:]) * len(plan)

    def _saving_seconds(self) -> float | None:
        """Of one checkpoint, in a folder for what is temporary; None where it does not fit there."""
        context, spec = self._context, self._context.spec
        space = SpaceNeeded.of(
            spec, self._pipeline.model, self._objective.module, self._pipeline.size("train")
        )
        try:
            context.store.require_space(replace(space, checkpoints=1))
            with self._as_set(Change("", "", spec)):
                *_, seconds = engine.try_steps(context, self._plan(spec, 1), save=True)
        except StorageError:
            return None
        return seconds


def _tokens(spec: RunSpec, pipeline: Pipeline) -> np.ndarray | None:
    """How many tokens each training example has, int [size]; None of images."""
    if spec.descriptor.modality == "image":
        return None
    lengths = pipeline.lengths("train")
    if lengths is not None:
        return lengths
    # Language models read blocks of one length.
    (batch,) = pipeline.batches("train", [np.array([0])], 0)
    return np.full(pipeline.size("train"), batch.inputs["input_ids"].shape[-1])


def _shared_out(blocks: Sequence[_Block]) -> dict[str, float]:
    """Seconds of each part a step."""
    steps = sum(len(block.seconds) for block in blocks)
    return {name: sum(block.parts[name] for block in blocks) / steps for name in blocks[0].parts}


def spread_out(plan: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """``count`` of these, evenly from the first to the last; some twice where there are fewer."""
    return [plan[(2 * i + 1) * len(plan) // (2 * count)] for i in range(count)]
