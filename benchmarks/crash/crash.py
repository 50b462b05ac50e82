"""Kill runs with SIGKILL at random moments and in the middle of writes, resume them, and compare every bit.

    python benchmarks/crash/crash.py --kills 300 --seed 1        (or: make crash N=300)

One process imports everything and forks a child a run, so that a kill costs a second, not ten. A child dies
either after a random time, or at a chosen point of a write: before the k-th fsync or rename, after it, or with
half of a file written. It is then resumed, perhaps killed again, and at last left to finish; weights, optimizer
state, progress, history and predictions must equal those of a run that nobody touched.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from conftest import save_tiny_bert, sentences, write_csv
from helpers import history, image_spec, last_state, run, text_spec
from ptm import files
from ptm.spec import DistillSpec, RunSpec, TeacherSpec

DIED, DONE, FAILED = "died", "done", "failed"


@dataclass(frozen=True)
class Kill:
    """``seconds`` after the start, or ``at`` the k-th write operation, in one of three ways."""

    seconds: float | None = None
    at: int | None = None
    how: str = "before"  # before | after | half


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", default=",".join(CASES), help="which of the cases, separated by commas")
    options = parser.parse_args()
    import_everything()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PTM_CACHE"] = str(Path(folder) / "cache")
        found = campaign(Path(folder), options.kills, options.seed, options.cases.split(","))
    print(json.dumps(found))
    sys.exit(1 if found["differences"] or found["in_a_write"] < 0.3 * found["kills"] else 0)


def campaign(folder: Path, kills: int, seed: int, names: list[str]) -> dict:
    """Kill until ``kills`` children have died by SIGKILL. Returns counts; differences are described."""
    draw = random.Random(seed)
    (folder / "bert").mkdir()
    fork(lambda: save_tiny_bert(folder / "bert"))
    for name, count, number in (("train", 64, 1), ("eval", 32, 2)):
        (folder / "data").mkdir(exist_ok=True)
        write_csv(folder / "data" / f"{name}.csv", sentences(count, number))
    by_case: Counter[str] = Counter()
    died, in_write, differences = 0, 0, []
    references = {name: reference(folder, name) for name in names}
    trial = 0
    while died < kills:
        name = names[trial % len(names)]
        wanted, seconds, operations = references[name]
        target = folder / f"trial-{trial}"
        make = lambda: CASES[name](folder, target)  # noqa: B023, E731
        trial += 1
        lives = 0
        while lives < 3 and died < kills:
            kill = random_kill(draw, seconds, operations)
            if fork(lambda: go(make(), kill)) != DIED:  # noqa: B023
                break  # it was faster
            lives += 1
            died += 1
            by_case[name] += 1
            in_write += kill.at is not None
        if fork(lambda: go(make(), None)) != DONE:  # noqa: B023
            differences.append(f"trial {trial} ({name}): cannot be resumed")
        elif (got := outcome(target)) != wanted:
            parts = [key for key in wanted if wanted[key] != got.get(key)]
            differences.append(f"trial {trial} ({name}): {', '.join(parts)} differ")
        shutil.rmtree(target, ignore_errors=True)
    return {
        "kills": died,
        "in_a_write": in_write,
        "trials": trial,
        "by_case": dict(by_case),
        "differences": differences,
    }


def reference(folder: Path, name: str) -> tuple[dict, float, int]:
    """What the case ends with when nobody touches it, how long it takes, and how many operations its writes have."""
    target = folder / f"reference-{name.replace(' ', '-')}"
    counted = folder / "operations"
    begun = time.monotonic()
    if fork(lambda: counted.write_text(str(go(CASES[name](folder, target), Kill())))) != DONE:
        raise SystemExit(f"the case {name!r} does not even run without being killed")
    return outcome(target), time.monotonic() - begun, int(counted.read_text())


def random_kill(draw: random.Random, seconds: float, operations: int) -> Kill:
    if draw.random() < 0.5:
        return Kill(at=draw.randrange(operations) + 1, how=draw.choice(("before", "after", "half")))
    return Kill(seconds=draw.uniform(0.05, seconds))


def go(spec: RunSpec, kill: Kill | None) -> int:
    """Run or resume, with the kill armed. Returns the number of write operations."""
    counter = arm(kill) if kill is not None else [0]
    run(spec, "resume")
    return counter[0]


def arm(kill: Kill) -> list[int]:
    """Count fsyncs and renames, and die at the chosen one; or die after a time."""
    counter = [0]

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def counting(original: Callable) -> Callable:
        def call(*words, **more):
            counter[0] += 1
            if counter[0] == kill.at and kill.how == "before":
                die()
            result = original(*words, **more)
            if counter[0] == kill.at:
                die()
            return result

        return call

    write_synced = files.write_synced

    def half(path: Path, content: bytes) -> None:
        if kill.how == "half" and kill.at is not None and counter[0] + 1 >= kill.at:
            path.write_bytes(content[: len(content) // 2])
            die()
        write_synced(path, content)

    files.write_synced = half
    os.fsync, os.rename, os.replace = counting(os.fsync), counting(os.rename), counting(os.replace)
    if kill.seconds is not None:
        # The wall clock, from the kernel: no thread of ours decides when.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        if os.fork() == 0:
            parent = os.getppid()
            time.sleep(kill.seconds)
            if os.getppid() == parent:
                os.kill(parent, signal.SIGKILL)
            os._exit(0)
    return counter


def fork(job: Callable[[], object]) -> str:
    """Do it in a child: whether it died by SIGKILL, finished, or failed."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            job()
        except BaseException as error:  # a child must never come back into our loop
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, os.WTERMSIG(status)
        return DIED
    return DONE if os.WEXITSTATUS(status) == 0 else FAILED


def outcome(target: Path) -> dict:
    """All that a run must end with, whatever happened to it."""
    return {
        "weights": (target / "model" / "model.safetensors").read_bytes(),
        "history": history(target),
        "predictions": (target / "predictions.jsonl").read_bytes(),
        **last_state(target),
    }


def import_everything() -> None:
    """All imports of a run, no tensor: the children must not inherit threads."""


def text(folder: Path, target: Path, **changes) -> RunSpec:
    return text_spec(folder / "bert", folder / "data", target, save_every_steps=3, **changes)


def distilled(folder: Path, target: Path) -> RunSpec:
    teacher = folder / "teacher"
    if not (teacher / "model").is_dir():
        run(text(folder, teacher, epochs=1), "resume")
    return text(folder, target, teacher=TeacherSpec(name=str(teacher)), distill=DistillSpec(audit="off"))


CASES: dict[str, Callable[[Path, Path], RunSpec]] = {
    "text": text,
    "text accumulated": lambda folder, target: text(folder, target, micro_batch_size=2),
    "image": lambda folder, target: image_spec(target, save_every_steps=3),
    "image with workers": lambda folder, target: image_spec(
        target, save_every_steps=3, augment="trivial", micro_batch_size=4, workers=2
    ),
    "distilled text": distilled,
}

if __name__ == "__main__":
    main()
