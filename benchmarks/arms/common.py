"""What every arm of a benchmark begins and ends with: its settings from the command line, its result as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def settings() -> Any:
    """The workload as the harness gives it: one JSON object."""
    return SimpleNamespace(**json.loads(sys.argv[1]))


def finish(**numbers: Any) -> None:
    """The result: ``loop_seconds`` of ``examples`` that were learned from, ``accuracy``; of an evaluation
    ``eval_seconds`` of ``eval_examples``."""
    print(json.dumps(numbers))


def spec_of(options: Any, folder: Path, **sections: str) -> Any:
    """The workload as a config of ptm: what all arms take their rows from. Sections in YAML's flow style."""
    from ptm.config.load import parse_config

    head = [f"version: 1\ntask: {options.task}", f"model: {options.model}", f"data: {options.data}"]
    train = (
        f"train: {{epochs: {options.epochs}, batch_size: {options.batch_size}, eval_batch_size: 64, "
        f"learning_rate: {options.learning_rate}, seed: {options.seed}{options.optimizer}}}"
    )
    runtime = (
        f"runtime: {{device: {options.device}, threads: {options.threads}, precision: {options.precision}, "
        f"cuda_graphs: {str(getattr(options, 'cuda_graphs', False)).lower()}}}"
    )
    more = [f"{name}: {value}" for name, value in sections.items()]
    text = "\n".join([*head, train, runtime, f"output: {folder}/run", *more])
    return parse_config(text, "benchmark", base=Path.cwd(), cwd=Path.cwd())


@contextmanager
def timed(keep: Callable[[float], None]) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    keep(time.perf_counter() - begun)
