"""Options that several commands have, and a dataclass of options as the parameters of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

Config = Annotated[Path, typer.Argument(help="The experiment: a YAML file.", show_default=False)]
Set = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key: --set train.epochs=1. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON on standard output.")]
Locked = Annotated[
    bool, typer.Option("--locked", help="Start only if all is as ptm lock pinned it; else list what is not.")
]


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
