"""What a batch says while its runs are run: lines, or a table on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ptm.cli.printing import add_row, echo, new_live, new_table

if TYPE_CHECKING:
    from ptm.experiment.batch import Outcome
    from ptm.experiment.batch_plan import Job


class Lines:
    """Off a terminal: a line when a run begins, and one when it has ended."""

    def __init__(self, total: int) -> None:
        self._total, self._ended = total, 0

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...

    def started(self, job: Job) -> None:
        echo(f"{job.name}: {job.command} into {os.path.relpath(job.output)}", err=True)

    def running(self, lines: Mapping[str, str]) -> None: ...

    def ended(self, outcome: Outcome) -> None:
        self._ended += 1
        echo(f"[{self._ended}/{self._total}] {ending(outcome)}", err=True)
        for line in details(outcome):
            echo(line, err=True)


class _Table(Lines):
    """On a terminal: the runs that are being run, with what each said last, below what has ended."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self._live = new_live()

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def started(self, job: Job) -> None: ...

    def running(self, lines: Mapping[str, str]) -> None:
        table = new_table()
        for column in ("running", "said last"):
            table.add_column(column, no_wrap=True)
        for name, line in lines.items():
            add_row(table, name, line)
        self._live.update(table if lines else "")


class _Failures(Lines):
    """``--quiet``: what went wrong, and nothing else."""

    def started(self, job: Job) -> None: ...

    def ended(self, outcome: Outcome) -> None:
        if outcome.exit_code:
            super().ended(outcome)
        else:
            self._ended += 1


class _All(Lines):
    """``--verbose``: also what each run says, a line of its own after its name."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self._last: dict[str, str] = {}

    def running(self, lines: Mapping[str, str]) -> None:
        for name, line in lines.items():
            if line and line != self._last.get(name):
                echo(f"{name}: {line}", err=True)
        self._last.update(lines)


def watcher(total: int, *, quiet: bool, verbose: bool) -> Lines:
    """What shows a batch of ``total`` runs. Raises ConfigError for options that contradict each other."""
    from ptm.errors import ConfigError

    if quiet and verbose:
        raise ConfigError("--quiet and --verbose contradict each other", cure="give one of them")
    if quiet:
        return _Failures(total)
    if verbose:
        return _All(total)
    return _Table(total) if sys.stderr.isatty() else Lines(total)


def ending(outcome: Outcome) -> str:
    """``quickstart/seed-1: done in 41.2 s, accuracy 0.9000``."""
    from ptm.config.evaluation import shown_metric
    from ptm.report.batch import metric_names

    metrics = outcome.metrics or {}
    values = [
        f"{shown_metric(name, outcome.positive_label)} {metrics[name]:.4f}"
        for name in metric_names([{"metrics": metrics}], most=1)
    ]
    code = f" (exit code {outcome.exit_code})" if outcome.exit_code else ""
    time = f" in {outcome.seconds:.1f} s" if outcome.seconds else ""
    return ", ".join([f"{outcome.job.name}: {outcome.status}{code}{time}", *values])


def details(outcome: Outcome) -> list[str]:
    """What went wrong, indented."""
    texts = [str(problem) for problem in outcome.problems]
    return [f"  {line}" for text in texts for line in text.splitlines()] + [
        f"  | {line}" for line in outcome.last_lines
    ]
