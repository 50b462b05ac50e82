"""Commands about a config that do not run it: ``ptm check``, ``ptm schema`` and ``ptm lock``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ptm.cli.options import Config
from ptm.cli.printing import echo, echo_json


def check(
    files: Annotated[list[Path], typer.Argument(help="Config files.", show_default=False)],
    data: Annotated[
        bool, typer.Option("--data", help="Read the data as well, and look whether the models are there.")
    ] = False,
) -> None:
    """Say what is wrong with configs, without running them."""
    from ptm.config.load import check_files, load_config

    problems, code = check_files(files), 2
    if data and not problems:
        from ptm.experiment.check import check_inputs

        problems, code = [problem for file in files for problem in check_inputs(load_config(file))], 3
    for problem in problems:
        echo(str(problem), err=True)
    if problems:
        raise typer.Exit(code)
    unread = "" if data else "; data and models were not looked at (--data)"
    echo(f"{len(files)} config{'s' if len(files) > 1 else ''}: no problem found{unread}")


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
