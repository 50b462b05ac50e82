"""Trackers that other people look at runs with: each is fed with the lines of ``metrics.jsonl``, as they are written or
afterwards. Off unless a config or ``ptm track`` names one; one that fails is left out, and never ends a training."""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ptm.base.extras import require_package
from ptm.base.regular import kind_of, read_bytes, strays
from ptm.errors import ConfigError, DataError, PtmError

Write = Callable[[int, Mapping[str, float]], None]  # step, values by name


def numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """What of a line is tracked: ``train/loss``, ``eval/accuracy``. What was not finite stands in it as a string."""
    kind = record.get("kind")
    values = record.get("metrics") if kind == "eval" else record if kind == "train" else None
    if not isinstance(values, Mapping):
        return {}
    left_out = ("kind", "step", "parts", "ids")
    flat = {f"{kind}/{name}": value for name, value in values.items() if name not in left_out}
    return {
        name: float(value)
        for name, value in flat.items()
        if not isinstance(value, bool) and _is_number(value)
    }


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _place(run: Path, name: str, *, links: bool) -> Path:
    """A folder of a tracker beside the run. Raises ConfigError where something else stands there: it may have been
    received with the run, and trackers write through links. ``links``: whether this one makes some itself."""
    place = run.parent / name
    kind = kind_of(place)
    kinds = [(place, kind)] if kind not in (None, "a directory") or links else strays(place)
    for path, what in kinds:
        if what not in (None, "a directory"):
            raise ConfigError(
                f"is {what}",
                where=path,
                expected="a folder, or nothing",
                cure="remove it, or move the run elsewhere",
            )
    return place


@contextmanager
def _tensorboard(run: Path) -> Iterator[Write]:
    """Event files in ``tensorboard/NAME`` beside the run."""
    SummaryWriter = importlib.import_module("torch.utils.tensorboard").SummaryWriter
    with SummaryWriter(log_dir=str(_place(run, "tensorboard", links=False) / run.name)) as writer:

        def write(step: int, values: Mapping[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        yield write


@contextmanager
def _mlflow(run: Path) -> Iterator[Write]:
    """A run of the experiment ``ptm``: in ``mlruns/`` beside the run, or where ``MLFLOW_TRACKING_URI`` says."""
    place = None if "MLFLOW_TRACKING_URI" in os.environ else _place(run, "mlruns", links=False)
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # newer versions want to be asked for it
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    mlflow = importlib.import_module("mlflow")
    if place is not None:
        mlflow.set_tracking_uri(place.as_uri())
    mlflow.set_experiment("ptm")
    with mlflow.start_run(run_name=run.name, log_system_metrics=False):
        yield lambda step, values: mlflow.log_metrics(
            {name.replace("[", "(").replace("]", ")"): value for name, value in values.items()}, step=step
        )


@contextmanager
def _wandb(run: Path) -> Iterator[Write]:
    """A run of the project ``ptm`` in ``wandb/`` beside the run: offline, unless ``WANDB_MODE`` says otherwise."""
    _place(run, "wandb", links=True)
    wandb = importlib.import_module("wandb")
    settings = wandb.Settings(silent=True)
    mode = os.environ.get("WANDB_MODE", "offline")
    tracked = wandb.init(project="ptm", name=run.name, dir=str(run.parent), mode=mode, settings=settings)
    try:
        # The step is a value, for a resumed run goes back, and wandb's own steps do not.
        tracked.define_metric("*", step_metric="step")
        yield lambda step, values: tracked.log({**values, "step": step})
    finally:
        tracked.finish()


@contextmanager
def _trackio(run: Path) -> Iterator[Write]:
    """A run of the project ``ptm`` in ``trackio/`` beside the run, or where ``TRACKIO_DIR`` says."""
    os.environ.setdefault("TRACKIO_DIR", str(_place(run, "trackio", links=True)))
    trackio = importlib.import_module("trackio")
    tracked = trackio.init(project="ptm", name=run.name, embed=False)
    try:
        yield lambda step, values: tracked.log(dict(values), step=step)
    finally:
        trackio.finish()


TRACKERS: Mapping[str, tuple[str, Callable[[Path], Any]]] = {
    "tensorboard": ("tensorboard", _tensorboard),
    "mlflow": ("mlflow", _mlflow),
    "wandb": ("wandb", _wandb),
    "trackio": ("trackio", _trackio),
}


class LiveTrackers:
    """Those that a config names, while a run writes its log. One that goes wrong is left out, which is said."""

    def __init__(self, names: Sequence[str], run: Path, stack: ExitStack, say: Callable[[str], None]) -> None:
        self._say = say
        self._open: dict[str, tuple[ExitStack, Write]] = {}
        stack.callback(self._close)
        for name in names:
            with self._guarded(name):
                package, tracker = TRACKERS[name]
                require_package(package, name)
                own = ExitStack()
                self._open[name] = (own, own.enter_context(tracker(run)))

    def write(self, record: Mapping[str, Any]) -> None:
        """A line of the log."""
        values = numbers(record)
        for name, (_, write) in list(self._open.items()) if values else ():
            with self._guarded(name):
                write(int(record["step"]), values)

    def _close(self) -> None:
        for name, (own, _) in list(self._open.items()):
            with self._guarded(name):
                own.close()

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as error:  # whatever a tracker does, the training is not its to end
            self._open.pop(name, None)
            text = " ".join(str(error).split())[:300] or type(error).__name__
            self._say(f"warning: {name} is left out: {text}")


def replay(run: Path, name: str) -> int:
    """Give a tracker all of a run's log. Returns the number of lines that had values in them.

    Raises ConfigError for a tracker that there is not or that is not installed, DataError for a log that is damaged.
    """
    if name not in TRACKERS:
        raise ConfigError(
            f"there is no tracker {name!r}", where="--to", expected=f"one of {', '.join(TRACKERS)}"
        )
    package, tracker = TRACKERS[name]
    require_package(package, name)
    lines = [(record["step"], numbers(record)) for record in _records(run / "metrics.jsonl")]
    with_values = [(step, values) for step, values in lines if values]
    try:
        with tracker(run.resolve()) as write:
            for step, values in with_values:
                write(step, values)
    except (PtmError, OSError, MemoryError):
        raise
    except Exception as error:  # each has its own, for names and numbers that it does not take
        text = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(f"{name} does not take it: {text}", where=run / "metrics.jsonl") from None
    return len(with_values)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = read_bytes(path).decode("utf-8", "replace")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from None
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            record = json.loads(line)
            step = record.get("step") if isinstance(record, dict) else None
            if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < 2**63:
                raise ValueError
        except (ValueError, RecursionError):
            raise DataError(
                "no line of metrics", where=f"{path}:{number}", expected='{"kind": …, "step": …}'
            ) from None
        yield record
