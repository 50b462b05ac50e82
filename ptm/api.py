"""ptm from Python: a function a command. Importing this module costs nothing; a function loads what it needs.

A config is given as its path or as what :func:`load_config` made of it. What a user can get wrong raises one of the
classes of :mod:`ptm.errors`, whose ``problems`` say what, where, and how to repair it. A bound of ``expect:`` that is
missed raises nothing: it stands in ``Results.missed``. Nothing is printed, unless ``progress=True``: then on standard
error, as the commands do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptm.base.console import Reporter
    from ptm.config.spec import RunSpec
    from ptm.run.opening import Mode
    from ptm.run.results import Judged, Results

__all__ = ["distill", "evaluate", "load_config", "predict", "train"]


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunSpec:
    """The experiment in a YAML file, with changes as ``--set`` takes them: ``["train.epochs=1", "output=runs/a"]``.

    Raises ConfigError with every problem at once.
    """
    from ptm.config.load import load_config as load

    return load(path, overrides)


def train(
    config: str | Path | RunSpec, *, mode: Mode = "new", allow_drift: bool = False, progress: bool = False
) -> Results:
    """``ptm finetune``, and ``ptm pretrain`` for a language model. The run directory is the config's ``output``.

    ``mode``: ``"resume"`` continues a run that was stopped, ``"overwrite"`` deletes the one that is there.
    ``allow_drift``: resume although data, weights or versions have changed. Raises ConfigError for a config with a
    teacher, Interrupted when a signal came.
    """
    from ptm.config.commands import require_command

    spec, file = _spec(config)
    require_command("finetune", spec, file or "config")
    return _train(spec, file, mode, allow_drift, progress)


def distill(
    config: str | Path | RunSpec, *, mode: Mode = "new", allow_drift: bool = False, progress: bool = False
) -> Results:
    """``ptm distill``: as :func:`train`, for a config with a ``teacher:``.

    With ``distill.control: true`` the student is trained without its teacher as well, and the results, those of the
    distilled student, have a ``verdict``.
    """
    from ptm.config.commands import require_command

    spec, file = _spec(config)
    require_command("distill", spec, file or "config")
    if spec.distill is None or not spec.distill.control:
        return _train(spec, file, mode, allow_drift, progress)
    from ptm.experiment.control import run_with_control
    from ptm.run.opening import read_finished

    reporter = _reporter(progress)
    run_with_control(spec, [spec.train.seed], mode=mode, reporter=reporter, allow_drift=allow_drift)
    return read_finished(Path(spec.output) / f"distilled-{spec.train.seed}")


def evaluate(
    target: str | Path,
    overrides: Sequence[str] = (),
    *,
    expect: Mapping[str, str] | None = None,
    predictions: str | Path | None = None,
    split: Judged | None = None,
    progress: bool = False,
) -> Results:
    """``ptm eval``: the metrics of a run's model, or of the model that a config names, on its evaluation split and on
    its test, where it has one; ``split``: on ``"eval"`` or ``"test"`` alone.

    Other data are overrides: ``["data.source=csv:other", "data.eval=test.csv"]``. ``expect``: more bounds, such as
    ``{"accuracy": ">= 0.9"}``. ``predictions``: a file that gets a line of JSON an example.
    """
    reporter = _reporter(progress)
    from ptm.experiment.evaluate import run_evaluation

    return run_evaluation(
        Path(target),
        overrides=overrides,
        expect=tuple((expect or {}).items()),
        predictions=None if predictions is None else Path(predictions),
        split=split,
        reporter=reporter,
    )


def predict(
    target: str | Path,
    inputs: Iterable[str | Path] = (),
    *,
    texts: Iterable[str] = (),
    overrides: Sequence[str] = (),
    batch_size: int | None = None,
    skip_bad: bool = False,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """``ptm predict``: what a run's model, or the trained model that a config names, makes of new inputs.

    ``inputs``: files and folders; ``texts``: texts themselves. A dictionary an input, in their order, with the keys of
    a line that ``ptm predict`` prints: docs/predict.md. All are held in memory; for more inputs than fit, the command
    writes a file.
    """
    reporter = _reporter(progress)
    from ptm.experiment.predict import run_prediction

    rows: list[dict[str, Any]] = []
    run_prediction(
        Path(target),
        list(inputs),
        texts=tuple(texts),
        overrides=overrides,
        receive=rows.append,
        skip_bad=skip_bad,
        batch_size=batch_size,
        reporter=reporter,
    )
    return rows


def _train(spec: RunSpec, file: Path | None, mode: Mode, allow_drift: bool, progress: bool) -> Results:
    from ptm.run.opening import refuse_early
    from ptm.run.ownership import input_paths

    inputs = [*([("the config", file)] if file else []), *input_paths(spec)]
    # Before the seconds that torch takes to import.
    refuse_early(Path(spec.output), mode, inputs)
    reporter = _reporter(progress)
    from ptm.experiment.train import run_training

    return run_training(spec, mode=mode, reporter=reporter, allow_drift=allow_drift)


def _spec(config: str | Path | RunSpec) -> tuple[RunSpec, Path | None]:
    """The experiment, and its file where that is what was given."""
    if isinstance(config, str | Path):
        return load_config(config), Path(config)
    return config, None


def _reporter(progress: bool) -> Reporter:
    from ptm.base.console import Silent, quiet_hub, reporter_for

    quiet_hub()
    return reporter_for(sys.stderr) if progress else Silent()
