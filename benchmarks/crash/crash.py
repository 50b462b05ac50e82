"""Kill and hang up runs at random moments and in the middle of writes, resume them, and compare every bit.

    python benchmarks/crash/crash.py --kills 300 --seed 1        (or: make crash N=300)

One process imports everything and forks a child a run, so that a kill costs two seconds, not ten. Most children die
of SIGKILL, after a random time or at a chosen write operation (tests/faults.py numbers them): before it, after it, or
with half of the bytes written. Some are hung up (SIGHUP), and must save and end with 75. Of runs in two processes,
some are started as a user starts them, and their launcher is killed or hung up: it must leave no orphan. A run is then
resumed, perhaps stopped again, and at last left to finish. Weights, optimizer state, progress, history, metrics and
predictions must equal those of a run that nobody touched. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import mmap
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import faults
from helpers import history, image_spec, last_state, run, text_spec
from ptm.base import files
from ptm.config.load import dump_config
from ptm.config.spec import DistillSpec, RunSpec, TeacherSpec
from ptm.errors import Interrupted
from ptm.run.checkpoint import CheckpointStore
from tiny.samples import save_tiny_bert, sentences, write_csv

_LIVES = 3  # kills of one run before it is left to finish
_HANGS_AFTER_SECONDS = 240.0
_LAUNCH_SECONDS = 10.0  # in which real processes import everything, and begin
_ORPHAN_SECONDS = 60.0  # after which they must be gone when their launcher is
_STOPPED = 75

# All that a run imports on the way: none of it may compute with tensors, for children inherit no threads.
_IMPORTS = (
    "ptm.distill.teacher",
    "ptm.report.page",
    "ptm.distill.assembly",
    "ptm.text.classification",
    "ptm.vision.classification",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert",
    "sklearn.datasets",
    "sklearn.metrics",
    "matplotlib.figure",
    "matplotlib.backends.backend_svg",
    "torch._dynamo",
    "torchvision.models",
)


@dataclass(frozen=True)
class Case:
    """A run to kill: its spec, in how many processes."""

    spec: Callable[[Path, Path], RunSpec]
    processes: int = 1


@dataclass(frozen=True)
class Kill:
    """Of process ``rank``: ``seconds`` after the start, or ``at`` a write operation, in one of three ways.

    A hang-up (``number``) comes to all processes. ``launcher``: to the launcher of real processes.
    """

    seconds: float | None = None
    at: int | None = None
    how: faults.How = "before"
    rank: int = 0
    number: signal.Signals = signal.SIGKILL
    launcher: bool = False

    @property
    def name(self) -> str:
        if self.launcher:
            return f"the launcher, {self.number.name}"
        if self.number != signal.SIGKILL:
            return "a hang-up"
        return "after a time" if self.at is None else f"{self.how} an operation"


@dataclass(frozen=True)
class Reference:
    """What a case ends with when nobody touches it, how long it takes, how many write operations it has."""

    outcome: dict[str, Any]
    seconds: float
    operations: int


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--cases", default=";".join(CASES), help="which of the cases, separated by semicolons"
    )
    options = parser.parse_args()
    for name in _IMPORTS:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(Path(folder), options.kills, options.seed, options.cases.split(";"))
    print(json.dumps(found))
    sys.exit(1 if found["differences"] or found["in_a_write"] < 0.3 * found["kills"] else 0)


def campaign(folder: Path, kills: int, seed: int, names: Sequence[str]) -> dict[str, Any]:
    """Kill until ``kills`` runs have died by SIGKILL. Returns counts; differences are described."""
    draw = random.Random(seed)
    prepare(folder)
    references = {name: reference(folder, name) for name in names}
    by_case: Counter[str] = Counter()
    by_way: Counter[str] = Counter()
    in_write, trial, differences = 0, 0, []
    begun = time.monotonic()
    while by_case.total() < kills:
        name = names[trial % len(names)]
        case, expected = CASES[name], references[name]
        place = folder / f"trial-{trial}"
        place.mkdir()
        trial += 1
        kills_of_run: list[Kill] = []
        problems: list[str] = []
        for _ in range(_LIVES):
            kill = random_kill(draw, expected, case.processes)
            try:
                died, inside = (launched if kill.launcher else fork)(case, folder, place, kill)
            except ChildFailed as error:
                problems.append(f"{kill}: {error}")
                break
            if not died:
                break  # it was faster
            kills_of_run.append(kill)
            by_case[name] += 1
            by_way[kill.name] += 1
            in_write += inside
            if by_case.total() >= kills:
                break
        problems.append(finish(case, folder, place, expected))
        if any(problems):
            told = "; ".join(problem for problem in problems if problem)
            differences.append(f"trial {trial} ({name}), {kills_of_run}: {told}")
            print(differences[-1], file=sys.stderr, flush=True)
        shutil.rmtree(place, ignore_errors=True)
        if trial % 20 == 0:
            print(f"{by_case.total()} kills, {len(differences)} differences", file=sys.stderr, flush=True)
    return {
        "kills": by_case.total(),
        "in_a_write": in_write,
        "trials": trial,
        "by_case": dict(by_case),
        "by_way": dict(by_way),
        "write_operations": {name: reference.operations for name, reference in references.items()},
        "seconds_a_kill": round((time.monotonic() - begun) / max(1, kills), 2),
        "differences": differences,
    }


def finish(case: Case, folder: Path, place: Path, expected: Reference) -> str:
    """Let the run end. What is wrong with how it ended; "" when nothing is."""
    try:
        fork(case, folder, place, Kill())
        got = outcome(place / "run")
    except (ChildFailed, OSError, ValueError) as error:
        return f"cannot be resumed: {error}"
    parts = [key for key in {*expected.outcome, *got} if expected.outcome.get(key) != got.get(key)]
    debris = [p.name for p in (place / "run").rglob(".*") if p.name not in (".lock", ".ptm-run")]
    return "; ".join([*(f"{part} differs" for part in parts), *(f"debris: {name}" for name in debris)])


def prepare(folder: Path) -> None:
    """Data, a tiny BERT, and a teacher of each kind."""
    (folder / "bert").mkdir()
    (folder / "data").mkdir()
    for name, count, number in (("train", 64, 1), ("eval", 32, 2)):
        write_csv(folder / "data" / f"{name}.csv", sentences(count, number))
    _in_child(lambda: save_tiny_bert(folder / "bert"))
    for spec in (text(folder, folder / "text-teacher"), image(folder, folder / "image-teacher")):
        _in_child(functools.partial(run, spec))


def reference(folder: Path, name: str) -> Reference:
    place = folder / f"reference-{name.replace(' ', '-')}"
    place.mkdir()
    begun = time.monotonic()
    fork(CASES[name], folder, place, Kill(), count=True)
    seconds = time.monotonic() - begun
    return Reference(outcome(place / "run"), seconds, int((place / "operations").read_text()))


def random_kill(draw: random.Random, expected: Reference, processes: int) -> Kill:
    kind = draw.random()
    if kind < 0.1:
        return Kill(seconds=draw.uniform(0.02, expected.seconds), number=signal.SIGHUP)
    if processes > 1 and kind < 0.25:
        seconds = draw.uniform(0.5, _LAUNCH_SECONDS + expected.seconds)
        number = draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGHUP))
        return Kill(seconds=seconds, number=number, launcher=True)
    if draw.random() < 0.5:
        how = draw.choice(get_args(faults.How))
        return Kill(at=draw.randrange(expected.operations) + 1, how=how)
    return Kill(seconds=draw.uniform(0.02, expected.seconds), rank=draw.randrange(processes))


# --- processes


class ChildFailed(Exception):
    """A child ended by itself, with an error."""


def fork(case: Case, folder: Path, place: Path, kill: Kill, *, count: bool = False) -> tuple[bool, bool]:
    """Run or resume in children: (whether ``kill`` came in time, whether inside a write). Raises ChildFailed."""
    inside = mmap.mmap(-1, 1)  # shared with the child: 1 while it writes
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def live(rank: int) -> None:
        os.environ["PTM_CACHE"] = str(place / "cache")
        if case.processes > 1:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(case.processes)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        if rank == 0:
            _mark_writes(inside)
        operations = faults.Operations(
            place, faults.killing(kill.at if rank == kill.rank else None, kill.how)
        )
        run(case.spec(folder, place / "run"), "resume")
        if count and rank == 0:
            total = operations.count
            (place / "operations").write_text(str(total))

    children = [_start(functools.partial(live, rank)) for rank in range(case.processes)]
    deadline = time.monotonic() + (_HANGS_AFTER_SECONDS if kill.seconds is None else kill.seconds)
    statuses: dict[int, int] = {}
    asked = hung = False
    while len(statuses) < len(children):
        for child in [c for c in children if c not in statuses]:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                statuses[child] = status
        killed = any(os.WIFSIGNALED(status) for status in statuses.values())
        victim = children[kill.rank]
        late = time.monotonic() > deadline and victim not in statuses
        if late and kill.number != signal.SIGKILL and not asked:
            for child in children:
                if child not in statuses:
                    os.kill(child, kill.number)
            asked, late, deadline = True, False, time.monotonic() + _HANGS_AFTER_SECONDS
        hung = hung or (late and asked)
        if killed or late:
            for child in (victim, *children):  # the others too, as a launcher ends them
                if child not in statuses:
                    os.kill(child, signal.SIGKILL)
                    statuses[child] = os.waitpid(child, 0)[1]
        time.sleep(0.002)
    codes = [os.waitstatus_to_exitcode(status) for status in statuses.values()]
    if kill.number != signal.SIGKILL:
        # Before a process catches it, a hang-up ends it, and leaves its peers without it.
        if hung or not {*codes} <= {0, _STOPPED, -signal.SIGHUP, -signal.SIGKILL}:
            raise ChildFailed(f"hung up, it ended with {codes}")
        return any(codes), False
    if any(os.WIFSIGNALED(status) for status in statuses.values()):
        died = statuses[children[kill.rank]]
        if kill.seconds is None and kill.at is None:
            raise ChildFailed("hung, or was killed by something else")
        if not (os.WIFSIGNALED(died) and os.WTERMSIG(died) == signal.SIGKILL):
            raise ChildFailed(f"ended with {died}, not by SIGKILL")
        return True, kill.at is not None or inside[0] > 0
    if any(statuses.values()):
        raise ChildFailed(f"exit codes {[os.WEXITSTATUS(status) for status in statuses.values()]}")
    return False, False


def launched(case: Case, folder: Path, place: Path, kill: Kill) -> tuple[bool, bool]:
    """As :func:`fork`, with real processes: ``ptm … --nproc N --resume``, whose launcher gets the signal.

    Raises ChildFailed for processes that outlive it.
    """
    assert kill.seconds is not None
    spec = case.spec(folder, place / "run")
    config = place / "run.yaml"
    config.write_text(dump_config(spec), encoding="utf-8")
    command = "distill" if spec.teacher else "finetune"
    words = [sys.executable, "-m", "ptm", command, str(config), "--nproc", str(case.processes), "--resume"]
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PTM_CACHE": str(place / "cache"), "PYTHONPATH": root}
    with (place / "output").open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, env=environment)
        try:
            code = process.wait(kill.seconds)
        except subprocess.TimeoutExpired:
            ranks = _children_of(process.pid)
            process.send_signal(kill.number)
            code = process.wait(_HANGS_AFTER_SECONDS)
            deadline = time.monotonic() + _ORPHAN_SECONDS
            while any(_alive(rank) for rank in ranks):
                if time.monotonic() > deadline:
                    for rank in ranks:
                        os.kill(rank, signal.SIGKILL)
                    raise ChildFailed("a process outlived its launcher") from None
                time.sleep(0.05)
    if code == 0:
        return False, False
    said = (place / "output").read_text(errors="replace")
    if code not in (_STOPPED, -kill.number, 128 + kill.number) or "Traceback" in said:
        raise ChildFailed(f"the launcher ended with {code}: {said[-500:]}")
    return True, False


def _children_of(parent: int) -> list[int]:
    return [pid for pid, fields in _processes() if int(fields[1]) == parent]


def _alive(pid: int) -> bool:
    return any(pid == other and fields[0] != "Z" for other, fields in _processes())


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Number and the fields of /proc/PID/stat after the name: state, parent, …"""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            yield int(path.parent.name), path.read_text().rpartition(")")[2].split()


def _start(job: Callable[[], object]) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setsid()
            job()
            code = 0
        except Interrupted:
            code = _STOPPED
        except BaseException as error:  # a child must never come back into our loop
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(code)
    return child


def _in_child(job: Callable[[], object]) -> None:
    if os.waitpid(_start(job), 0)[1] != 0:
        raise SystemExit("the run to compare with does not even end when left alone")


def _mark_writes(inside: mmap.mmap) -> None:
    """Keep ``inside`` above 0 while a checkpoint, model/ or another file is being written, or an old one removed."""

    @contextmanager
    def marked():
        inside[0] += 1
        try:
            yield
        finally:
            inside[0] -= 1

    directory, file, save = files.new_directory, files.write_file, CheckpointStore.save

    @contextmanager
    def new_directory(target):
        with marked(), directory(target) as aside:
            yield aside

    files.new_directory = new_directory
    files.write_file = _within(marked, file)
    CheckpointStore.save = _within(marked, save)  # type: ignore[method-assign]


def _within(context: Callable, call: Callable) -> Callable:
    @functools.wraps(call)
    def wrapped(*words: Any, **more: Any) -> Any:
        with context():
            return call(*words, **more)

    return wrapped


def outcome(target: Path) -> dict[str, Any]:
    """All that a run must end with, whatever happened to it."""
    results = json.loads((target / "results.json").read_bytes())
    return {
        "model": (target / "model" / "model.safetensors").read_bytes(),
        "history": history(target),
        "predictions": (target / "predictions.jsonl").read_bytes(),
        "metrics": results["metrics"],
        "best": results["best"],
        "README": (target / "README.md").is_file() and (target / "report.html").is_file(),
        **{f"checkpoint/{name}": content for name, content in last_state(target).items()},
    }


# --- cases


def text(folder: Path, target: Path, **changes: Any) -> RunSpec:
    return text_spec(folder / "bert", folder / "data", target, save_every_steps=3, **changes)


def image(folder: Path, target: Path, **changes: Any) -> RunSpec:
    return image_spec(target, save_every_steps=3, **changes)


def _case(
    make: Callable[..., RunSpec], *, processes: int = 1, taught: str | None = None, **changes: Any
) -> Case:
    def spec(folder: Path, target: Path) -> RunSpec:
        more: dict[str, Any] = {}
        if taught:
            more["teacher"] = TeacherSpec(name=str(folder / f"{taught}-teacher"))
            more["distill"] = DistillSpec(audit="off")
        return make(folder, target, **changes, **more)

    return Case(spec, processes)


CASES: dict[str, Case] = {
    "text": _case(text),
    "text, accumulation 4": _case(text, micro_batch_size=2),
    "image": _case(image),
    "image, accumulation 4, 2 workers": _case(image, micro_batch_size=4, augment="trivial", workers=2),
    "distilled text": _case(text, taught="text"),
    "distilled text, accumulation 4": _case(text, taught="text", micro_batch_size=2),
    "distilled image": _case(image, taught="image"),
    "distilled image, accumulation 4, 2 workers": _case(
        image, taught="image", micro_batch_size=4, augment="trivial", workers=2
    ),
    "text, 2 processes": _case(text, processes=2),
    "image, accumulation 4, 2 processes": _case(image, processes=2, micro_batch_size=2),
    "distilled text, 2 processes": _case(text, taught="text", processes=2),
    "distilled image, 2 processes": _case(image, taught="image", processes=2),
}

if __name__ == "__main__":
    main()
