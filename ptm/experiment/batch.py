"""``ptm batch``: every run in a process of its own, finished ones not again, broken ones resumed; and what came of it.

Nothing about a batch is written down: what is finished, broken or missing is read off the run directories, so a batch
that was killed is the same command again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import ptm
from ptm.base.launch import input_file, read_report, start_process
from ptm.base.signals import StopFlag, stop_on_signals
from ptm.base.standard_input import STANDARD_INPUT, standard_input
from ptm.config.load import dump_config
from ptm.errors import ExpectationMissed, Interrupted, Problem, RunDirectoryError
from ptm.experiment.batch_plan import BatchPlan, Fault, Job
from ptm.experiment.consistent import contradiction
from ptm.experiment.verdict import spread
from ptm.run.directory import RunDirectory
from ptm.run.ownership import is_run
from ptm.run.saved_config import config_changes

Status = Literal["done", "finished", "missed", "failed", "stopped", "not run"]

SCHEMA = 1
_GOOD = ("done", "finished", "missed")  # another run may start from these
_STOPPED = (Interrupted.exit_code, 130, 143, 129)
_POLL_SECONDS = 0.1
_LAST_LINES = 15  # of what a run that failed said
_LONGEST_LINE = 4000  # bytes

# The worse of two exit codes is the one that stands first: a bug, a lost process, memory, no number, data, config, a
# download, a stop, and last a run that is done and misses a bound.
SEVERITY = (1, 137, 5, 7, 3, 2, 6, 75, 130, 143, 129, 4, 0)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a job. ``metrics``: on what the run is judged by; ``eval_metrics``: on the evaluation split, which a
    search chooses by; ``last_lines``: what a run said last that failed without a message of its own."""

    job: Job
    status: Status
    exit_code: int
    seconds: float = 0.0
    metrics: Mapping[str, float] | None = None
    eval_metrics: Mapping[str, float] | None = None
    positive_label: str | None = None  # that an F1 is of
    problems: tuple[Problem, ...] = ()
    last_lines: tuple[str, ...] = ()


class Watcher(Protocol):
    """Is told what happens, as it happens."""

    def started(self, job: Job) -> None: ...

    def running(self, lines: Mapping[str, str]) -> None:
        """``lines``: name of a job → what it said last."""
        ...

    def ended(self, outcome: Outcome) -> None: ...


def run_batch(
    plan: BatchPlan,
    watcher: Watcher,
    *,
    at_once: int = 1,
    overwrite: bool = False,
    keep_going: bool = True,
    options: Sequence[str] = (),
) -> tuple[Outcome, ...]:
    """Run what is to be run, ``at_once`` processes side by side, and return what came of each job in the plan's order.

    ``overwrite``: also what is there. Without ``keep_going`` nothing more is started once a run has failed. ``options``
    go to every run. A signal to stop is passed on: runs save and end, and the rest is not run.
    """
    # With --locked the run itself holds its record against the lock file.
    again = overwrite or "--locked" in options
    outcomes: dict[Path, Outcome] = {}
    waiting = list(plan.jobs)
    running: list[_Process] = []
    with stop_on_signals() as stop:
        try:
            while waiting or running:
                _pass_on(stop, running)
                for process in [p for p in running if p.process.poll() is not None]:
                    running.remove(process)
                    outcomes[process.job.output] = ended = process.outcome()
                    watcher.ended(ended)
                halted = stop.requested or (not keep_going and _failed(plan, outcomes))
                for job in list(waiting):
                    outcome = _not_run(job, outcomes, stop, halted=halted)
                    if outcome is None:
                        if len(running) >= at_once or not all(need in outcomes for need in job.needs):
                            continue
                        # Once a job, not at every turn: it reads and hashes the whole model.
                        outcome = None if again else finished_before(job)
                    waiting.remove(job)
                    if outcome is None:
                        watcher.started(job)
                        running.append(_Process.start(job, overwrite=overwrite, options=options))
                    else:
                        outcomes[job.output] = outcome
                        watcher.ended(outcome)
                watcher.running({p.job.name: p.last_line() for p in running})
                if running:
                    time.sleep(_POLL_SECONDS)
        finally:
            for process in running:
                process.process.terminate()
    return tuple(outcomes[job.output] for job in plan.jobs)


def worst_code(codes: Sequence[int]) -> int:
    """The exit code of a batch: the worst of its runs'. A batch of which a run was ended by a signal is one that was
    stopped; 130 would say that nothing came of it."""
    worst = min(codes, key=lambda code: SEVERITY.index(code) if code in SEVERITY else 0, default=0)
    return Interrupted.exit_code if worst in _STOPPED else worst


def _failed(plan: BatchPlan, outcomes: Mapping[Path, Outcome]) -> bool:
    return bool(plan.faults) or any(outcome.exit_code for outcome in outcomes.values())


def _not_run(job: Job, outcomes: Mapping[Path, Outcome], stop: StopFlag, *, halted: bool) -> Outcome | None:
    """The outcome of a job that shall not begin; None for one that may."""
    broken = next(
        (outcomes[need] for need in job.needs if need in outcomes and outcomes[need].status not in _GOOD),
        None,
    )
    if broken is not None:
        problem = Problem(f"not run: it starts from {broken.job.name}, which is not there ({broken.status})")
        return Outcome(job=job, status="not run", exit_code=broken.exit_code, problems=(problem,))
    if halted:
        why = f"stopped by {stop.name}" if stop.requested else "another run failed before"
        code = Interrupted.exit_code if stop.requested else 0
        return Outcome(job=job, status="not run", exit_code=code, problems=(Problem(f"not run: {why}"),))
    return None


def finished_before(job: Job) -> Outcome | None:
    """The outcome of a job whose run is finished, and is this very one; None where there is something to do.

    A finished run of another version of ptm is a failure: it is neither this one nor to be thrown away unasked.
    """
    run = RunDirectory(job.output)
    if job.controlled or not is_run(job.output) or not run.finished():
        return None
    manifest, results = run.read_manifest(), run.read_results()
    if (
        manifest is None
        or results is None
        or config_changes(run.config, dump_config(job.spec))
        or run.damage()
        or contradiction(job.spec, results)
    ):
        return None  # the run itself says what is to be done
    if manifest.ptm != ptm.__version__:
        error = RunDirectoryError(
            f"holds a finished run of ptm {manifest.ptm}, this is {ptm.__version__}",
            where=job.output,
            cure="run it again with --overwrite, or keep it and choose another --output",
        )
        return Outcome(job=job, status="failed", exit_code=error.exit_code, problems=error.problems)
    missed = [bound for bound in results.expect if not bound.met]
    return Outcome(
        job=job,
        status="missed" if missed else "finished",
        exit_code=ExpectationMissed.exit_code if missed else 0,
        metrics=results.judged,
        eval_metrics=results.metrics,
        positive_label=results.positive_label,
        problems=tuple(_missed(asdict(bound)) for bound in missed),
    )


def _pass_on(stop: StopFlag, running: Sequence[_Process]) -> None:
    for process in running:
        if stop.requested and not process.notified:
            process.notified = True
            process.process.send_signal(signal.Signals[stop.name])


@dataclass
class _Process:
    """A run that is being run."""

    job: Job
    process: subprocess.Popen[bytes]
    reports: int  # the reading end of a pipe
    results: IO[bytes]
    messages: IO[bytes]
    begun: float
    notified: bool = False  # of the signal to stop

    @staticmethod
    def start(job: Job, *, overwrite: bool, options: Sequence[str]) -> _Process:
        mode = ["--overwrite"] if overwrite else ["--resume"] if _is_there(job) else []
        changes = [part for change in job.changes for part in ("--set", change)]
        arguments = [job.command, _argument(job.config), *changes, *mode, "--json", *options]
        results, messages = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - closed when it has ended
        with contextlib.ExitStack() as stack:
            piped = str(job.config) == STANDARD_INPUT
            given = stack.enter_context(input_file(standard_input())) if piped else subprocess.DEVNULL
            process, reports = start_process(
                arguments, os.environ, stdin=given, stdout=results, stderr=messages
            )
        return _Process(job, process, reports, results, messages, time.monotonic())

    def last_line(self) -> str:
        lines = self.lines(1)
        return lines[-1] if lines else ""

    def lines(self, count: int) -> tuple[str, ...]:
        """The last lines that it said."""
        descriptor = self.messages.fileno()
        size = os.fstat(descriptor).st_size
        begin = max(0, size - count * _LONGEST_LINE)
        text = os.pread(descriptor, size - begin, begin).decode(errors="replace")
        return tuple(line for line in text.splitlines() if line.strip())[-count:]

    def outcome(self) -> Outcome:
        """Once it has ended."""
        code = self.process.returncode
        code = 128 - code if code < 0 else code
        self.results.seek(0)
        content: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            content = json.loads(self.results.read())
        content = content if isinstance(content, dict) else {}
        problems = [Problem(**problem) for problem in content.get("error", {}).get("problems", ())]
        report = read_report(self.reports)
        problems += report.problems if report is not None else ()
        problems += [_missed(bound) for bound in _bounds(content) if not bound["met"]]
        known = bool(problems) or code in (0, *_STOPPED)
        lines = () if known else self.lines(_LAST_LINES)
        os.close(self.reports)
        self.results.close()
        self.messages.close()
        return Outcome(
            job=self.job,
            status=_status(code),
            exit_code=code,
            seconds=time.monotonic() - self.begun,
            metrics=_metrics(content),
            eval_metrics=content.get("metrics"),
            positive_label=content.get("positive_label"),
            problems=tuple(problems),
            last_lines=lines,
        )


def _argument(path: Path) -> str:
    """A file as no option reads: ``./-x.yaml``; ``-`` is the standard input."""
    text = str(path)
    return f"./{text}" if text.startswith("-") and text != STANDARD_INPUT else text


def _is_there(job: Job) -> bool:
    """Whether the directory holds this run, or arms of it, begun."""
    if job.controlled:
        return job.output.is_dir() and any(job.output.iterdir())
    return is_run(job.output)


def _status(code: int) -> Status:
    if code == 0:
        return "done"
    if code == ExpectationMissed.exit_code:
        return "missed"
    return "stopped" if code in _STOPPED else "failed"


def _bounds(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    runs = content.get("runs", {}).values() if "runs" in content else [content]
    return [bound for run in runs for bound in run.get("expect", ())]


def _metrics(content: Mapping[str, Any]) -> dict[str, float] | None:
    """Of a run, on what it is judged by; of a distillation with its control, the gain that the verdict is about."""
    if "metrics" in content:
        return dict((content.get("test") or content)["metrics"])
    return {"gain": content["gain"], "p": content["p"]} if "gain" in content else None


def _missed(bound: Mapping[str, Any]) -> Problem:
    value = bound["value"]
    number = "no number" if value is None else f"{value:.6g}"
    return Problem(f"{bound['metric']} is {number}", expected=f"{bound['metric']} {bound['bound']}")


def fault_outcomes(faults: Sequence[Fault]) -> list[dict[str, Any]]:
    """Faulty configs as rows of the record."""
    return [
        {
            "name": fault.config.stem,
            "config": str(fault.config),
            "status": "failed",
            "exit_code": fault.exit_code,
            "problems": [asdict(problem) for problem in fault.problems],
        }
        for fault in faults
    ]


def record(plan: BatchPlan, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The batch as JSON: a row a run, a row a group of seeds, and the exit code."""
    rows = [_row(outcome) for outcome in outcomes]
    faults = fault_outcomes(plan.faults)
    codes = [row["exit_code"] for row in (*faults, *rows)]
    return {
        "schema": SCHEMA,
        "exit_code": worst_code(codes),
        "runs": [*faults, *rows],
        "groups": groups(outcomes),
    }


def _row(outcome: Outcome) -> dict[str, Any]:
    job = outcome.job
    return {
        "name": job.name,
        "config": str(job.config),
        "output": str(job.output),
        "identity": job.identity,
        "seed": job.spec.train.seed,
        "grid": dict(job.grid),
        "status": outcome.status,
        "exit_code": outcome.exit_code,
        "seconds": round(outcome.seconds, 3),
        "metrics": None if outcome.metrics is None else dict(outcome.metrics),
        "positive_label": outcome.positive_label,
        "problems": [asdict(problem) for problem in outcome.problems],
    }


def groups(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Mean, standard deviation and 95 % interval (Student's t) of each metric over the seeds of a grid point.

    Runs that gave no metrics are missing in them, and ``runs`` of ``of`` says so.
    """
    together: dict[tuple[Path, tuple[tuple[str, str], ...]], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.job.seed is not None:
            together.setdefault((outcome.job.config, tuple(outcome.job.grid.items())), []).append(outcome)
    rows = []
    for (config, point), members in together.items():
        measured = [m.metrics for m in members if m.metrics is not None]
        names = [name for name in (measured[0] if measured else ()) if all(name in m for m in measured)]
        rows.append(
            {
                "config": str(config),
                "grid": dict(point),
                "runs": len(measured),
                "of": len(members),
                "metrics": {name: spread([m[name] for m in measured]) for name in names},
            }
        )
    return rows
