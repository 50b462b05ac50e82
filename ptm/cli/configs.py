"""Commands about a config that do not run it: ``ptm check``, ``ptm schema`` and ``ptm lock``."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptm.base.standard_input import STANDARD_INPUT
from ptm.cli.options import Json, Offline, Quiet, Set, Verbose, new_reporter
from ptm.cli.printing import echo, echo_json

if TYPE_CHECKING:
    from ptm.errors import Problem, PtmError
    from ptm.experiment.check import Inspection


class Format(StrEnum):
    """How ``ptm check`` says what it found."""

    text = "text"
    json = "json"
    github = "github"
    sarif = "sarif"


def check(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="CONFIGS", help="Config files; - for standard input.", show_default=False),
    ],
    data: Annotated[
        bool,
        typer.Option("--data", help="Read and examine the data as well, and load the models over them."),
    ] = False,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="--data, and a few true steps: peak memory, time an epoch, disk, precision."
        ),
    ] = False,
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="text; json; github (annotations of a workflow); sarif (code scanning, 2.1.0).",
        ),
    ] = Format.text,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 3 where there are warnings.")] = False,
    set_: Set = [],  # noqa: B006
    offline: Offline = False,
    json_: Json = False,
) -> None:
    """Say what is wrong with configs, without running them."""
    from ptm.config.load import check_files, load_config
    from ptm.errors import ConfigError, DataError, MissingDownload

    problems, inspections = check_files(files, set_), list["Inspection"]()
    error: type[PtmError] = ConfigError
    form = Format.json if json_ else form
    if (data or deep) and not problems:
        from ptm.experiment.check import check_inputs

        inspections = [check_inputs(load_config(file, set_), deep=deep) for file in files]
        problems = list(dict.fromkeys(p for inspection in inspections for p in inspection.problems))
        missing = {p for inspection in inspections for p in inspection.missing}
        error = MissingDownload if missing.issuperset(problems) else DataError
    if form is not Format.text or inspections:  # numpy, which that needs, takes a while to load
        _tell(files, problems, inspections, form, error.exit_code)
    elif not problems:
        echo(
            f"{_counted(len(files), 'config')}: no problem found; data and models were not looked at (--data)"
        )
    if problems and form is Format.text:
        raise error(problems)
    warned = any(finding.level == "warning" for item in inspections for finding in item.findings())
    if problems or (strict and warned):
        raise typer.Exit(error.exit_code if problems else DataError.exit_code)


def _tell(
    files: list[Path], problems: list[Problem], inspections: list[Inspection], form: Format, code: int
) -> None:
    """Everything, in the form that was asked for. Figures go to standard output, messages to standard error."""
    from ptm.quality.findings import Finding
    from ptm.report import findings as forms

    findings = [finding for inspection in inspections for finding in inspection.findings()]
    if not inspections:
        findings = [Finding("error", "unusable", problem) for problem in problems]
    if form is Format.json:
        echo_json(
            forms.record(list(map(str, files)), findings, inspections, problems, code, data=bool(inspections))
        )
    elif form is Format.sarif:
        echo_json(forms.sarif(findings))
    elif form is Format.github:
        for line in forms.workflow_commands(findings):
            echo(line)
    else:
        for line in forms.lines([finding for finding in findings if finding.level != "error"]):
            echo(line, err=True)
        for file, inspection in zip(files, inspections, strict=False):
            for line in (
                *forms.figure_lines(inspection.figures),
                *(inspection.trial.lines() if inspection.trial else ()),
            ):
                echo(f"{file}: {line}" if len(files) > 1 else line)
        if not problems:
            counts = [(sum(f.level == level for f in findings), level) for level in ("warning", "note")]
            counted = "".join(f", {_counted(count, level)}" for count, level in counts if count)
            echo(f"{_counted(len(files), 'config')}: no problem found{counted}")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"


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
    from ptm.export.directory import is_export
    from ptm.run.lockfile import lock_path, require_lock_place, write_lock
    from ptm.run.opening import refuse_inside_run

    refuse_inside_run(lock_path(config), cure="copy the config out of the run, and lock the copy")
    if any(map(is_export, Path(os.path.realpath(lock_path(config))).parents)):
        cure = "copy the config elsewhere"
        raise ConfigError("its lock file would lie in an export", where=config, cure=cure)
    require_lock_place(config)

    pins = make_pins(spec, reporter)
    require_lock_place(config)  # put there meanwhile
    path = str(write_lock(config, pins))
    if json_:
        echo_json({"lock": path, **pins.as_dict()})
    else:
        echo(path)
