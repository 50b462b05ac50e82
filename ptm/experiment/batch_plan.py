"""What a batch is made of: the runs of several configs, seeds and grid points, each with its place and its identity.

Pure but for reading configs: nothing is trained here, and no torch is imported.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ptm
from ptm.base.regular import kind_of, read_bytes
from ptm.base.standard_input import STANDARD_INPUT
from ptm.config.commands import Command
from ptm.config.load import dump_config, load_config
from ptm.config.spec import RunSpec
from ptm.errors import ConfigError, Problem, PtmError, RunDirectoryError
from ptm.run.lockfile import lock_path
from ptm.run.ownership import is_run

MOST_RUNS = 10_000  # of a batch


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run of a batch. ``grid``: the changes of its grid point; ``needs``: directories of runs that it starts from."""

    name: str
    config: Path
    command: Command
    spec: RunSpec
    changes: tuple[str, ...]
    seed: int | None
    grid: Mapping[str, str]
    needs: tuple[Path, ...] = ()

    @property
    def output(self) -> Path:
        return Path(self.spec.output)

    @property
    def controlled(self) -> bool:
        """Whether it is a distillation with its control: a directory of runs."""
        return self.spec.distill is not None and self.spec.distill.control

    @property
    def identity(self) -> str:
        """SHA-256 of what decides its bits: the resolved config without its place, the lock file, ptm's version."""
        lock = lock_path(self.config)
        parts = (
            dump_config(replace(self.spec, output=".")).encode(),
            read_bytes(lock) if lock.is_file() else b"",
            ptm.__version__.encode(),
        )
        return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A config that is no job: what is wrong with it, and the exit code of that."""

    config: Path
    problems: tuple[Problem, ...]
    exit_code: int


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """Jobs in an order in which each follows those that it needs, and the configs that are none."""

    jobs: tuple[Job, ...]
    faults: tuple[Fault, ...]


def plan_batch(
    configs: Sequence[Path],
    *,
    seeds: Sequence[int] = (),
    grid: Sequence[str] = (),
    changes: Sequence[str] = (),
    output: str | None = None,
) -> BatchPlan:
    """Read the configs, once for each seed and grid point. A faulty one does not hide the others.

    With seeds a run's directory is ``OUTPUT/seed-1``, with a grid ``OUTPUT/learning_rate=1e-5``, with both one below
    the other. ``output``: the folder of all runs, instead of each config's own. Raises ConfigError for options that
    are wrong, two runs with one directory, and runs that wait for each other.
    """
    points = grid_points(grid)
    runs = len(configs) * len(points) * max(1, len(seeds))
    _refuse_many(runs, "configs, seeds and grid", "make several batches of it")
    jobs: list[Job] = []
    faults: list[Fault] = []
    for config in configs:
        try:
            jobs += _jobs_of(config, seeds, points, changes, output)
        except PtmError as error:
            faults.append(Fault(config=config, problems=error.problems, exit_code=error.exit_code))
    _refuse_shared_directories(jobs)
    return BatchPlan(jobs=_ordered(_connected(jobs)), faults=tuple(faults))


def grid_points(grid: Sequence[str]) -> list[dict[str, str]]:
    """``["a=1,2", "b=3"]`` → ``[{"a": "1", "b": "3"}, {"a": "2", "b": "3"}]``. Raises ConfigError."""
    axes: dict[str, list[str]] = {}
    for axis in grid:
        key, equals, text = axis.partition("=")
        values = split_values(text)
        if not equals or not key.strip() or not values or not all(values) or len(set(values)) < len(values):
            raise ConfigError(
                f"{axis!r} is no axis of a grid",
                where="--grid",
                expected="a key and its different values: --grid train.learning_rate=1e-5,3e-5",
            )
        if key.strip() in axes:
            raise ConfigError(f"{key.strip()} stands twice", where="--grid", cure="name all its values once")
        axes[key.strip()] = values
    _refuse_many(
        math.prod(map(len, axes.values())), "--grid", "leave out values or axes, or let --search choose"
    )
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _refuse_many(runs: int, where: str, cure: str) -> None:
    """Each run is planned before the first starts: its config is read, its place and its needs are looked at."""
    if runs > MOST_RUNS:
        raise ConfigError(
            f"these are {runs:,} runs", where=where, expected=f"at most {MOST_RUNS:,}", cure=cure
        )


def split_values(text: str) -> list[str]:
    """At commas, but those within brackets and quotes."""
    return [part.strip() for part in re.findall(r"(?:\[[^\]]*\]|\{[^}]*\}|\"[^\"]*\"|'[^']*'|[^,])+", text)]


def _jobs_of(
    config: Path,
    seeds: Sequence[int],
    points: Sequence[Mapping[str, str]],
    changes: Sequence[str],
    output: str | None,
) -> list[Job]:
    base = base_output(config, load_config(config, changes), output)
    if (seeds or any(points)) and is_run(base):
        raise RunDirectoryError(
            "holds a run, and the runs of seeds and grids would lie in it",
            where=base,
            cure=f"name a folder for them: --output {shlex.quote(f'{base}-runs')}",
        )
    jobs = []
    for point, seed in itertools.product(points, list[int | None](seeds) or [None]):
        parts = [*_folders(point), *([] if seed is None else [f"seed-{seed}"])]
        own = [*changes, *(f"{key}={value}" for key, value in point.items())]
        own += [] if seed is None else [f"train.seed={seed}"]
        refuse_links(base, parts)
        own.append(f"output={json.dumps(str(base.joinpath(*parts)))}")
        spec = load_config(config, own)
        jobs.append(
            Job(
                name="/".join([stem_of(config), *parts]),
                config=config,
                command=command_of(spec),
                spec=spec,
                changes=tuple(own),
                seed=seed,
                grid=dict(point),
            )
        )
    return jobs


def refuse_links(folder: Path, names: Sequence[str]) -> None:
    """Raise RunDirectoryError for a link among the folders of these names, one in the other, below ``folder``: what it
    leads to is another run, or a place where nobody asked for one. They may have been received."""
    for name in names:
        folder /= name
        if kind_of(folder) == "a symbolic link":
            raise RunDirectoryError(
                "is a symbolic link, not a folder of a run",
                where=folder,
                cure="remove it, or choose another --output",
            )


def command_of(spec: RunSpec) -> Command:
    """The command that a config is for."""
    if spec.teacher is not None:
        return "distill"
    return "pretrain" if spec.descriptor.language_model else "finetune"


def stem_of(config: Path) -> str:
    """What the runs of a config are called by."""
    return "stdin" if str(config) == STANDARD_INPUT else config.stem


def base_output(config: Path, spec: RunSpec, output: str | None) -> Path:
    """The folder of a config's runs: its own, or one below that of the batch. Raises ConfigError for a name that leads
    out of that one: the stem of ``...yaml`` is ``..``."""
    if output is None:
        return Path(spec.output)
    stem = stem_of(config)
    if stem in ("", ".", ".."):
        raise ConfigError("cannot name a folder", where=config, cure="rename it, or leave --output out")
    folder = Path(output).expanduser().absolute()
    refuse_links(folder, [stem])
    return folder / stem


def _folders(point: Mapping[str, str]) -> list[str]:
    """A folder a key: ``learning_rate=1e-5``; of two keys with one last part, by their whole names."""
    last = [key.rpartition(".")[2] for key in point]
    names = [short if last.count(short) == 1 else key for key, short in zip(point, last, strict=True)]
    values = [re.sub(r"[^\w.+-]+", "_", value)[:80] for value in point.values()]
    return [f"{name}={value}" for name, value in zip(names, values, strict=True)]


def _refuse_shared_directories(jobs: Sequence[Job]) -> None:
    owners: dict[Path, Job] = {}
    for job in jobs:
        other = owners.setdefault(job.output, job)
        if other is not job:
            raise ConfigError(
                f"{other.name} and {job.name} would both write there",
                where=job.output,
                cure="give each config its own output:, or all of them a folder: --output runs/batch",
            )


def _connected(jobs: Sequence[Job]) -> list[Job]:
    """The jobs with what each needs of the others.

    A student whose ``teacher.name`` is the place of a config in the batch learns, with several seeds or grid points,
    from that run of its own seed and point.
    """
    runs: dict[Path, list[Job]] = {}
    for job in jobs:
        depth = len(_folders(job.grid)) + (job.seed is not None)
        base = job.output.parents[depth - 1] if depth else job.output
        runs.setdefault(base, []).append(job)
    outputs: dict[Path, Job] = {}
    for job in itertools.chain.from_iterable(runs.values()):
        outputs.setdefault(job.output, job)
    return [_connect(job, runs, outputs) for job in jobs]


def _connect(job: Job, runs: Mapping[Path, Sequence[Job]], outputs: Mapping[Path, Job]) -> Job:
    needs: list[Path] = []
    extra: list[str] = []
    for key, name in _starting_points(job.spec):
        places = _places(name, job.config)
        base = next((path for path in places if path in runs), None)
        exact = next((outputs[path] for path in places if path in outputs), job)
        if exact is not job:
            needs.append(exact.output)
            continue
        if base is None or any(other.config == job.config for other in runs[base]):
            continue
        # All configs of a batch have the same seeds and grid points.
        match = next(other for other in runs[base] if (other.seed, other.grid) == (job.seed, job.grid))
        needs.append(match.output)
        if key in ("teacher.name", "model.name"):
            extra.append(f"{key}={json.dumps(str(match.output))}")
    if not extra:
        return replace(job, needs=tuple(needs))
    changes = (*job.changes, *extra)
    return replace(job, needs=tuple(needs), changes=changes, spec=load_config(job.config, changes))


def _starting_points(spec: RunSpec) -> list[tuple[str, str]]:
    """(key, name) of the models that a run starts from or learns of."""
    teacher = spec.teacher
    names = [("model.name", spec.model.name)]
    if teacher is not None:
        names += [("teacher.name", teacher.name), *(("teacher.others", other) for other in teacher.others)]
    return names


def _places(name: str, config: Path) -> tuple[Path, ...]:
    """The run directories that a name may mean once they are there."""
    if ":" in name:
        return ()
    roots = (Path.cwd(), config.absolute().parent)
    paths = [(root / Path(name).expanduser()).resolve() for root in roots]
    return tuple(
        dict.fromkeys(
            place for path in paths for place in (path, path.parent if path.name == "model" else path)
        )
    )


def _ordered(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """As given, but each after those that it needs. Raises ConfigError for a circle."""
    remaining, placed, order = list(jobs), set[Path](), []
    while remaining:
        ready = next((job for job in remaining if placed.issuperset(job.needs)), None)
        if ready is None:
            raise ConfigError(
                f"they wait for each other: {', '.join(job.name for job in remaining)}",
                where="teacher.name",
                cure="let no run learn from one that learns from it",
            )
        remaining.remove(ready)
        placed.add(ready.output)
        order.append(ready)
    return tuple(order)
