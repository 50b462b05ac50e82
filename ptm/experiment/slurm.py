"""``ptm batch --on slurm``: the runs of a batch as arrays of jobs of a cluster, through submitit.

A job is ``ptm … --resume``. Before its time is over, or when it is preempted, the cluster sends a signal: the run saves
and ends with exit code 75, and the job is queued again, where it goes on.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptm.base import files
from ptm.base.extras import require_package
from ptm.base.printable import printable
from ptm.base.regular import NotRegular, kind_of
from ptm.base.standard_input import STANDARD_INPUT
from ptm.errors import ConfigError, Interrupted
from ptm.experiment.batch import finished_before
from ptm.experiment.batch_plan import BatchPlan, Job
from ptm.run.opening import refuse_inside_run

SCHEMA = 1
FOLDER = "slurm"  # of scripts, logs and pickled commands
_POLL_SECONDS = 0.2
_NOT_TAKEN = {"command", "folder", "map_count", "dependency", "additional_parameters"}
# Python files that lie in the working directory are no part of a job.
_SETUP = ("export PYTHONSAFEPATH=1",)


class RunOnNode:
    """What a job of the cluster does; submitit pickles it, calls it, and calls ``checkpoint`` before it is ended."""

    def __init__(self, arguments: Sequence[str], directory: str) -> None:
        self.arguments = list(arguments)
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        command = [sys.executable, "-P", "-m", "ptm", *self.arguments]
        self._process = subprocess.Popen(command, cwd=self.directory)
        code = self._wait()
        if (
            code == Interrupted.exit_code
        ):  # the cluster's signal went to the run itself: to be queued again all the same
            signal.raise_signal(signal.SIGUSR2)
        return code

    def checkpoint(self) -> Any:
        """Called in a signal handler: let the run save, and say what is to be queued again."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            self._wait()
        return DelayedSubmission(RunOnNode(self.arguments, self.directory))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": None}

    def _wait(self) -> int:
        """By polling: a signal handler that waits as well would wait for the lock of the one that it interrupted."""
        assert self._process is not None
        while (code := self._process.poll()) is None:
            time.sleep(_POLL_SECONDS)
        return code


def parse_parameters(texts: Sequence[str]) -> dict[str, Any]:
    """``["partition=gpu", "time=60"]`` as submitit takes them. Raises ConfigError for what it does not know."""
    require_package("submitit", "slurm")
    from submitit.slurm import slurm

    known = sorted(slurm.SlurmExecutor._valid_parameters() - _NOT_TAKEN)
    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not value or key not in known or not _in_one_line(value):
            raise ConfigError(
                f"{text!r} is no parameter of a job",
                where="--slurm",
                expected=f"KEY=VALUE with one of {', '.join(known)}",
            )
        if key in ("setup", "teardown"):
            values[key] = [value]
        elif key == "srun_args":
            values[key] = shlex.split(value)
        else:
            values[key] = int(value) if value.isdecimal() else value
    return values


def _in_one_line(text: str) -> bool:
    """Whether a script can name it: a line end would begin a command, whatever quotes are around it."""
    return printable(text) == text and text.isprintable()


def _require_folder(folder: Path) -> None:
    """Raise ConfigError for a folder that no script can name, RunDirectoryError for one in a run, StorageError for one
    that is a link: scripts and pickles would be written through it."""
    if not _in_one_line(str(folder)):
        raise ConfigError(
            "a script of a job cannot name this folder",
            where=repr(str(folder)),
            expected="characters that can be seen",
            cure="choose another --output, or start ptm in another directory",
        )
    refuse_inside_run(folder)
    with files.storage_errors(folder):
        if (kind := kind_of(folder)) not in (None, "a directory"):
            raise NotRegular(str(kind), expected="a directory")


def submit(
    plan: BatchPlan,
    folder: Path,
    parameters: Mapping[str, Any],
    *,
    options: Sequence[str] = (),
    overwrite: bool = False,
    dry: bool = False,
) -> dict[str, Any]:
    """Queue what is not finished, and return at once: an array of those that need no other run, then of those that need
    these, …. ``dry``: only the scripts. Raises ConfigError without a cluster."""
    if any(str(job.config) == STANDARD_INPUT for job in plan.jobs):
        raise ConfigError("a job of a cluster reads its config later", where="-", cure="write it into a file")
    _require_folder(folder)
    again = overwrite or "--locked" in options
    finished = [] if again else [job for job in plan.jobs if finished_before(job) is not None]
    waiting = [job for job in plan.jobs if job not in finished]
    rows, scripts, before = [], [], ""
    for level in _levels(waiting):
        setup = [*_SETUP, *parameters.get("setup", ())]
        own = {"job_name": "ptm", "time": 60, **parameters, "setup": setup} | (
            {"dependency": before} if before else {}
        )
        scripts.append(_script(folder, own, len(level)))
        if dry:
            rows += [{"name": job.name, "output": str(job.output), "job": None} for job in level]
            before = "afterok:ARRAY-BEFORE"
            continue
        commands = [
            RunOnNode(_arguments(job, options, overwrite=overwrite), str(Path.cwd())) for job in level
        ]
        ids = _queue(folder, own, commands)
        rows += [
            {"name": job.name, "output": str(job.output), "job": number}
            for job, number in zip(level, ids, strict=True)
        ]
        before = f"afterok:{ids[0].partition('_')[0]}"
    return {
        "schema": SCHEMA,
        "folder": str(folder),
        "submitted": rows,
        "finished": [job.name for job in finished],
        "scripts": scripts,
    }


def _levels(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Jobs that need none of the others, then those that need these, …."""
    remaining = list(jobs)
    while remaining:
        places = {job.output for job in remaining}
        level = [job for job in remaining if not places & set(job.needs)]
        yield level
        remaining = [job for job in remaining if job not in level]


def _arguments(job: Job, options: Sequence[str], *, overwrite: bool) -> list[str]:
    changes = [part for change in job.changes for part in ("--set", change)]
    mode = "--overwrite" if overwrite else "--resume"
    return [job.command, str(job.config.absolute()), *changes, mode, *options]


def _queue(folder: Path, parameters: Mapping[str, Any], commands: Sequence[RunOnNode]) -> list[str]:
    import submitit

    try:
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=100)
        executor.update_parameters(**parameters)
        # What sbatch says is in the error as well; it may hold escapes.
        with contextlib.redirect_stderr(io.StringIO()), executor.batch():
            jobs = [executor.submit(command) for command in commands]
    except RuntimeError as error:  # also what sbatch refused
        raise ConfigError(
            f"nothing was queued: {' '.join(str(error).split())}",
            where="--on slurm",
            expected="a machine from which sbatch and srun reach a cluster, and parameters that it takes",
            cure="--dry-run prints the scripts",
        ) from None
    return [str(job.job_id) for job in jobs]


def _script(folder: Path, parameters: Mapping[str, Any], count: int) -> str:
    """The job script, as submitit writes it for an array."""
    from submitit.slurm import slurm

    command = f"{shlex.quote(sys.executable)} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    text: str = slurm._make_sbatch_string(
        command=command, folder=folder, map_count=count if count > 1 else None, **parameters
    )
    return text
