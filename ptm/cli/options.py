"""Options that several commands have, and a dataclass of options as the parameters of a command."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from ptm.base.console import Reporter
    from ptm.config.spec import RunSpec

Config = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG",
        help="The experiment: a YAML file, or - for standard input.",
        show_default=False,
    ),
]


def complete_key(incomplete: str) -> list[str]:
    """What a shell offers after ``--set``: the keys of a config."""
    from ptm.config.schema import all_keys, keys_of

    keys = (".".join(path) for path in all_keys() if not keys_of(path))
    return [f"{key}=" for key in keys if key.startswith(incomplete)]


Set = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a key: --set train.epochs=1. Repeatable.",
        autocompletion=complete_key,
    ),
]
RejectBelow = Annotated[
    float | None,
    typer.Option(
        "--reject-below",
        metavar="P",
        min=0,
        max=1,
        help="Classes: keep back answers that are less probable; their prediction is null.",
    ),
]
Coverage = Annotated[
    float | None,
    typer.Option(
        "--coverage",
        metavar="P",
        min=0,
        max=1,
        help="Classes: name the set of labels that holds the true one with this probability.",
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the results as JSON on standard output; what is wrong, too."),
]
Locked = Annotated[
    bool, typer.Option("--locked", help="Start only if all is as ptm lock pinned it; else list what is not.")
]


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results, warnings and errors.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say more: a line at every step instead of every ten seconds.")
]
Processes = Annotated[
    str,
    typer.Option(
        "--nproc",
        metavar="N|auto",
        help="Processes on this machine that share the work; auto: one a GPU, or a core, as far as a step has "
        "micro-batches for them.",
    ),
]


def _go_offline(requested: bool) -> None:
    """For this process, the libraries in it, and the processes that it starts."""
    if requested:
        os.environ["PTM_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"


Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        callback=_go_offline,
        help="Use no network; what is missing is told at once. PTM_OFFLINE=1 does the same.",
    ),
]


def new_reporter(*, quiet: bool, verbose: bool) -> Reporter:
    """What tells of the work on standard error. Raises ConfigError where both are asked for."""
    from ptm.base.console import reporter_for
    from ptm.errors import ConfigError

    if quiet and verbose:
        raise ConfigError("--quiet and --verbose contradict each other", cure="give one of them")
    return reporter_for(sys.stderr, quiet=quiet, verbose=verbose)


_MOST_PROCESSES = 1024  # more than any machine has cores; a slip of the keyboard would start them one by one


def parse_processes(text: str) -> int | None:
    """``"2"`` → 2, ``"auto"`` → None. Raises ConfigError."""
    from ptm.errors import ConfigError

    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= _MOST_PROCESSES):
        raise ConfigError(
            f"{text[:40]!r} is no number of processes",
            where="--nproc",
            expected=f"a whole number from 1 to {_MOST_PROCESSES}, or auto",
        )
    return int(text)


def count_processes(text: str, spec: RunSpec) -> int:
    """How many processes a training shall have. ``auto``: no more than there are micro-batches in a step, for others
    would wait. Raises ConfigError."""
    from ptm.base.processors import core_count, gpu_count

    number = parse_processes(text)
    if number is not None:
        return number
    gpus = 0 if spec.runtime.device == "cpu" else gpu_count()
    pieces = -(-spec.train.batch_size // spec.train.forward_size)
    return min(gpus or core_count(), pieces)


def takes(options: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The first parameter of a command is an instance of the dataclass ``options``.

    On the command line its fields stand before the command's own parameters; each is annotated as a parameter of a
    typer command would be.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(options, include_extras=True)
        shared = [_parameter(field, hints[field.name]) for field in fields(options)]
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        names = [parameter.name for parameter in shared]

        @wraps(command)
        def call(**values: Any) -> None:
            command(options(**{name: values.pop(name) for name in names}), **values)

        # What typer reads: names, annotations and defaults.
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*shared, *own)]
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return call

    return decorate


def _parameter(field: Field[Any], annotation: Any) -> inspect.Parameter:
    default = field.default
    if field.default_factory is not MISSING:
        default = field.default_factory()
    empty = inspect.Parameter.empty if default is MISSING else default
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=empty, annotation=annotation)


def parse_seeds(text: str) -> list[int]:
    """``"1,2,3"`` to numbers. Raises ConfigError for what are no different seeds."""
    from ptm.errors import ConfigError

    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= 2**32:
        raise ConfigError(
            f"{text!r} are no seeds", where="--seeds", expected="different whole numbers: 1,2,3"
        )
    return seeds
