"""What every command that computes begins with: the task, missing downloads, the machine, memory errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TypedDict, cast

from ptm import engine
from ptm.base.console import Reporter
from ptm.base.signals import StopFlag
from ptm.config.spec import ModelSpec, Precision, RunSpec
from ptm.data.examples import Dataset
from ptm.errors import MissingDownload, Problem, refuse
from ptm.experiment.slices import require_metrics
from ptm.metrics.summary import summary_of
from ptm.models import adapters
from ptm.pipeline import Metrics, Pipeline, TaskModule, task_module
from ptm.training import eight_bit
from ptm.training.evaluation import Outputs
from ptm.training.memory import memory_errors
from ptm.training.runtime import Runtime, open_runtime


@dataclass(frozen=True)
class Session:
    """A command at work. ``resources`` are closed when it ends."""

    spec: RunSpec
    task: TaskModule
    runtime: Runtime
    reporter: Reporter
    resources: ExitStack
    chosen_precision: bool = False  # whether `auto` stood in the config


@contextmanager
def open_session(spec: RunSpec, reporter: Reporter) -> Iterator[Session]:
    """Set the machine up as ``spec.runtime`` says, and put it back afterwards.

    Raises ConfigError for a device that is not there, OutOfMemory for whatever ran out inside.
    """
    with ExitStack() as resources:
        runtime = resources.enter_context(open_runtime(spec.runtime))
        # Loading, batches and results say more of themselves before an error comes here.
        resources.enter_context(
            memory_errors("what was being done needs more than there is", "a smaller model, or less data")
        )
        # What `auto` came to stands in the spec from here on, and so in the config of the run.
        chosen = spec.runtime.precision == "auto"
        spec = replace(spec, runtime=replace(spec.runtime, precision=cast(Precision, runtime.precision)))
        yield Session(spec, task_module(spec.task), runtime, reporter, resources, chosen)


def missing_downloads(
    spec: RunSpec, *, model: ModelSpec | None = None, teacher: bool = True, data: bool = True
) -> list[Problem]:
    """What of model, teacher and data is neither here nor can be fetched; ``model`` instead of the spec's own."""
    needed = replace(spec, model=model or spec.model)
    if not teacher:
        needed = replace(needed, teacher=None)
    if not data:
        needed = replace(needed, data=replace(spec.data, source="csv:."))
    return [
        *task_module(spec.task).missing(needed),
        *adapters.missing(needed.model),
        *(eight_bit.missing(needed.train) if teacher else ()),  # without one nothing is to be trained
    ]


def require_downloads(
    spec: RunSpec, *, model: ModelSpec | None = None, teacher: bool = True, data: bool = True
) -> None:
    """MissingDownload, with everything at once, where :func:`missing_downloads` has something to say."""
    missing = missing_downloads(spec, model=model, teacher=teacher, data=data)
    if missing:
        raise MissingDownload(missing)


def require_named_metrics(spec: RunSpec, data: Dataset) -> None:
    """ConfigError for metrics that the config names and these data do not have: before the first step."""
    named = [("expect", name) for name in spec.expect]
    named += [("best.metric", spec.best.metric)] if spec.best is not None else []
    require_metrics(spec, data, named)


def evaluate(
    session: Session, pipeline: Pipeline, stop: StopFlag | None = None, outputs: Outputs | None = None
) -> Metrics:
    """The evaluation split once through the model, on the session's machine. Raises StopRequested."""
    pipeline.model.to(session.runtime.device)
    return engine.evaluate(
        pipeline,
        session.runtime,
        batch_size=session.spec.train.eval_batch_size,
        stop=stop,
        reporter=session.reporter,
        outputs=outputs,
    )


class Aside(TypedDict):
    """What stands beside the metrics in results.json."""

    constant: dict[str, float]
    positive_label: str | None
    absent_labels: tuple[str, ...]
    warnings: tuple[str, ...]


def beside(spec: RunSpec, metrics: Metrics, values: Mapping[str, float]) -> Aside:
    """A constant answer's metrics, labels that are not there, and what is to be said of ``values``."""
    summary = summary_of(metrics)
    chief = spec.best.metric if spec.best is not None else spec.evaluation.headline
    return Aside(
        constant={name: value for name, value in summary.constant.items() if name in values},
        positive_label=summary.positive,
        absent_labels=summary.absent,
        warnings=summary.warnings(values, chief if chief != "loss" else spec.evaluation.headline),
    )


def require_readable(session: Session, pipeline: Pipeline) -> None:
    """DataError with all inputs that cannot be read: before the first step, not in the middle of a run."""
    runtime = session.runtime
    problems = pipeline.unreadable_inputs(session.reporter, runtime.rank, runtime.ranks)
    refuse((problem for share in runtime.gather(problems) for problem in share), noun="images")
