"""The same work by ptm and by each peer, in turns, in one run: speed, accuracy, memory, and whole processes.

    make bench
    make bench ARGS=--quick                     # fewer examples, on one thread
    python benchmarks/bench.py --quick --only text,images --texts tsv:SST2_FOLDER

Each arm is a process of its own; a round runs all arms of a workload with one seed, forwards and backwards in turn. The
loop's seconds are told by the arm (training alone, without imports, loading and evaluation); seconds of the whole
process and its peak memory are measured here. Ratios are taken within a round. Without ``--texts`` the texts are the
reviews that ptm ships; images are drawn from scikit-learn's digits and written as JPEG. Figures are called final only
if other processes left the machine alone and repeats agree.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from results import TITLE, Run, beginning, is_final, read_sections, section, write_results  # noqa: E402
from workloads import NAMES, Arm, Workload, workloads, write_images  # noqa: E402

from ptm.base.machine_load import LoadMeter  # noqa: E402
from ptm.base.processors import core_count  # noqa: E402


def run_arm(workload: Workload, arm: Arm, seed: int) -> Run | str:
    """One process, or why it ended otherwise than it should."""
    command = [sys.executable, str(HERE / "arms" / arm.script)]
    if arm.words:
        command += [*arm.words, "--seed", str(seed)]
    else:
        command.append(json.dumps({**workload.settings, **arm.options, "seed": seed}))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
        "PYTHONWARNINGS": "ignore",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if workload.settings["threads"]:
        environment["OMP_NUM_THREADS"] = str(workload.settings["threads"])
    load, begun = LoadMeter(), time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as cache,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        environment["PTM_CACHE"] = cache  # nothing is kept from one process to the next
        # A session of its own: what ends this process half-way ends the arm's own children, too.
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment, start_new_session=True)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds, others = time.perf_counter() - begun, load.others()
        out.seek(0)
        err.seek(0)
        said, complaint = out.read().strip().splitlines(), err.read().strip().splitlines()
    if process.returncode or not said:
        return _why(complaint) or f"ended with {process.returncode}"
    told = json.loads(said[-1])
    if "loop_seconds" in told:
        rate = told["examples"] / told["loop_seconds"]
    else:
        rate = 1 / told["seconds"]  # of all that was asked for
    eval_seconds = told.get("eval_seconds")
    return Run(
        rate=rate,
        eval_rate=told["eval_examples"] / eval_seconds if eval_seconds else None,
        accuracy=told["accuracy"],
        seconds=seconds,
        peak_bytes=usage.ru_maxrss * 1024,
        others=others,
    )


def _why(complaint: Sequence[str]) -> str:
    """The message of a process that failed: of a traceback, the error that it ends with."""
    raised = [line for line in complaint if re.match(r"error: |[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (raised or complaint or [""])[-1]


def prepare(workload: Workload, texts: str, quick: bool) -> None:
    """What the arms read and do not make themselves: images, a teacher."""
    if "images" in workload.settings:
        write_images(
            Path(workload.settings["images"]),
            workload.settings["image_size"],
            workload.settings["image_count"],
        )
    if "teacher" in workload.settings:
        changes = ["train.epochs=1", f"runtime.threads={workload.settings['threads']}", "expect={}"]
        words = ["finetune", str(HERE.parent / "configs" / "quickstart.yaml"), "--quiet"]
        words += ["--output", workload.settings["teacher"], *(w for c in changes for w in ("--set", c))]
        subprocess.run(
            [sys.executable, "-m", "ptm", *words], check=True, cwd=HERE.parent, capture_output=True, text=True
        )


def measure(workload: Workload, rounds: int) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """The runs of each arm by name, a round each, and why arms were left out."""
    missing = {
        arm.name: f"{', '.join(n for n in arm.needs if find_spec(n) is None)} not installed"
        for arm in workload.arms
        if any(find_spec(n) is None for n in arm.needs)
    }
    arms = [arm for arm in workload.arms if arm.name not in missing]
    runs: dict[str, list[Run]] = {arm.name: [] for arm in arms}
    for number in range(rounds):
        for arm in arms if number % 2 == 0 else arms[::-1]:
            if arm.name in missing:
                continue
            outcome = run_arm(workload, arm, seed=number + 1)
            print(f"{workload.name}, round {number + 1}, {arm.name}: {outcome}", file=sys.stderr, flush=True)
            if isinstance(outcome, str):
                missing[arm.name] = f"it failed: {outcome}"
                runs.pop(arm.name)
            else:
                runs[arm.name].append(outcome)
    return runs, missing


def _bf16() -> bool:
    """In a process of its own, so that this one stays small."""
    code = (
        "import torch; from ptm.training.runtime import bf16_units as u; print(bool(u(torch.device('cpu'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=HERE.parent, check=False
    )
    return done.stdout.strip() == "True"


def positive(word: str) -> int:
    if not word.isascii() or not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r}: expected a number from 1 on")
    return int(word)


def _some(word: str) -> str:
    strange = [name for name in word.split(",") if name not in NAMES]
    if strange:
        raise argparse.ArgumentTypeError(f"no workload {', '.join(strange)}; there are {','.join(NAMES)}")
    return word


def texts(word: str) -> str:
    return _folder_with(word, "tsv", ("train.tsv", "dev.tsv"))


def images(word: str) -> str:
    return _folder_with(word, "parquet", ("train.parquet", "test.parquet"))


def _folder_with(word: str, expected: str, names: Sequence[str]) -> str:
    kind, _, folder = word.partition(":")
    if kind != expected or not all((Path(folder) / name).is_file() for name in names):
        raise argparse.ArgumentTypeError(
            f"{word!r}: expected {expected}:FOLDER with {' and '.join(names)} in it"
        )
    return f"{expected}:{Path(folder).resolve()}"


def replaceable(word: str) -> Path:
    """Asked before anything is measured, not an hour later. Only results are replaced."""
    path = Path(word)
    new = not path.exists()
    try:
        if not new and not path.is_file():
            raise OSError
        with path.open("a+b") as file:
            file.seek(0)
            begins = file.read(len(TITLE))
        if new:
            path.unlink()
    except OSError:
        raise argparse.ArgumentTypeError(
            f"cannot write {word!r}; expected a file in a folder that is there"
        ) from None
    if begins not in (b"", TITLE.encode()):
        raise argparse.ArgumentTypeError(f"{word!r} holds something else; expected results, or a new file")
    return path


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(words: Sequence[str] | None = None) -> int:
    """0 where something was measured, 1 where every arm failed or was left out, 130 where it was interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small workloads, fewer rounds; never final")
    parser.add_argument("--rounds", type=positive, help="default: 3, with --quick 2")
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--texts", type=texts, help="tsv:FOLDER with train.tsv and dev.tsv (sentence, label)")
    parser.add_argument("--only", type=_some, help=f"names of workloads: {','.join(NAMES)}")
    parser.add_argument("--output", type=replaceable, default=HERE / "results.md")
    options = parser.parse_args(words)
    options.bf16, rounds, cores = _bf16(), options.rounds or (2 if options.quick else 3), core_count()
    given = " ".join(words if words is not None else sys.argv[1:])
    sections, measured = read_sections(options.output), 0
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="ptm-bench-") as folder:
            for workload in workloads(options, Path(folder)):
                prepare(workload, options.texts, options.quick)
                began = beginning(f"python benchmarks/bench.py {given}")
                runs, missing = measure(workload, rounds)
                measured += len(runs)
                sections[workload.title] = section(workload, runs, missing, cores, began)
                write_results(options.output, sections)
    except KeyboardInterrupt:
        kept = (
            f"{options.output} has the workloads that were measured before"
            if measured
            else "nothing was measured"
        )
        print(f"interrupted; {kept}", file=sys.stderr)
        return 130
    except subprocess.CalledProcessError as error:
        print(f"the teacher could not be trained: {_why(error.stderr.splitlines())}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    print(options.output)
    if not is_final(sections):
        print("not final: each section that is not says why", file=sys.stderr)
    return 0 if measured else 1


if __name__ == "__main__":
    sys.exit(main())
