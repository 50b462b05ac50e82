"""Answers of a classifier that are not sure enough: kept back (``ptm predict --reject-below``), or sets of labels
(``--coverage``)."""

from __future__ import annotations

from collections.abc import Callable

from ptm.config.spec import RunSpec
from ptm.config.tasks import TASKS
from ptm.errors import ConfigError
from ptm.experiment.prediction_table import Row
from ptm.experiment.trained import Trained
from ptm.metrics.conformal import stored_conformal


class Rejection:
    """Counts the answers that are less probable than ``least``; None keeps all."""

    def __init__(self, least: float | None) -> None:
        self._least = least
        self.count = 0

    def before(self, write: Callable[[Row], None]) -> Callable[[Row], None]:
        """What passes rows on to ``write``, the unsure ones with None as their prediction, their scores as they are."""
        least = self._least
        if least is None:
            return write

        def write_row(row: Row) -> None:
            unsure = row["scores"].get(row["prediction"], 0.0) < least
            self.count += unsure
            write({**row, "prediction": None} if unsure else row)

        return write_row


def require_rejectable(spec: RunSpec, where: str = "--reject-below") -> None:
    """ConfigError for tasks whose answer is not one class; ``where``: the option that needs one."""
    if spec.descriptor.classifies and spec.label_type.exclusive:
        return
    able = " and ".join(name for name, task in TASKS.items() if task.classifies)
    what = f"label_type: {spec.label_type.name}" if spec.descriptor.classifies else spec.task
    raise ConfigError(
        f"{what} has no single answer with a probability",
        where=where,
        expected=f"{able}, label_type: class",
        cure="leave it out",
    )


def least_in_set(trained: Trained, coverage: float) -> float:
    """The probability from which on a label is in a set that holds the truth with the probability ``coverage``. Raises
    ConfigError for other tasks, and for models that were not saved with what their evaluation split said."""
    require_rejectable(trained.spec, "--coverage")
    if not 0 < coverage < 1:
        raise ConfigError(
            f"{coverage:g} is no coverage", where="--coverage", expected="between 0 and 1, such as 0.9"
        )
    conformal = stored_conformal(trained.model.name)
    if conformal is None:
        raise ConfigError(
            "the model was saved without what its evaluation split says of it",
            where=trained.target,
            expected="a run of this version of ptm, or an export of one",
            cure="train it again: ptm finetune CONFIG",
        )
    return conformal.least(coverage)
