"""THE training loop, and, from :mod:`ptm.training.evaluation`, THE evaluation loop. Every command and every task goes
through them.

One step, top to bottom: the ids of its examples (a function of seed and epoch) are cut into micro-batches;
each process takes its shard; every forward pass starts from its own seed; losses and counts are added up over
micro-batches and processes; the gradient is divided once by the global count, clipped, applied. Between steps,
and only there, the run is evaluated, saved, or stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ptm.base.console import Reporter
from ptm.base.signals import StopFlag
from ptm.config.evaluation import shown_metric
from ptm.config.spec import RunSpec
from ptm.errors import Interrupted, NotFinite
from ptm.models.layers import layers_of
from ptm.objective import Objective, Step, all_counts
from ptm.pipeline import Pipeline
from ptm.run.checkpoint import CheckpointStore, optimizer_tensors, restore
from ptm.run.log import MetricsLog
from ptm.training import optim, order
from ptm.training.averaging import WeightAverage, share_of
from ptm.training.evaluation import Evaluation, Outputs, StopRequested, evaluate
from ptm.training.finite import evaluation_not_finite, largest_weight, step_not_finite, weights_not_finite
from ptm.training.gradients import Gradients
from ptm.training.memory import OTHER_MODEL, memory_errors
from ptm.training.meter import Meter, StepNumbers
from ptm.training.progress import Progress
from ptm.training.runtime import Coming, Runtime, batch_norms, coming
from ptm.training.selection import Selection
from ptm.training.sharded import share, weights_of, whole
from ptm.training.used_rows import rows_model

__all__ = ["RunContext", "Step", "StopRequested", "Trained", "evaluate", "train", "try_steps"]


@dataclass(frozen=True)
class RunContext:
    """All that a run is made of; nothing in it changes while it runs but the weights."""

    spec: RunSpec
    pipeline: Pipeline
    objective: Objective
    runtime: Runtime
    store: CheckpointStore
    log: MetricsLog
    reporter: Reporter
    stop: StopFlag
    # Called with the name of each part of a step when it ends: :class:`ptm.training.laps.Laps`.
    lap: Callable[[str], None] = lambda part: None


@dataclass(frozen=True)
class Trained:
    """A training at its end. ``evaluation`` is that of its best weights, or of its last where none are best; None where
    they were evaluated before a resume."""

    progress: Progress
    evaluation: Evaluation | None


def train(context: RunContext, *, resume: bool) -> Trained:
    """Train to the end, from the newest checkpoint if ``resume``. The model of the pipeline ends up trained.

    Raises Interrupted when a signal stopped the run (what was done is saved), NotFinite when a loss or
    gradient is not a number.
    """
    training = _Training(context)
    return Trained(training.run(resume), training.evaluation)


def try_steps(context: RunContext, batches: Sequence[np.ndarray], *, save: bool = False) -> Iterator[float]:
    """Seconds of one step of training on each of these batches of example ids, as they are taken; with ``save``, of a
    checkpoint in ``context.store`` after them. The weights change, and nothing else."""
    training = _Training(context)
    optim.training_mode(training.model)
    shards = [list(enumerate(order.micro_batches(ids, training.micro, training.lengths))) for ids in batches]
    loader = context.objective.train_batches([part for shard in shards for _, part in shard], 0)
    for ids, shard in zip(batches, shards, strict=True):
        begun = training.progress.seconds
        training._take(Step(len(ids), shard, loader))
        yield training.progress.seconds - begun
    if save:
        started = time.perf_counter()
        training._save()
        yield time.perf_counter() - started


class _Training:
    """One run of the loop. Its attributes are what changes; ``context`` is what does not."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        spec, pipeline, runtime = context.spec, context.pipeline, context.runtime
        self.model = pipeline.model
        optim.freeze(self.model, spec.model, pipeline.head, pipeline.embeddings, pipeline.new_parameters)
        rows = rows_model(self.model, pipeline, spec, runtime)
        self.weights = rows or weights_of(self.model, spec.runtime, runtime)
        trained = self.weights.model
        groups = optim.parameter_groups(
            trained, context.objective.module, spec.train, pipeline.head, pipeline.embeddings
        )
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimizer = optim.build_optimizer(groups, spec.train)
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")
        self.counts = optim.StepCounts.of(spec.train, pipeline.size("train"))
        self.layers = (
            layers_of(self.model, pipeline.head, pipeline.embeddings, where="train.unfreeze_every")
            if spec.train.unfreeze_every
            else []
        )
        # Some models keep tables of positions that never learn.
        self.trained = {name for name, p in self.model.named_parameters() if p.requires_grad}
        self.lengths = pipeline.lengths("train") if spec.train.group_by_length else None
        self.classes = pipeline.sampled_classes(spec.train)
        self.micro = spec.train.forward_size
        self.gradients = Gradients(
            context.objective.loss,
            torch.compile(trained) if spec.runtime.compile else trained,  # type: ignore[arg-type]
            context.objective.module,
            pipeline,
            runtime,
            seed=spec.train.seed,
            sharded=self.weights.spread_out,
            ask=context.objective.ask_teachers,
            scale=self.scaler.scale,
            lap=context.lap,
        )
        share = share_of(spec.train, self.counts)
        self.average = None if share is None else WeightAverage(self.model, share)
        self.progress = Progress()
        self.selection = Selection(spec.best, spec.train.early_stopping, spec.evaluation.headline)
        self.meter = Meter(self.progress)
        self.evaluation: Evaluation | None = None
        self.saved_step = 0
        self.rate = 0.0  # the learning rate of the newest step, before layers and head get theirs
        self.learning = 0  # layers that learn, of those in ``layers``
        # The newest step's (number, examples, ids, sums and norm), whose numbers a GPU may not have computed yet.
        self.unchecked: tuple[int, int, np.ndarray, Coming] | None = None

    def run(self, resume: bool) -> Progress:
        if resume:
            self._restore()
        progress, context, counts = self.progress, self.context, self.counts
        context.runtime.require_alike({"checkpoint": progress.step})
        self._unfreeze()
        steps: Iterator[Step] | None = None
        while True:
            self._evaluate_if_due()
            ended = progress.step >= counts.steps or progress.finished
            stopping = not ended and context.runtime.any(context.stop.requested)
            if ended or stopping or self._save_due():
                progress.finished = ended
                self._save()
            if ended:
                break
            if stopping:
                raise self._interrupted()
            if steps is None or progress.step % counts.steps_per_epoch == 0:
                epoch = self._unfreeze()
                if not context.objective.prepare(epoch, lambda: context.stop.requested, context.reporter):
                    continue  # a signal came while the teacher was asked
                context.reporter.begin("train", counts.steps, progress.step)
                steps = self._epoch_steps()
            self._take(next(steps))
        context.reporter.end()
        if self.average is not None:
            self.average.put_into_model()
        return progress

    def _unfreeze(self) -> int:
        """Let learn what learns in the current epoch, which is returned."""
        epoch, _ = self.counts.epoch(self.progress.step)
        if self.layers:
            layers = optim.learning_layers(self.layers, epoch, self.context.spec.train.unfreeze_every or 1)
            names = {name for names in layers for name in names} | self.context.pipeline.new_parameters
            optim.train_only(self.model, names & self.trained)
            if len(layers) != self.learning:
                self.learning = len(layers)
                self.gradients.begin_anew()
                self.context.reporter.say(f"epoch {epoch}: {len(layers)} of {len(self.layers)} layers learn")
        self.weights.training_mode()
        return epoch

    # -- one step ------------------------------------------------------------------------------------------

    def _epoch_steps(self) -> Iterator[Step]:
        """The rest of the current epoch."""
        spec, runtime = self.context.spec.train, self.context.runtime
        epoch, first = self.counts.epoch(self.progress.step)
        size = self.context.pipeline.size("train")
        batches = order.epoch_plan(size, spec.batch_size, spec.seed, epoch, self.lengths, self.classes)[
            first:
        ]
        batches = batches[: self.counts.steps - self.progress.step]
        shards = [self._shard(order.micro_batches(ids, self.micro, self.lengths), runtime) for ids in batches]
        # One loader for the whole epoch, so that loading runs ahead of training.
        loader = self.context.objective.train_batches([ids for shard in shards for _, ids in shard], epoch)
        return (Step(len(ids), shard, loader) for ids, shard in zip(batches, shards, strict=True))

    def _shard(self, pieces: list[np.ndarray], runtime: Runtime) -> list[tuple[int, np.ndarray]]:
        mine = order.shard(pieces, runtime.rank, runtime.ranks)
        return order.filled(mine, pieces, runtime.ranks) if self.weights.spread_out else mine

    def _take(self, step: Step) -> None:
        """One optimizer step: gradients of all micro-batches, added up over the processes, applied once."""
        begun = time.perf_counter()
        runtime, lap = self.context.runtime, self.context.lap
        lap("between")
        norms = batch_norms(self.model.modules()) if runtime.ranks > 1 else []
        before = [(m.running_mean.clone(), m.running_var.clone()) for m in norms]  # type: ignore[operator]
        sums = self.gradients.backward(step.micro_batches(), len(step.shard), self.progress.step)
        if runtime.ranks > 1:
            sums = self.gradients.combine(sums, norms, before, math.ceil(step.examples / self.micro))
            lap("exchange")
        norm = self._update(sums[1])
        lap("optimizer")
        self._count(step, sums, norm)
        self.progress.seconds += time.perf_counter() - begun

    def _update(self, count: Tensor) -> Tensor:
        """Divide the gradient by the count, clip it, apply it. Returns its norm before clipping."""
        spec = self.context.spec.train
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients)) / count.float()
        factor = 1.0 / count.float()
        if spec.max_grad_norm is not None:
            factor = factor * (spec.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(
            [share(gradient) for gradient in gradients], factor
        )  # one pass for both the division and the clipping
        scale = optim.rate_factor(self.progress.step, self.counts.steps, spec)
        self.rate = spec.learning_rate * scale
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * scale
        with memory_errors("the optimizer's state of this model", OTHER_MODEL):
            self.scaler.step(self.optimizer)
        self.weights.stepped(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=not self.gradients.stay)
        return norm

    def _count(self, step: Step, sums: Tensor, norm: Tensor) -> None:
        """Count the step; check its numbers, at once or during the next one."""
        progress, spec = self.progress, self.context.spec.train
        progress.step += 1
        if self.average is not None:
            self.average.update(progress.step)
        progress.examples += step.examples
        # On a GPU the numbers of a step are read when the next one is under way, so that it never waits for the CPU.
        self._check()
        on_their_way = coming(torch.cat([sums, norm.double().reshape(1)]))
        self.unchecked = (progress.step, step.examples, step.ids, on_their_way)
        if self.context.runtime.device.type == "cpu" or progress.step % spec.log_every_steps == 0:
            self._check()

    def _check(self) -> None:
        """Take the newest step's numbers in. Raises NotFinite; nothing of that step is then saved."""
        if self.unchecked is None:
            return
        step, examples, ids, on_their_way = self.unchecked
        self.unchecked = None
        loss_sum, count, *values, norm = on_their_way()
        parts = dict(zip(self.gradients.part_names, values, strict=True))
        numbers = StepNumbers(examples, ids, loss_sum, count, parts, norm)
        # fp16: a gradient that overflows is the scaler's business: it skips the step and scales less.
        bad_norm = not math.isfinite(norm) and not self.scaler.is_enabled()
        if not math.isfinite(numbers.loss) or bad_norm:
            line = {"kind": "error", "step": step, "loss": numbers.loss, "grad_norm": norm}
            self.context.log.write({**line, "ids": ids.tolist()})
            raise step_not_finite(numbers, step, self.context.pipeline)
        self.meter.add(numbers)
        every = self.context.spec.train.log_every_steps
        self.context.reporter.advance(step, self.meter.status(numbers.loss))
        if step % every == 0:
            epoch = round(step / self.counts.steps_per_epoch, 4)
            line = self.meter.take_line(epoch=epoch, learning_rate=self.rate, gradient_norm=norm)
            self.context.log.write(line)

    # -- between steps -------------------------------------------------------------------------------------

    def _evaluate_if_due(self) -> None:
        progress, context, spec = self.progress, self.context, self.context.spec
        every = spec.train.eval_every_steps or self.counts.steps_per_epoch
        due = progress.step > 0 and (progress.step % every == 0 or progress.step >= self.counts.steps)
        if not due or progress.evaluated_step == progress.step:
            return
        self._check()
        begun = time.perf_counter()
        # Nothing to measure twice before the evaluations that are averaged.
        average = None if self.average is None or self.average.share(progress.step) == 1 else self.average
        try:
            trained = None if average is None else self._measure().metrics.compute()
            with nullcontext() if average is None else average.in_model():
                evaluation = self._measure()
            values = evaluation.metrics.compute()
        except StopRequested:
            self._save()
            raise self._interrupted() from None
        except NotFinite:  # where an evaluation has no loss that would tell
            context.log.write({"kind": "error", "step": progress.step, "scores": math.nan})
            raise
        seconds = round(time.perf_counter() - begun, 3)
        self.weights.training_mode()
        epoch = round(progress.step / self.counts.steps_per_epoch, 4)
        line = {"kind": "eval", "step": progress.step, "epoch": epoch, "metrics": values, "seconds": seconds}
        context.log.write(line if trained is None else {**line, "trained_metrics": trained})
        if not math.isfinite(values.get("loss", 0.0)):  # detectors have none when they are evaluated
            raise evaluation_not_finite(values["loss"], progress.step, evaluation.metrics, context.pipeline)
        progress.evaluated_step = progress.step
        best = self.selection.consider(values, progress)
        if best or spec.best is None:
            self.evaluation = evaluation
            progress.trained = (values if trained is None else trained) if self.average is not None else {}
        mark = "  (best)" if best else ""
        positive, chosen = spec.positive_of(context.pipeline.labels), self.selection.headline(values)
        headline = "  ".join(f"{shown_metric(name, positive)} {v:.4f}" for name, v in chosen.items())
        context.reporter.say(f"step {progress.step}/{self.counts.steps}  epoch {epoch:g}  {headline}{mark}")
        if self.selection.exhausted(progress):
            progress.finished = True
            name, worse = self.selection.best and self.selection.best.metric, progress.worse_evaluations
            context.reporter.say(f"stopping early: {worse} evaluations without a better {name}")

    def _measure(self) -> Evaluation:
        context, begun = self.context, time.perf_counter()
        size = context.spec.train.eval_batch_size
        outputs: Outputs | None = None if context.spec.decisions is None else []
        with self.weights.collected():
            metrics = evaluate(
                context.pipeline, context.runtime, batch_size=size, stop=context.stop, outputs=outputs
            )
        return Evaluation(self.progress.step, metrics, time.perf_counter() - begun, outputs)

    def _save_due(self) -> bool:
        progress, every = self.progress, self.context.spec.train.save_every_steps
        if progress.step == self.saved_step:
            return False
        return progress.evaluated_step == progress.step or (every is not None and progress.step % every == 0)

    def _save(self) -> None:
        self._check()
        self._require_finite_weights()
        context, progress = self.context, self.progress
        progress.counts = all_counts(context.runtime.gather(context.objective.counts))
        self.weights.collect()
        state = optimizer_tensors(self.optimizer) if context.runtime.main or self.weights.spread_out else {}
        if context.runtime.main:
            progress.log_bytes = context.log.sync()
            progress.scaler = self.scaler.state_dict()
            context.store.save(progress, self.model, context.objective.module, state, self.average)
        self.saved_step = progress.step
        context.runtime.barrier()

    def _require_finite_weights(self) -> None:
        largest, step = largest_weight(self.parameters), self.progress.step
        if not math.isfinite(largest):
            self.context.log.write({"kind": "error", "step": step, "largest_weight": largest})
            raise weights_not_finite(step)

    def _restore(self) -> None:
        context = self.context
        path = context.store.load(context.reporter.say)
        if path is None:
            context.log.cut(0)
            context.reporter.say("no checkpoint yet: starting from the first step")
            return
        self.progress = restore(path, self.model, context.objective.module, self.optimizer, self.average)
        self.weights.spread()
        self.meter = Meter(self.progress)
        # Not what the file says: a finished run may have been given more epochs.
        self.progress.finished = self.selection.exhausted(self.progress)
        own = context.runtime.main  # the first process counts on for all; only time passes for each
        counts = {k: v for k, v in self.progress.counts.items() if own or k.endswith("seconds")}
        context.objective.counts.update(counts)
        if self.progress.scaler:
            self.scaler.load_state_dict(dict(self.progress.scaler))
        context.log.cut(self.progress.log_bytes)
        self.saved_step = self.progress.step
        context.reporter.say(f"resumed at step {self.progress.step} from {path}")

    def _interrupted(self) -> Interrupted:
        step = self.progress.step
        return Interrupted(
            f"stopped by {self.context.stop.cause} after step {step} of {self.counts.steps}; everything is saved",
            cure="the same command with --resume continues to the same bits",
        )
