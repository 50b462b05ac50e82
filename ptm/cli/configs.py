"""Commands about a config that do not run it: ``ptm check``, ``ptm schema`` and ``ptm lock``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptm.base.standard_input import STANDARD_INPUT
from ptm.cli.options import Json, Offline, Quiet, Set, Verbose, new_reporter
from ptm.cli.printing import echo, echo_json


def check(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="CONFIGS", help="Config files; - for standard input.", show_default=False),
    ],
    data: Annotated[
        bool, typer.Option("--data", help="Read the data as well, and load the models over them.")
    ] = False,
    set_: Set = [],  # noqa: B006
    offline: Offline = False,
    json_: Json = False,
) -> None:
    """Say what is wrong with configs, without running them."""
    from ptm.config.load import check_files, load_config
    from ptm.errors import ConfigError, DataError

    problems, warnings = check_files(files, set_), []
    if problems:
        raise ConfigError(problems)
    if data:
        from ptm.experiment.check import check_inputs

        inspections = [check_inputs(load_config(file, set_)) for file in files]
        problems = [problem for inspection in inspections for problem in inspection.problems]
        warnings = [line for inspection in inspections for line in inspection.warnings]
    for line in warnings:
        echo(line, err=True)
    if problems:
        raise DataError(problems)
    if json_:
        echo_json({"configs": [str(file) for file in files], "data": data, "warnings": warnings})
        return
    unread = "" if data else "; data and models were not looked at (--data)"
    counted = f", {len(warnings)} warning{'s' if len(warnings) > 1 else ''}" if warnings else ""
    echo(f"{len(files)} config{'s' if len(files) > 1 else ''}: no problem found{counted}{unread}")


def schema(
    json_: Annotated[bool, typer.Option("--json", help="For scripts; it is JSON in any case.")] = False,
) -> None:
    """Print the JSON Schema of a config, for editors."""
    from ptm.config.load import json_schema

    echo_json(json_schema())


def lock(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="The experiment: a YAML file.", show_default=False)
    ],
    quiet: Quiet = False,
    verbose: Verbose = False,
    offline: Offline = False,
    json_: Json = False,
) -> None:
    """Pin what an experiment is made of, beside its config: digests of data and weights, label order, versions."""
    from ptm.config.load import load_config
    from ptm.errors import ConfigError

    if str(config) == STANDARD_INPUT:
        raise ConfigError(
            "a lock file stands beside its config",
            where="-",
            expected="a file",
            cure="write the config into one",
        )
    reporter = new_reporter(quiet=quiet, verbose=verbose)
    spec = load_config(config)
    from ptm.experiment.prepare import make_pins
    from ptm.run.lockfile import require_lock_place, write_lock

    require_lock_place(config)

    pins = make_pins(spec, reporter)
    path = str(write_lock(config, pins))
    if json_:
        echo_json({"lock": path, **pins.as_dict()})
    else:
        echo(path)
