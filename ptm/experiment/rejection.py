"""Answers of a classifier that are kept back because they are not sure enough: ``ptm predict --reject-below``."""

from __future__ import annotations

from collections.abc import Callable

from ptm.config.spec import RunSpec
from ptm.config.tasks import TASKS
from ptm.errors import ConfigError
from ptm.experiment.prediction_table import Row


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


def require_rejectable(spec: RunSpec) -> None:
    """ConfigError for tasks whose answer is not one class."""
    if spec.descriptor.label_types and spec.label_type.exclusive:
        return
    able = " and ".join(name for name, task in TASKS.items() if task.label_types)
    what = f"label_type: {spec.label_type.name}" if spec.descriptor.label_types else spec.task
    raise ConfigError(
        f"{what} has no single answer with a probability",
        where="--reject-below",
        expected=f"{able}, label_type: class",
        cure="leave it out",
    )
