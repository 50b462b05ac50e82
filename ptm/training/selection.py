"""Which evaluation is the best one so far, and when to stop waiting for a better one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ptm.config.spec import BestSpec
from ptm.errors import ConfigError
from ptm.training.progress import Progress


@dataclass(frozen=True)
class Selection:
    """``best`` None: no evaluation is better than another. ``patience``: worse evaluations in a row that end a run."""

    best: BestSpec | None
    patience: int | None
    default: str = ""  # what stands for an evaluation where nothing is chosen by

    def consider(self, values: Mapping[str, float], progress: Progress) -> bool:
        """Whether the evaluation of ``progress.step`` is the best so far; ``progress`` remembers it.

        Among equal values the lower loss wins; early stopping waits for a better value all the same. Raises
        ConfigError for a metric that was not measured.
        """
        if self.best is None:
            return False
        name = self.best.metric
        if name not in values:
            raise ConfigError(
                f"there is no metric {name!r}", where="best.metric", expected=f"one of {', '.join(values)}"
            )
        value, sign = values[name], 1 if self.best.mode == "max" else -1
        loss, former = values.get("loss"), progress.best_loss
        better = progress.best_value is None or sign * value > sign * progress.best_value
        level = value == progress.best_value and loss is not None and former is not None and loss < former
        if better or level:
            progress.best_value, progress.best_loss, progress.best_step = value, loss, progress.step
        progress.worse_evaluations = 0 if better else progress.worse_evaluations + 1
        return better or level

    def exhausted(self, progress: Progress) -> bool:
        """Whether there have been too many evaluations without a better one."""
        return self.patience is not None and progress.worse_evaluations >= self.patience

    def headline(self, values: Mapping[str, float]) -> dict[str, float]:
        """The loss, and the metric that chooses, else ``default``, else the first one."""
        first = next((name for name in (self.default, *values) if name in values and name != "loss"), "loss")
        names = {"loss", self.best.metric if self.best else first}
        return {name: value for name, value in values.items() if name in names}
