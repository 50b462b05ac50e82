"""Several processes on one machine: ``--nproc N`` is ``torchrun --nproc-per-node N -m ptm`` with exit codes kept.

No process outlives its launcher, and a run that loses a process ends with one message: that of its first process where
it knows what was wrong, else the launcher's.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from ptm.base.signals import StopFlag, stop_signals
from ptm.errors import ConfigError, OutOfMemory, PeerLost, Problem, PtmError

_LAUNCHER = "PTM_LAUNCHER"  # its process id, and the descriptor on which it is told of errors
_PEER_TIMEOUT = "PTM_PEER_TIMEOUT"
_DEFAULT_TIMEOUT_SECONDS = 600.0
_GRACE_SECONDS = 30.0  # for a process that was asked to stop
_FAILED_SECONDS = 10.0  # for the others when one has failed
_STOPPED = 75
_REPORT_BYTES = 32_000  # at most: half of what a pipe holds
_RESUME = "the same command with --resume goes on from what was saved"


def peer_timeout() -> float:
    """Seconds that a process waits for the others before it gives them up. Raises ConfigError."""
    text = os.environ.get(_PEER_TIMEOUT, str(_DEFAULT_TIMEOUT_SECONDS))
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise ConfigError(
        f"{text[:40]!r} is no time", where=_PEER_TIMEOUT, expected="a number of seconds above 0"
    )


# --- the launcher


class ProcessFailed(PtmError):
    """What another process than the first found wrong, with its exit code."""

    def __init__(self, problems: Sequence[Problem], exit_code: int) -> None:
        super().__init__(problems)
        self.exit_code = exit_code


@dataclass
class _Child:
    """A process of the run. ``code``: its exit code, or minus the number of the signal that ended it."""

    rank: int
    process: subprocess.Popen[bytes]
    reports: int  # the reading end of a pipe
    code: int | None = None
    ended_by: signal.Signals | None = None  # what the launcher sent, because another process had failed

    def running(self) -> bool:
        self.code = self.process.poll()
        return self.code is None

    def end(self, number: signal.Signals) -> None:
        self.ended_by = number
        self.process.send_signal(number)

    @property
    def killed(self) -> bool:
        """Whether somebody else's signal ended it."""
        return self.code is not None and self.code < 0 and -self.code != self.ended_by


def is_first_process() -> bool:
    """Whether this process is the only one, or the one of several that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


def launch(
    arguments: Sequence[str], processes: int, *, stdout: int | None = None, stdin: bytes | None = None
) -> int:
    """Run ``ptm ARGUMENTS`` in ``processes`` processes; returns the exit code of the run.

    ``stdout``: the descriptor that gets their standard output, if not ours; ``stdin``: what each of them reads, if not
    ours. Signals go on to all of them, so that
    they stop together and save. When one dies, the others are ended.

    Raises what the first process could not say: ProcessFailed with the error of another, PeerLost for a process that
    was killed or did not answer, OutOfMemory for one that the system killed to have its memory.
    """
    peer_timeout()  # so that a wrong one is told once
    children: list[_Child] = []
    stop = StopFlag()

    def forward(number: int, frame: FrameType | None) -> None:
        known = stop.requested
        again = stop.note(number)
        for child in children:
            if child.running() and (again or not known):
                child.process.send_signal(signal.SIGKILL if again else number)

    memory_kills = _memory_kills()
    with _handling(forward):
        try:
            for child in _started(arguments, processes, stdout, stdin):
                children.append(child)
            failed = _wait(children)
        finally:
            for child in children:
                child.process.kill()
                child.process.wait()
    main = children[0].code or 0
    if failed is None or (main > 0 and main != PeerLost.exit_code):
        return main  # the first process has said what there was to say
    if stop.requested and any(child.killed for child in children):
        number = signal.Signals[stop.name]
        raise ProcessFailed([Problem(f"stopped by {stop.name}", cure=_RESUME)], 128 + number)
    raise _cause(children, failed, memory_kills)


def _started(
    arguments: Sequence[str], processes: int, stdout: int | None, stdin: bytes | None
) -> Iterator[_Child]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {
        **os.environ,
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    # The processes are born with these signals blocked, and let them in when they can do more than die of them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
    try:
        for rank in range(processes):
            yield _start(rank, arguments, common, stdout, stdin)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(
    rank: int, arguments: Sequence[str], common: Mapping[str, str], stdout: int | None, stdin: bytes | None
) -> _Child:
    """Raises ConfigError where the system has no room for another process."""
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    try:
        with ExitStack() as stack:
            given = None if stdin is None else stack.enter_context(input_file(stdin))
            process, reports = start_process(arguments, {**common, **own}, stdin=given, stdout=stdout)
    except OSError as error:
        what = f"process {rank} cannot be started: {error.strerror}"
        raise ConfigError(what, where="--nproc", cure="use fewer processes") from None
    return _Child(rank, process, reports)


def input_file(content: bytes) -> IO[bytes]:
    """A file that is gone when it is closed, as the standard input of one process. Raises OSError."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the caller
    file.write(content)
    file.seek(0)
    return file


def start_process(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdin: int | IO[bytes] | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> tuple[subprocess.Popen[bytes], int]:
    """``ptm ARGUMENTS`` as a process that ends when this one does, and the reading end of a pipe for its report.

    Raises OSError.
    """
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        process = subprocess.Popen(
            # -P: Python files in the working directory are none of ours.
            [sys.executable, "-P", "-m", "ptm", *arguments],
            env={**environment, _LAUNCHER: f"{os.getpid()}:{writing}"},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=[writing],
            # A group of their own: Ctrl-C reaches them once, through us, not twice.
            start_new_session=True,
        )
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return process, reading


def read_report(descriptor: int) -> PtmError | None:
    """The error that a process reported, if any."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(os.read(descriptor, 2 * _REPORT_BYTES))
        return ProcessFailed([Problem(**problem) for problem in content["problems"]], content["exit_code"])
    return None


@contextmanager
def _handling(handler: signal._HANDLER) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in stop_signals()}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _wait(children: Sequence[_Child]) -> _Child | None:
    """Until all have ended, some perhaps by force. Returns the first that ended with an error."""
    failed: _Child | None = None
    terminate = kill = math.inf
    while running := [child for child in children if child.running()]:
        now = time.monotonic()
        if failed is None:
            failed = next((child for child in children if child.code), None)
            if failed is not None:
                # A process that stops for a signal stops with its peers; one that failed leaves them waiting.
                stopped = failed.code == _STOPPED
                kill = now + (_GRACE_SECONDS if stopped else _FAILED_SECONDS)
                terminate = kill if stopped else now + 1.0
        for child in running:
            if now > kill:
                child.end(signal.SIGKILL)
            elif now > terminate and child.ended_by is None:
                child.end(signal.SIGTERM)
        time.sleep(0.05)
    return failed or next((child for child in children if child.code), None)


def _cause(children: Sequence[_Child], failed: _Child, memory_kills: int) -> PtmError:
    """What ended a run of which the first process could say nothing."""
    reports = [report for child in children if (report := read_report(child.reports)) is not None]
    for report in reports:
        if report.exit_code != PeerLost.exit_code:
            return report
    for child in children:
        if child.killed:
            return _killed(child, len(children), memory_kills)
    for child in children:
        if child.ended_by == signal.SIGKILL:
            what = f"process {child.rank} of {len(children)} did not answer for {peer_timeout():g} s and was ended"
            return PeerLost(what, cure=_RESUME)
    if not reports and failed.code is not None:
        what = f"process {failed.rank} of {len(children)} ended with exit code {failed.code}"
        return ProcessFailed([Problem(what, cure="what it said stands above")], failed.code)
    return reports[0]


def _killed(child: _Child, count: int, memory_kills: int) -> PtmError:
    number = -(child.code or 0)
    with suppress(ValueError):
        name = signal.Signals(number).name
    who = f"process {child.rank} of {count}"
    if number == signal.SIGKILL and _memory_kills() > memory_kills:
        cure = f"set a smaller train.micro_batch_size, or runtime.workers: 0; {_RESUME}"
        return OutOfMemory(f"{who} was killed by the system, whose memory was used up", cure=cure)
    what = f"{who} was killed by {name}"
    problem = Problem(
        what, expected="a process that outlives the run; memory may have run short", cure=_RESUME
    )
    return PeerLost(problem) if number == signal.SIGKILL else ProcessFailed([problem], 128 + number)


def _memory_kills() -> int:
    """How many processes this machine has killed for want of memory; 0 where it does not say."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/vmstat").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("oom_kill ")).split()[1])
    return 0


# --- a process that was launched


@dataclass(frozen=True)
class Launcher:
    """What a launched process knows of its launcher."""

    reports: int

    def report(self, error: PtmError) -> None:
        """Leave an error to the launcher, which speaks for the run if the first process does not."""
        problems = [asdict(problem) for problem in error.problems]
        while len(content := _report(error.exit_code, problems)) > _REPORT_BYTES and len(problems) > 1:
            problems = problems[: len(problems) // 2]
        with suppress(OSError):
            os.write(self.reports, content)


def _report(exit_code: int, problems: Sequence[dict[str, str]]) -> bytes:
    return json.dumps({"exit_code": exit_code, "problems": problems}).encode()


def follow_launcher() -> Launcher | None:
    """In a launched process: end when the launcher does, however it ends. None in any other."""
    variable = os.environ.pop(_LAUNCHER, None)
    if variable is None:
        return None
    parent, _, reports = variable.partition(":")
    try:
        os.set_inheritable(int(reports), False)
        end_with(int(parent))
    except (ValueError, OverflowError, OSError):  # somebody else's variable
        return None
    return Launcher(int(reports))


def guarded(code: str) -> list[str]:
    """The command of a Python that runs ``code`` and ends when this process does, however it ends."""
    guard = f"from ptm.base.launch import end_with; end_with({os.getpid()})"
    return [sys.executable, "-P", "-c", f"{guard}\n{code}"]


def end_with(parent: int) -> None:
    """End this process when ``parent``, which started it, has ended."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(launcher: int) -> None:
    """As if somebody had asked this process to stop: it saves, if it can do so in time."""
    while os.getppid() == launcher:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(128 + signal.SIGKILL)
