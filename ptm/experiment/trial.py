"""``ptm check --deep``: what a run will cost, from steps that are really taken and then thrown away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptm import engine
from ptm.base.console import Silent, duration
from ptm.base.signals import StopFlag
from ptm.config.spec import RunSpec
from ptm.experiment.measure import forget_peak, peak
from ptm.experiment.prepare import prepare, without_stores
from ptm.experiment.session import open_session
from ptm.run.checkpoint import CheckpointStore, SpaceNeeded
from ptm.run.log import MetricsLog
from ptm.training import optim, order
from ptm.training.memory import shown
from ptm.training.runtime import Runtime, bf16_units

_PAYS = 1.1  # times as fast as the run's own precision


@dataclass(frozen=True)
class Trial:
    """``peak_bytes``: of the GPU, or of the whole process on a CPU, in a step with the longest examples; seconds of a
    step in each precision, on a usual batch; bytes on the disk of a checkpoint, of ``model/``, and of all that lies
    there at once."""

    device: str
    longest: int | None
    batch_size: int
    steps: int
    steps_per_epoch: int
    peak_bytes: int
    precision: str
    step_seconds: Mapping[str, float]
    checkpoint_bytes: int
    model_bytes: int
    disk_bytes: int
    units: str | None = None  # what of the device multiplies bf16

    @property
    def epoch_seconds(self) -> float:
        return self.step_seconds[self.precision] * self.steps_per_epoch

    @property
    def fastest(self) -> str:
        """The precision that pays; the run's own where no other is faster by a tenth."""
        best = min(self.step_seconds, key=self.step_seconds.__getitem__)
        own = self.step_seconds[self.precision]
        return best if own >= _PAYS * self.step_seconds[best] else self.precision

    @property
    def _units(self) -> str:
        device = "CPU" if self.device == "cpu" else "GPU"
        return f"this {device} has {self.units}" if self.units else f"this {device} has no units for bf16"

    def as_dict(self) -> dict[str, Any]:
        derived = {"epoch_seconds": self.epoch_seconds, "fastest_precision": self.fastest}
        return {**asdict(self), **derived}

    def lines(self) -> list[str]:
        tokens = f" of {self.longest} tokens" if self.longest is not None else ""
        where = "of the process" if self.device == "cpu" else "of the GPU"
        seconds = ", ".join(f"{name} {value:.3f} s" for name, value in self.step_seconds.items())
        if len(self.step_seconds) == 1:
            advice = ""
        elif self.fastest == self.precision:
            advice = f"; {self.precision}, as the config has it, is the one to take"
        else:
            advice = f"; --set runtime.precision={self.fastest} pays"
        return [
            f"memory: {shown(self.peak_bytes)} {where} at most, in a step with the longest batch "
            f"({self.batch_size} examples{tokens})",
            f"time: {duration(self.epoch_seconds)} an epoch of {self.steps_per_epoch} steps, "
            f"{duration(self.epoch_seconds / self.steps_per_epoch * self.steps)} in all, without evaluations",
            f"disk: {shown(self.disk_bytes)} at most, a checkpoint {shown(self.checkpoint_bytes)}, "
            f"the model {shown(self.model_bytes)}",
            f"precision: a step takes {seconds}{advice}; {self._units}",
        ]


def try_run(spec: RunSpec) -> Trial:
    """Prepare a run and take a few of its steps. Raises a PtmError as the run would."""
    with open_session(without_stores(spec), Silent()) as session:
        prepared = prepare(session)
        spec = prepared.session.spec
        context = engine.RunContext(
            spec=spec,
            pipeline=prepared.pipeline,
            objective=prepared.objective,
            runtime=session.runtime,
            store=CheckpointStore(Path(spec.output), keep=1),
            log=MetricsLog(None),
            reporter=Silent(),
            stop=StopFlag(),
        )
        size = prepared.pipeline.size("train")
        counts = optim.StepCounts.of(spec.train, size)
        space = SpaceNeeded.of(spec, prepared.pipeline.model, prepared.objective.module, size)
        lengths = prepared.pipeline.lengths("train")
        batch = min(spec.train.batch_size, size)
        longest = (
            np.arange(batch) if lengths is None else np.sort(np.argsort(-lengths, kind="stable")[:batch])
        )
        grouped = lengths if spec.train.group_by_length else None
        classes = prepared.pipeline.sampled_classes(spec.train)
        plan = order.epoch_plan(size, spec.train.batch_size, spec.train.seed, 0, grouped, classes)
        usual = plan[len(plan) // 2]
        forget_peak(session.runtime.device)
        list(engine.try_steps(context, [longest]))
        most = peak(session.runtime.device)
        seconds = {
            name: list(engine.try_steps(replace(context, runtime=runtime), [usual, usual]))[-1]
            for name, runtime in _precisions(session.runtime).items()
        }
        return Trial(
            device=session.runtime.device.type,
            longest=None if lengths is None else int(lengths.max()),
            batch_size=batch,
            steps=counts.steps,
            steps_per_epoch=counts.steps_per_epoch,
            peak_bytes=most,
            precision=session.runtime.precision,
            units=bf16_units(session.runtime.device),
            step_seconds=seconds,
            checkpoint_bytes=space.checkpoint,
            model_bytes=space.model,
            disk_bytes=space.bytes,
        )


def _precisions(runtime: Runtime) -> dict[str, Runtime]:
    """The run's own first, then what else the device can compute in."""
    names = dict.fromkeys((runtime.precision, "fp32", "bf16"))
    return {name: replace(runtime, precision=name) for name in names}
