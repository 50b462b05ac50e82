"""Commands about a config that do not run it: ``ptm check``, ``ptm schema`` and ``ptm lock``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ptm.cli.options import Config, Set
from ptm.cli.printing import echo, echo_json


def check(
    files: Annotated[list[Path], typer.Argument(help="Config files.", show_default=False)],
    data: Annotated[
        bool, typer.Option("--data", help="Read the data as well, and load the models over them.")
    ] = False,
    set_: Set = [],  # noqa: B006
) -> None:
    """Say what is wrong with configs, without running them."""
    from ptm.config.load import check_files, load_config

    problems, warnings, code = check_files(files, set_), [], 2
    if data and not problems:
        from ptm.experiment.check import check_inputs

        inspections = [check_inputs(load_config(file, set_)) for file in files]
        problems, code = [problem for inspection in inspections for problem in inspection.problems], 3
        warnings = [line for inspection in inspections for line in inspection.warnings]
    for line in (*warnings, *map(str, problems)):
        echo(line, err=True)
    if problems:
        raise typer.Exit(code)
    unread = "" if data else "; data and models were not looked at (--data)"
    counted = f", {len(warnings)} warning{'s' if len(warnings) > 1 else ''}" if warnings else ""
    echo(f"{len(files)} config{'s' if len(files) > 1 else ''}: no problem found{counted}{unread}")


def schema() -> None:
    """Print the JSON Schema of a config, for editors."""
    from ptm.config.load import json_schema

    echo_json(json_schema())


def lock(config: Config) -> None:
    """Pin what an experiment is made of, beside its config: digests of data and weights, label order, versions."""
    from ptm.config.load import load_config

    spec = load_config(config)
    from ptm.base.console import reporter_for
    from ptm.experiment.prepare import make_pins
    from ptm.run.lockfile import write_lock

    echo(str(write_lock(config, make_pins(spec, reporter_for(sys.stderr)))))
