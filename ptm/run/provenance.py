"""What a run is made of: versions, hardware, threads, seed, git state, digests of config, data and weights."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ptm import __version__
from ptm.base.files import file_digest
from ptm.config.folds import is_share
from ptm.config.spec import DataSpec, RunSpec
from ptm.data.examples import Dataset
from ptm.data.patterns import is_several
from ptm.data.readers import FORMATS
from ptm.data.sources import split_files
from ptm.models.weights import weights_digest
from ptm.pipeline import Pipeline
from ptm.run.manifest import Digests, Hardware, Manifest, RuntimeRecord
from ptm.training.runtime import Runtime

# What libraries read on their own and let decide on threads and instruction sets.
_ENVIRONMENT = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "MKL_CBWR",
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
)
_PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "tokenizers",
    "safetensors",
    "datasets",
    "numpy",
    "scikit-learn",
    "pillow",
)
# What only some runs are made with: a model's kind.
_OF_MODELS = {"timm:": "timm", "smp:": "segmentation-models-pytorch", "libreyolo:": "libreyolo"}


def manifest_of(
    spec: RunSpec,
    config: str,
    data: Dataset,
    runtime: Runtime,
    pipelines: Mapping[str, Pipeline],
    weights: Mapping[str, str],
    test: Pipeline | None = None,
) -> Manifest:
    """The record of a run. ``pipelines`` by role: model, teacher, teacher 2, …; ``weights``: SHA-256 of all their
    tensors at the start, by role; ``test``: the model over the third split. An image folder is covered by the digest of
    its split, other local files have one each."""
    model = pipelines["model"]
    return Manifest(
        ptm=__version__,
        task=spec.task,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=" ".join(sys.argv),
        python=platform.python_version(),
        packages={name: _version(name) for name in (*_PACKAGES, *_others(spec))},
        hardware=_hardware(runtime),
        runtime=_runtime(runtime),
        torch_build=" ".join(torch.__config__.show().split()),
        seed=spec.train.seed,
        git=git_state(),
        digests=Digests(
            config=_config_digest(config),
            data=dict(data.digests),
            weights=dict(weights),
            models={role: _reading_digest(pipeline) for role, pipeline in pipelines.items()},
        ),
        data=model.describe() | ({} if test is None else {"test": test.describe()["eval"]}),
        weights=model.load_report.as_dict(),
        labels=tuple(data.labels),
        data_files=_data_files(spec.data),
        loaded={
            role: weights_digest(pipeline.model, without=pipeline.load_report.new)
            for role, pipeline in pipelines.items()
        },
        revisions={role: pipeline.load_report.commit for role, pipeline in pipelines.items()},
    )


def _reading_digest(pipeline: Pipeline) -> str:
    """SHA-256 of what decides a model's outputs besides its weights: a file of the folder it starts from may say other
    things tomorrow, and the weights be the same."""
    text = f"{pipeline.output_fingerprint}\0{pipeline.input_fingerprint}"
    return hashlib.sha256(text.encode()).hexdigest()


def of_config(manifest: Manifest, config: str) -> Manifest:
    """The record of the same run with another config, in which more has been decided."""
    return replace(manifest, digests=replace(manifest.digests, config=_config_digest(config)))


def _config_digest(config: str) -> str:
    return hashlib.sha256(config.encode()).hexdigest()


def _hardware(runtime: Runtime) -> Hardware:
    cuda = runtime.device.type == "cuda"
    return Hardware(
        platform=platform.platform(),
        cpu=_cpu_name(),
        cores=os.cpu_count(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        gpu=torch.cuda.get_device_name(runtime.device) if cuda else None,
        cuda=torch.version.cuda if cuda else None,
    )


def _runtime(runtime: Runtime) -> RuntimeRecord:
    return RuntimeRecord(
        device=str(runtime.device),
        precision=runtime.precision,
        threads=runtime.threads,
        processes=runtime.ranks,
        deterministic=torch.are_deterministic_algorithms_enabled(),
        interop_threads=torch.get_num_interop_threads(),
        environment={name: os.environ.get(name) for name in _ENVIRONMENT},
    )


def _data_files(data: DataSpec) -> dict[str, str]:
    kind, _, place = data.source.partition(":")
    if kind not in FORMATS:
        return {}
    root = Path(place)
    more = [split for split in (data.test, data.unlabelled) if split is not None]
    splits = [split for split in (data.train, data.eval, *more) if not is_share(split)]
    paths = {path for split in splits for path in split_files(root, split, FORMATS[kind].suffixes)}
    if is_several(root):  # a pattern, or a list of files
        root = Path(os.path.commonpath([path.parent for path in paths]))
    named = {_name_within(root, path): path for path in paths}
    return {name: file_digest(path) for name, path in sorted(named.items())}


def _name_within(root: Path, path: Path) -> str:
    """A split may be an absolute path, outside of the source."""
    if path == root:
        return root.name
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _others(spec: RunSpec) -> tuple[str, ...]:
    """Packages of this run besides those of all runs."""
    kinds = tuple(package for kind, package in _OF_MODELS.items() if spec.model.name.startswith(kind))
    adapters = ("peft",) if spec.model.adapter is not None else ()
    return (*kinds, *spec.descriptor.packages, *adapters)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


# What a repository's own settings could have git start, turned off. `git status` runs hooks too, when it refreshes the
# index.
_GIT = (
    "git",
    "--no-optional-locks",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.pager=cat",
)


# Of a partial clone, git fetches what is missing by programs that its settings name. No way of fetching is allowed.
_GIT_ENVIRONMENT = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}


def git_state(folder: Path | None = None) -> dict[str, Any] | None:
    """``commit`` and ``dirty`` flag of the repository around ``folder`` (default: the working directory); None outside
    of one.

    A folder that was received may be a repository whose settings name programs. None of them is started: monitors,
    hooks and fetching are turned off; where the repository itself defines filters, which cannot be, ``dirty`` is None:
    not known.
    """

    def run(*words: str, allowed: Sequence[int] = (0,)) -> str:
        done = subprocess.run(
            [*_GIT, *words],
            capture_output=True,
            text=True,
            errors="replace",  # names of files and settings may hold any bytes
            check=False,
            timeout=10,
            cwd=folder,
            env=os.environ | _GIT_ENVIRONMENT,
        )
        if done.returncode not in allowed:
            raise subprocess.CalledProcessError(done.returncode, words)
        return done.stdout.strip()

    try:
        commit = run("rev-parse", "--verify", "HEAD")  # never a file of that name
        filters = run("config", "--includes", "--show-scope", "--get-regexp", r"^filter\.", allowed=(0, 1))
        if any(line.startswith(("local", "worktree")) for line in filters.splitlines()):
            return {"commit": commit, "dirty": None}
        return {"commit": commit, "dirty": bool(run("status", "--porcelain", "--ignore-submodules=all"))}
    except (OSError, subprocess.SubprocessError):
        return None
