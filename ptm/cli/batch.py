"""``ptm batch``, and ``--seeds`` of the commands that train."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptm.cli.batch_progress import watcher
from ptm.cli.options import Json, Offline, Processes, Quiet, Set, parse_processes, parse_seeds
from ptm.cli.printing import add_row, echo, echo_json, echo_table, new_table
from ptm.cli.streams import reader_may_go

if TYPE_CHECKING:
    from ptm.experiment.batch_plan import BatchPlan
    from ptm.experiment.search import Search


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where runs are queued instead of run: parameters of the jobs, and whether only their scripts are printed."""

    parameters: Mapping[str, Any]
    dry: bool


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How the runs of a batch are run, and where it is told what came of them."""

    at_once: int = 1
    keep_going: bool = True
    overwrite: bool = False
    as_json: bool = False
    junit: Path | None = None
    summary: Path | None = None
    options: tuple[str, ...] = ()  # for every run
    quiet: bool = False
    verbose: bool = False
    search: Search | None = None
    cluster: Cluster | None = None


def batch(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="CONFIGS", help="Config files; - for standard input.", show_default=False),
    ],
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="1,2,3", help="Run each config with each of these seeds.")
    ] = None,
    grid: Annotated[
        list[str],
        typer.Option(
            "--grid",
            metavar="KEY=V1,V2",
            help="Run each config with each of these values. Repeatable: all pairs.",
        ),
    ] = [],  # noqa: B006
    search: Annotated[
        list[str],
        typer.Option(
            "--search",
            metavar="KEY=SPACE",
            help="Search good values of one config: 1e-5..1e-3:log, 1..5, or a,b,c. Repeatable. Needs optuna.",
        ),
    ] = [],  # noqa: B006
    trials: Annotated[
        int, typer.Option("--trials", metavar="N", min=1, help="With --search: how many values are tried.")
    ] = 20,
    sampler: Annotated[
        str, typer.Option("--sampler", metavar="tpe|random", help="With --search: who proposes them.")
    ] = "tpe",
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="slurm", help="Queue the runs on a cluster and return. Needs submitit."),
    ] = None,
    slurm: Annotated[
        list[str],
        typer.Option(
            "--slurm", metavar="KEY=VALUE", help="With --on slurm: partition=gpu, time=60. Repeatable."
        ),
    ] = [],  # noqa: B006
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --on slurm: print the job scripts, and queue nothing.")
    ] = False,
    set_: Set = [],  # noqa: B006
    output: Annotated[
        str | None,
        typer.Option(
            "--output", metavar="FOLDER", help="The folder of all runs, instead of each config's output."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, metavar="N", help="Runs side by side.")] = 1,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going/--fail-fast", help="Whether the others are still run when one has failed."
        ),
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Run again what is finished, too.")] = False,
    processes: Processes = "1",
    locked: Annotated[
        bool, typer.Option("--locked", help="Start a run only if all is as ptm lock pinned it.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML: a run is a test case.")
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            "--summary",
            metavar="FILE",
            help="Write a Markdown summary; also to GITHUB_STEP_SUMMARY where that is set.",
        ),
    ] = None,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say more: off a terminal also what each run says.")
    ] = False,
    json_: Json = False,
) -> None:
    """Train many configs: finished runs are skipped, broken ones resumed, one failure does not stop the others.

    The exit code is the worst of the runs': 1, 137, 5, 7, 3, 2, 6, 75, 4 (a missed bound), 0.
    """
    parse_processes(processes)
    options = [*(["--nproc", processes] if processes != "1" else []), *(["--locked"] if locked else [])]
    code = run(
        files,
        BatchOptions(
            at_once=jobs,
            keep_going=keep_going,
            overwrite=overwrite,
            as_json=json_,
            junit=junit,
            summary=summary,
            options=tuple(options),
            quiet=quiet,
            verbose=verbose,
            search=parse_search(search, trials, sampler),
            cluster=parse_cluster(on, slurm, dry_run=dry_run),
        ),
        seeds=parse_seeds(seeds) if seeds else [],
        grid=grid,
        changes=set_,
        output=output,
    )
    raise typer.Exit(code)


def run(
    configs: Sequence[Path],
    options: BatchOptions,
    *,
    seeds: Sequence[int] = (),
    grid: Sequence[str] = (),
    changes: Sequence[str] = (),
    output: str | None = None,
    finish: Callable[[BatchPlan, dict[str, Any]], list[str]] | None = None,
) -> int:
    """Plan, run, tell. Returns the exit code. ``finish``: adds to the record what all runs together come to, and says
    so in lines."""
    from ptm.experiment.batch import record, run_batch
    from ptm.experiment.batch_plan import plan_batch

    _refuse_outputs(options, configs)
    if options.search is not None:
        return _run_search(configs, options, seeds=seeds, grid=grid, changes=changes, output=output)
    plan = plan_batch(configs, seeds=seeds, grid=grid, changes=changes, output=output)
    _refuse_within(options, [job.output for job in plan.jobs])
    for fault in plan.faults:
        for problem in fault.problems:
            echo(f"error: {problem}", err=True)
    if options.cluster is not None:
        return _queue(plan, options, output)
    if options.at_once > 1 and any(job.spec.runtime.threads is None for job in plan.jobs):
        echo(
            f"{options.at_once} runs side by side, each with as many threads as there are cores: they wait for each "
            "other; set fewer: --set runtime.threads=1",
            err=True,
        )
    progress = watcher(len(plan.jobs), quiet=options.quiet, verbose=options.verbose)
    with progress:
        outcomes = run_batch(
            plan,
            progress,
            at_once=options.at_once,
            overwrite=options.overwrite,
            keep_going=options.keep_going,
            options=options.options,
        )
    content = record(plan, outcomes)
    lines = finish(plan, content) if finish is not None else []
    code = _tell(options, content)
    for line in [] if options.as_json else lines:
        echo(line)
    return code


def _tell(options: BatchOptions, content: Mapping[str, Any]) -> int:
    _write(options, content)
    with reader_may_go():
        _show(content, as_json=options.as_json)
    return int(content["exit_code"])


def parse_cluster(on: str | None, parameters: Sequence[str], *, dry_run: bool) -> Cluster | None:
    """What ``--on``, ``--slurm`` and ``--dry-run`` ask for. Raises ConfigError."""
    from ptm.errors import ConfigError

    if on is None:
        if parameters or dry_run:
            raise ConfigError(
                "--slurm and --dry-run go with --on slurm", where="ptm batch", cure="add --on slurm"
            )
        return None
    if on != "slurm":
        raise ConfigError(f"{on!r} is no cluster that it knows", where="--on", expected="slurm")
    from ptm.experiment.slurm import parse_parameters

    return Cluster(parameters=parse_parameters(parameters), dry=dry_run)


def _queue(plan: BatchPlan, options: BatchOptions, output: str | None) -> int:
    """Queue the runs and say under which numbers. Faulty configs decide about the exit code."""
    from ptm.experiment.batch import fault_outcomes, worst_code
    from ptm.experiment.slurm import FOLDER, submit

    assert options.cluster is not None
    folder = Path(output).expanduser().absolute() if output else Path("runs").absolute()
    record = submit(
        plan,
        folder / FOLDER,
        options.cluster.parameters,
        options=options.options,
        overwrite=options.overwrite,
        dry=options.cluster.dry,
    )
    faults = fault_outcomes(plan.faults)
    code = worst_code([fault.exit_code for fault in plan.faults])
    if options.as_json:
        echo_json({**record, "exit_code": code, "faults": faults})
    elif options.cluster.dry:
        for script in record["scripts"]:
            echo(script)
    else:
        for row in record["submitted"]:
            echo(f"{row['name']}: job {row['job']}")
        echo(f"{len(record['submitted'])} queued, {len(record['finished'])} finished already")
    return code


def parse_search(spaces: Sequence[str], trials: int, sampler: str) -> Search | None:
    """What ``--search``, ``--trials`` and ``--sampler`` ask for. Raises ConfigError."""
    if not spaces:
        return None
    from ptm.errors import ConfigError
    from ptm.experiment.search import Search, parse_space

    if sampler not in ("tpe", "random"):
        raise ConfigError(f"{sampler!r} is no sampler", where="--sampler", expected="tpe or random")
    return Search(
        spaces=tuple(map(parse_space, spaces)),
        trials=trials,
        sampler="tpe" if sampler == "tpe" else "random",
    )


def _run_search(
    configs: Sequence[Path],
    options: BatchOptions,
    *,
    seeds: Sequence[int],
    grid: Sequence[str],
    changes: Sequence[str],
    output: str | None,
) -> int:
    from ptm.errors import ConfigError
    from ptm.experiment.batch import record
    from ptm.experiment.search import run_search

    assert options.search is not None
    if len(configs) != 1 or grid or options.overwrite or options.cluster:
        raise ConfigError(
            "a search is of one config, without --grid, --overwrite and --on",
            where="--search",
            cure="search each config by itself; for a new search choose another --output",
        )
    total = options.search.trials * max(1, len(seeds))
    progress = watcher(total, quiet=options.quiet, verbose=options.verbose)
    with progress:
        plan, outcomes, search = run_search(
            configs[0],
            options.search,
            progress,
            changes=changes,
            seeds=seeds,
            output=output,
            at_once=options.at_once,
            keep_going=options.keep_going,
            options=options.options,
        )
    return _tell(options, {**record(plan, outcomes), "search": search})


def _refuse_outputs(options: BatchOptions, configs: Sequence[Path]) -> None:
    """Raises ConfigError for a file to write that is one of the configs, or cannot be written, before anything runs.

    A file that is there is replaced only if a batch wrote it: it may be data, or of a run.
    """
    from ptm.errors import ConfigError
    from ptm.experiment.outputs import require_report_file
    from ptm.report.batch import JUNIT_MARK, MARKDOWN_MARK

    given = (("--junit", options.junit, JUNIT_MARK), ("--summary", options.summary, MARKDOWN_MARK))
    for option, path, mark in given:
        if path is None:
            continue
        if any(path.resolve() == config.resolve() for config in configs):
            raise ConfigError("is one of the configs", where=f"{option} {path}", cure="choose another file")
        if option == "--summary" and options.junit is not None and path.resolve() == options.junit.resolve():
            raise ConfigError("is the file of --junit", where=f"{option} {path}", cure="choose another file")
        require_report_file(path.absolute(), option, mark)


def _refuse_within(options: BatchOptions, runs: Sequence[Path]) -> None:
    """Raises ConfigError for a file that would come to lie in a run: ptm deletes no run that holds anything else."""
    from ptm.errors import ConfigError

    for option, path in (("--junit", options.junit), ("--summary", options.summary)):
        if path is not None and any(run.resolve() in path.resolve().parents for run in runs):
            raise ConfigError("would lie in a run", where=f"{option} {path}", cure="choose another file")


def _write(options: BatchOptions, content: Mapping[str, Any]) -> None:
    from ptm.base import files
    from ptm.base.regular import open_regular
    from ptm.report.batch import junit, markdown, workflow_commands

    _refuse_outputs(options, ())  # put there meanwhile
    if options.junit is not None:
        files.write_file(options.junit.absolute(), junit(content))
    text = markdown(content)
    if options.summary is not None:
        files.write_file(options.summary.absolute(), files.utf8(text))
    step = os.environ.get("GITHUB_STEP_SUMMARY")
    if step:  # a file of the runner's that several steps add to
        try:
            with open_regular(Path(step), "a", encoding="utf-8") as file:
                file.write(text)
        except (OSError, ValueError) as error:  # what came of the runs is told all the same
            reason = getattr(error, "strerror", None) or error
            echo(f"warning: GITHUB_STEP_SUMMARY {step} cannot be written: {reason}", err=True)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in workflow_commands(content):
            echo(line, err=True)


def _show(content: Mapping[str, Any], *, as_json: bool) -> None:
    from ptm.report.batch import group_name, metric_names, shown_name, spread_text

    if as_json:
        echo_json(content)
        return
    names = metric_names(content["runs"])
    shown = {name: shown_name(content["runs"], name) for name in names}
    table = new_table()
    for column in ("run", "status", *shown.values(), "seconds"):
        table.add_column(column, overflow="fold")
    for row in content["runs"]:
        metrics = row.get("metrics") or {}
        values = [f"{metrics[name]:.4f}" if name in metrics else "" for name in names]
        add_row(table, row["name"], row["status"], *values, f"{row.get('seconds', 0):.1f}")
    echo_table(table)
    for group in content["groups"]:
        values = [
            f"{shown[name]} {spread_text(group['metrics'][name])}"
            for name in names
            if name in group["metrics"]
        ]
        counts = f"{group['runs']} of {group['of']} seeds"
        echo(f"{group_name(group)}, {counts}" + (f": {'; '.join(values)}" if values else ""))
    search = content.get("search")
    if search is not None and search["best"] is not None:
        best = search["best"]
        changes = " ".join(f"{key}={value}" for key, value in best["changes"].items())
        metric = shown_name(content["runs"], search["metric"])
        echo(f"best of {search['complete']} trials: {metric} {best['value']:.4f} with {changes}")
        echo(f"its run: {os.path.relpath(best['output'])}   study: {os.path.relpath(search['study'])}")
    bad = sum(row["exit_code"] != 0 for row in content["runs"])
    count = len(content["runs"])
    echo(f"{count} run{'s' if count > 1 else ''}, {f'{bad} not well' if bad else 'all well'}")
