"""THE training loop and THE evaluation loop. Every command and every task goes through them.

One step, top to bottom: the ids of its examples (a function of seed and epoch) are cut into micro-batches;
each process takes its share; every forward pass starts from its own seed; losses and counts are added up over
micro-batches and processes; the gradient is divided once by the global count, clipped, applied. Between steps,
and only there, the run is evaluated, saved, or stopped.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from ptm.base import seeds
from ptm.base.console import Reporter
from ptm.base.signals import StopFlag
from ptm.config.spec import RunSpec
from ptm.errors import ConfigError, Interrupted, NotFinite, OutOfMemory
from ptm.models.layers import layers_of
from ptm.objective import Objective, TrainBatch, all_counts
from ptm.pipeline import Metrics, Pipeline, Split
from ptm.run.checkpoint import CheckpointStore, Progress, restore
from ptm.run.log import MetricsLog
from ptm.training import optim, order
from ptm.training.runtime import Runtime, batch_norms


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


class StopRequested(Exception):
    """A signal came during an evaluation; the loop saves and ends the run."""


def train(context: RunContext, *, resume: bool) -> Progress:
    """Train to the end, from the newest checkpoint if ``resume``. The model of the pipeline ends up trained.

    Raises Interrupted when a signal stopped the run (what was done is saved), NotFinite when a loss or
    gradient is not a number.
    """
    return _Training(context).run(resume)


def evaluate(
    pipeline: Pipeline,
    runtime: Runtime,
    *,
    batch_size: int,
    split: Split = "eval",
    stop: StopFlag | None = None,
    reporter: Reporter | None = None,
) -> Metrics:
    """Every example of a split once through the model, in evaluation mode; the same metrics in every process."""
    model = pipeline.model
    plan = order.eval_plan(pipeline.size(split), batch_size, pipeline.lengths(split))
    mine = plan[runtime.rank :: runtime.ranks]
    metrics = pipeline.new_metrics()
    model.eval()
    if reporter is not None:
        reporter.begin("evaluate", len(mine))
    with torch.inference_mode(), runtime.autocast():
        for done, batch in enumerate(pipeline.batches(split, mine, 0), start=1):
            # Several processes must stop at the same place: they do so after the evaluation.
            if stop is not None and stop.requested and runtime.ranks == 1:
                raise StopRequested
            metrics.update(batch, pipeline.evaluate_batch(model, batch.to(runtime.device)))
            if reporter is not None:
                reporter.advance(done, "")
    if reporter is not None:
        reporter.end()
    if runtime.ranks == 1:
        return metrics
    first, *others = runtime.gather(metrics)
    return first.merge(others)


class _Training:
    """One run of the loop. Its attributes are what changes; ``context`` is what does not."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        spec, pipeline, runtime = context.spec, context.pipeline, context.runtime
        self.model = pipeline.model
        optim.freeze(self.model, spec.model, pipeline.head, pipeline.embeddings)
        groups = optim.parameter_groups(
            self.model, context.objective.module, spec.train, pipeline.head, pipeline.embeddings
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
        self.micro = spec.train.micro_batch_size or math.ceil(spec.train.batch_size / runtime.ranks)
        self.compiled: nn.Module = torch.compile(self.model) if spec.runtime.compile else self.model  # type: ignore[assignment]
        self.progress = Progress()
        self.saved_step = 0
        self.rate = 0.0  # the learning rate of the newest step, before layers and head get theirs
        self.learning = 0  # layers that learn, of those in ``layers``
        self.unchecked: tuple[int, np.ndarray, Tensor] | None = (
            None  # the newest step's sums, perhaps still on the GPU
        )
        self.part_names: tuple[str, ...] = ()
        self.parts_known = False  # in all processes

    def run(self, resume: bool) -> Progress:
        if resume:
            self._restore()
        progress, context, counts = self.progress, self.context, self.counts
        self._unfreeze()
        steps: Iterator[tuple[int, list[tuple[int, np.ndarray]], Iterator[TrainBatch]]] | None = None
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
            self._step(*next(steps))
        context.reporter.end()
        return progress

    def _unfreeze(self) -> int:
        """Let learn what learns in the current epoch, which is returned."""
        epoch, _ = self.counts.epoch(self.progress.step)
        if self.layers:
            layers = optim.learning_layers(self.layers, epoch, self.context.spec.train.unfreeze_every or 1)
            names = {name for names in layers for name in names}
            optim.train_only(self.model, names & self.trained)
            if len(layers) != self.learning:
                self.learning = len(layers)
                self.context.reporter.say(f"epoch {epoch}: {len(layers)} of {len(self.layers)} layers learn")
        optim.training_mode(self.model)
        return epoch

    # -- one step ------------------------------------------------------------------------------------------

    def _epoch_steps(self) -> Iterator[tuple[int, list[tuple[int, np.ndarray]], Iterator[TrainBatch]]]:
        """The rest of the current epoch: (examples, this process's micro-batches, its train_batches) a step."""
        spec, runtime = self.context.spec.train, self.context.runtime
        epoch, first = self.counts.epoch(self.progress.step)
        size = self.context.pipeline.size("train")
        batches = order.epoch_plan(size, spec.batch_size, spec.seed, epoch, self.lengths)[first:]
        batches = batches[: self.counts.steps - self.progress.step]
        shares = [
            order.share(order.micro_batches(ids, self.micro, self.lengths), runtime.rank, runtime.ranks)
            for ids in batches
        ]
        # One stream of train_batches for the whole epoch, so that loading runs ahead of training.
        train_batches = self.context.objective.train_batches(
            [ids for share in shares for _, ids in share], epoch
        )
        for ids, share in zip(batches, shares, strict=True):
            yield len(ids), share, train_batches

    def _step(
        self, examples: int, share: list[tuple[int, np.ndarray]], train_batches: Iterator[TrainBatch]
    ) -> None:
        begun = time.perf_counter()
        context, runtime, step = self.context, self.context.runtime, self.progress.step
        norms = batch_norms(self.model.modules()) if runtime.ranks > 1 else []
        before = [(m.running_mean.clone(), m.running_var.clone()) for m in norms]  # type: ignore[operator]
        sums = torch.zeros(
            2, dtype=torch.float64, device=runtime.device
        )  # loss, count; then the objective's parts
        for index, _ in share:
            train_batch = next(train_batches).to(runtime.device)
            runtime.seed(context.spec.train.seed, seeds.DROPOUT, step, index)
            with runtime.autocast():
                output = context.objective.loss(self.compiled, train_batch)
            self.scaler.scale(output.loss_sum).backward()
            self.part_names = tuple(output.parts)
            row = torch.stack(
                [output.loss_sum.detach().double(), *(p.double() for p in output.parts.values())]
            )
            sums = torch.nn.functional.pad(sums, (0, 1 + len(row) - len(sums)))
            sums[0] += row[0]
            sums[1] += output.count
            sums[2:] += row[1:]
        if runtime.ranks > 1:
            self._combine(sums, norms, before, examples)
        norm = self._update(sums[1])
        self._learned(examples, share, sums, norm)
        self.progress.seconds += time.perf_counter() - begun

    def _combine(
        self, sums: Tensor, norms: list[nn.Module], before: list[tuple[Tensor, Tensor]], examples: int
    ) -> None:
        """Make all processes hold the sums, gradients and statistics of the whole batch."""
        runtime = self.context.runtime
        pieces = math.ceil(examples / self.micro)
        passes = [
            len(order.share([np.empty(0)] * pieces, rank, runtime.ranks)) for rank in range(runtime.ranks)
        ]
        if not self.parts_known:
            # Every process asks, once a run, whatever it knows itself: one without a micro-batch knows no parts.
            self.part_names = next((names for names in runtime.gather(self.part_names) if names), ())
            self.parts_known = True
        if len(sums) == 2:
            sums.resize_(2 + len(self.part_names))[2:] = 0
        runtime.sum(sums)
        runtime.sum_gradients([p for p in self.parameters if p.requires_grad])
        runtime.chain_batch_norms(norms, before, passes)

    def _update(self, count: Tensor) -> Tensor:
        """Divide the gradient by the count, clip it, apply it. Returns its norm before clipping."""
        spec = self.context.spec.train
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) / count.float()
        factor = 1.0 / count.float()
        if spec.max_grad_norm is not None:
            factor = factor * (spec.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, factor)  # one pass for both the division and the clipping
        scale = optim.rate_factor(self.progress.step, self.counts.steps, spec)
        self.rate = spec.learning_rate * scale
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * scale
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _learned(
        self, examples: int, share: list[tuple[int, np.ndarray]], sums: Tensor, norm: Tensor
    ) -> None:
        """Count the step, check its numbers, write its line."""
        progress, spec = self.progress, self.context.spec.train
        progress.step += 1
        progress.examples += examples
        ids = np.concatenate([ids for _, ids in share]) if share else np.empty(0, dtype=np.int64)
        # On a GPU the numbers of a step are read while the next one runs, so that it never waits for the CPU.
        self._check()
        self.unchecked = (examples, ids, torch.cat([sums, norm.double().reshape(1)]))
        if self.context.runtime.device.type == "cpu" or progress.step % spec.log_every_steps == 0:
            self._check()

    def _check(self) -> None:
        """Take the newest step's numbers in. Raises NotFinite; nothing of that step is then saved."""
        if self.unchecked is None:
            return
        examples, ids, numbers = self.unchecked
        self.unchecked = None
        loss_sum, count, *parts, norm = numbers.tolist()
        loss, progress, spec = loss_sum / count, self.progress, self.context.spec.train
        # fp16: a gradient that overflows is the scaler's business: it skips the step and scales less.
        bad_norm = not math.isfinite(norm) and not self.scaler.is_enabled()
        if not math.isfinite(loss) or bad_norm:
            self._not_finite(loss, norm, ids)
        window = progress.window
        for name, value in {
            "loss": loss_sum,
            "count": count,
            **dict(zip(self.part_names, parts, strict=True)),
        }.items():
            window[name] = window.get(name, 0.0) + value
        window["examples"] = window.get("examples", 0) + examples
        rate = progress.examples / progress.seconds if progress.seconds else 0.0
        self.context.reporter.advance(progress.step, f"loss {loss:.4f}  {rate:.0f} examples/s")
        if progress.step % spec.log_every_steps == 0:
            self._write_line(norm)

    def _write_line(self, norm: float) -> None:
        progress, window = self.progress, self.progress.window
        count = window.pop("count")
        examples = window.pop("examples")
        means = {name: value / count for name, value in window.items()}
        loss = means.pop("loss")
        self.context.log.write(
            {
                "kind": "train",
                "step": progress.step,
                "epoch": round(progress.step / self.counts.steps_per_epoch, 4),
                "loss": loss,
                "learning_rate": self.rate,
                "grad_norm": norm,
                **({"parts": means} if means else {}),
                "examples": int(examples),
                "seconds": round(progress.seconds, 3),
            }
        )
        window.clear()

    def _not_finite(self, loss: float, norm: float, ids: np.ndarray) -> None:
        step = self.progress.step
        self.context.log.write(
            {"kind": "error", "step": step, "loss": loss, "grad_norm": norm, "ids": ids.tolist()}
        )
        places = [str(self.context.pipeline.example("train", int(i))["where"]) for i in ids[:5]]
        raise NotFinite(
            f"the loss is {loss} and the gradient's norm {norm} at step {step}",
            where=f"step {step}, examples {', '.join(places)}{', …' if len(ids) > 5 else ''}",
            expected="finite numbers; this step was not saved",
            cure="lower train.learning_rate, add warmup, look at these examples, or use precision: fp32",
        )

    # -- between steps -------------------------------------------------------------------------------------

    def _evaluate_if_due(self) -> None:
        progress, context, spec = self.progress, self.context, self.context.spec
        every = spec.train.eval_every_steps or self.counts.steps_per_epoch
        due = progress.step > 0 and (progress.step % every == 0 or progress.step >= self.counts.steps)
        if not due or progress.evaluated_step == progress.step:
            return
        self._check()
        begun = time.perf_counter()
        batch_size = spec.train.eval_batch_size
        try:
            metrics = evaluate(context.pipeline, context.runtime, batch_size=batch_size, stop=context.stop)
            values = metrics.compute()
        except StopRequested:
            self._save()
            raise self._interrupted() from None
        seconds = time.perf_counter() - begun
        optim.training_mode(self.model)
        epoch = round(progress.step / self.counts.steps_per_epoch, 4)
        context.log.write(
            {
                "kind": "eval",
                "step": progress.step,
                "epoch": epoch,
                "metrics": values,
                "seconds": round(seconds, 3),
            }
        )
        if not math.isfinite(values.get("loss", 0.0)):  # detectors have none when they are evaluated
            raise NotFinite(
                f"the evaluation loss is {values['loss']} at step {progress.step}",
                where=f"step {progress.step}, examples {self._without_score(metrics)}",
                expected="finite numbers; this step was not saved",
                cure="lower train.learning_rate, look at these examples, or use precision: fp32",
            )
        progress.evaluated_step = progress.step
        progress.last_metrics = values
        self._compare(values)
        mark = "  (best)" if progress.best_step == progress.step else ""
        shown = "  ".join(
            f"{name} {value:.4f}" for name, value in values.items() if name in self._headline(values)
        )
        context.reporter.say(f"step {progress.step}/{self.counts.steps}  epoch {epoch:g}  {shown}{mark}")

    def _without_score(self, metrics: Metrics) -> str:
        """Where the first few examples stand whose scores are not finite."""
        bad = (
            self.context.pipeline.example("eval", prediction["id"])["where"]
            for prediction in metrics.predictions()
            if not all(math.isfinite(score) for score in prediction.get("scores", {}).values())
        )
        return (
            ", ".join(str(where) for where in islice(bad, 5)) or "of every kind: only their sum is not finite"
        )

    def _headline(self, values: dict[str, float]) -> set[str]:
        best = self.context.spec.best
        return {"loss", best.metric if best else next((name for name in values if name != "loss"), "loss")}

    def _compare(self, values: dict[str, float]) -> None:
        """Is this the best evaluation so far? Have there been too many worse ones?"""
        best, progress = self.context.spec.best, self.progress
        if best is None:
            return
        if best.metric not in values:
            raise ConfigError(
                f"there is no metric {best.metric!r}",
                where="best.metric",
                expected=f"one of {', '.join(values)}",
            )
        value, sign = values[best.metric], 1 if best.mode == "max" else -1
        if progress.best_value is None or sign * value > sign * progress.best_value:
            progress.best_value, progress.best_step, progress.best_metrics = value, progress.step, values
            progress.worse_evaluations = 0
        else:
            progress.worse_evaluations += 1
        if self._out_of_patience():
            progress.finished = True
            self.context.reporter.say(
                f"stopping early: {progress.worse_evaluations} evaluations without a better {best.metric}"
            )

    def _out_of_patience(self) -> bool:
        patience = self.context.spec.train.early_stopping
        return patience is not None and self.progress.worse_evaluations >= patience

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
        if context.runtime.main:
            progress.log_bytes = context.log.sync()
            progress.scaler = self.scaler.state_dict()
            context.store.save(progress, self.model, context.objective.module, self.optimizer)
        self.saved_step = progress.step
        context.runtime.barrier()

    def _require_finite_weights(self) -> None:
        """A step can end in weights that are not finite though its loss and gradient were: an update too large."""
        largest = torch.nn.utils.get_total_norm([p.detach() for p in self.parameters], norm_type=math.inf)
        if not math.isfinite(largest.item()):
            step = self.progress.step
            self.context.log.write({"kind": "error", "step": step, "largest_weight": largest.item()})
            raise NotFinite(
                f"the weights are not finite after step {step}",
                where=f"step {step}",
                expected="finite numbers; this step was not saved",
                cure="lower train.learning_rate, or add warmup",
            )

    def _restore(self) -> None:
        context = self.context
        path = context.store.load(context.reporter.say)
        if path is None:
            context.log.cut(0)
            context.reporter.say("no checkpoint yet: starting from the first step")
            return
        self.progress = restore(path, self.model, context.objective.module, self.optimizer)
        # Not what the file says: a finished run may have been given more epochs.
        self.progress.finished = self._out_of_patience()
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
            f"stopped by {self.context.stop.name} after step {step} of {self.counts.steps}; everything is saved",
            cure="the same command with --resume continues to the same bits",
        )


@contextmanager
def memory_errors(spec: RunSpec) -> Iterator[None]:
    """Out of memory, on a GPU or the CPU, as one message with what would fit."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if type(error) is RuntimeError and not re.search(
            r"can't allocate memory|not enough memory", str(error)
        ):
            raise
        batch = spec.train.batch_size
        micro = spec.train.micro_batch_size or batch
        raise OutOfMemory(
            "out of memory",
            where=f"batch_size {batch}, micro_batch_size {micro}",
            expected="model, gradients, optimizer state and one micro-batch to fit the device",
            cure=f"set train.micro_batch_size: {max(1, micro // 2)} (the batch stays the same), a smaller max_length "
            "or image_size, or runtime.precision: bf16",
        ) from error
