"""``ptm finetune``, ``ptm pretrain`` and ``ptm distill``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptm.base.standard_input import STANDARD_INPUT, standard_input
from ptm.cli.options import (
    Config,
    Json,
    Locked,
    Offline,
    Processes,
    Quiet,
    Set,
    Verbose,
    count_processes,
    new_reporter,
    parse_processes,
    parse_seeds,
    takes,
)
from ptm.cli.show import show_config, show_results, show_verdict
from ptm.cli.streams import reader_may_go

if TYPE_CHECKING:
    from ptm.base.console import Reporter
    from ptm.config.commands import Command
    from ptm.config.spec import RunSpec
    from ptm.experiment.batch_plan import BatchPlan
    from ptm.run.lockfile import Pins
    from ptm.run.opening import Mode


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What every command that trains takes."""

    config: Config
    changes: Set = field(default_factory=list)
    # A string: the path of "" would be the working directory.
    output: Annotated[
        str | None,
        typer.Option("--output", metavar="PATH", help="The run directory, instead of the config's."),
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped.")] = False
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the run that is there and start anew.")
    ] = False
    processes: Processes = "1"
    print_config: Annotated[
        bool,
        typer.Option(
            "--print-config",
            help="Print the config with every default and where each value comes from, and do not run it.",
        ),
    ] = False
    offline: Offline = False
    quiet: Quiet = False
    verbose: Verbose = False
    as_json: Json = False
    allow_drift: Annotated[
        bool,
        typer.Option(
            "--allow-drift", help="With --resume: go on although inputs changed; the record says so."
        ),
    ] = False
    locked: Locked = False

    @property
    def mode(self) -> Mode:
        """How the run directory is opened. Raises ConfigError for a contradiction."""
        from ptm.errors import ConfigError

        if self.resume and self.overwrite:
            raise ConfigError("--resume and --overwrite contradict each other", cure="give one of them")
        return "resume" if self.resume else "overwrite" if self.overwrite else "new"

    @property
    def overrides(self) -> list[str]:
        """All changes to the config, ``--output`` last."""
        return self.changes if self.output is None else [*self.changes, f"output={json.dumps(self.output)}"]


Seeds = Annotated[
    str | None,
    typer.Option("--seeds", metavar="1,2,3", help="Train once with each of these seeds: see ptm batch."),
]


@takes(TrainingOptions)
def finetune(
    options: TrainingOptions,
    seeds: Seeds = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            metavar="K",
            help="Cross-validation: train K models, each evaluated on its fold of train, and pool what they predict.",
        ),
    ] = None,
) -> None:
    """Train a pre-trained model on your data."""
    if folds is not None:
        _train_folds(options, folds, seeds)
    else:
        _train_each("finetune", options, seeds) if seeds else _train("finetune", options)


@takes(TrainingOptions)
def pretrain(options: TrainingOptions, seeds: Seeds = None) -> None:
    """Train a language model on text without labels, from scratch or further."""
    _train_each("pretrain", options, seeds) if seeds else _train("pretrain", options)


@takes(TrainingOptions)
def distill(
    options: TrainingOptions,
    control: Annotated[
        bool, typer.Option("--control", help="Train the student without the teacher as well, and compare.")
    ] = False,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="1,2,3", help="Repeat both with each of these seeds.")
    ] = None,
) -> None:
    """Train a small model to do what a large one does."""
    if control or seeds:
        options = replace(options, changes=[*options.changes, "distill.control=true"])
    _train("distill", options, seeds)


def _train(command: Command, options: TrainingOptions, seeds: str | None = None) -> None:
    from ptm.base.allocator import keep_freed_memory
    from ptm.base.launch import is_first_process, launch
    from ptm.config.commands import require_command
    from ptm.config.load import load_config
    from ptm.errors import Interrupted
    from ptm.run.lockfile import read_lock

    mode = options.mode
    if options.print_config:
        _show_config(options)
        return
    reporter = new_reporter(quiet=options.quiet, verbose=options.verbose)
    spec = load_config(options.config, options.overrides)
    require_command(command, spec, options.config)
    processes = count_processes(options.processes, spec)
    if mode == "resume" and options.output is None:
        spec = _where_it_is(spec, options.config)
    pins = read_lock(options.config) if options.locked else None
    controlled = spec.distill is not None and spec.distill.control
    if is_first_process():
        from ptm.run.opening import refuse_early
        from ptm.run.ownership import input_paths, refuse_inputs_below

        # Before the seconds that torch takes to import.
        inputs = [("the config", options.config), *input_paths(spec)]
        if not controlled:
            refuse_early(Path(spec.output), mode, inputs)
        elif mode == "overwrite":
            refuse_inputs_below(Path(spec.output), inputs)
    if processes > 1 and "RANK" not in os.environ:
        content = standard_input() if str(options.config) == STANDARD_INPUT else None
        code = launch(sys.argv[1:], processes, stdin=content)
        # What Ctrl-C ended has said so itself: 130 of this process would make it say so again, in a second JSON object.
        raise typer.Exit(Interrupted.exit_code if code == 130 else code)
    keep_freed_memory()
    if controlled:
        chosen = parse_seeds(seeds) if seeds else [spec.train.seed]
        _train_both_arms(spec, options, pins, chosen, reporter)
    else:
        _train_one(spec, options, pins, reporter)


def _train_folds(options: TrainingOptions, folds: int, seeds: str | None) -> None:
    """A batch with a run for each fold of train; when all are finished, their predictions together."""
    from ptm.config.load import load_config
    from ptm.errors import ConfigError
    from ptm.experiment.folds import fold_changes, pool, require_place, told

    if seeds:
        raise ConfigError(
            "--folds and --seeds are two ways to repeat a run", where="--folds", cure="give one"
        )
    spec = load_config(options.config, options.overrides)
    changes, axis = fold_changes(spec, folds)
    place = Path(spec.output)
    require_place(place, options.config, spec)

    def finish(plan: BatchPlan, content: dict[str, Any]) -> list[str]:
        if any(run.get("metrics") is None for run in content["runs"]) or len(plan.jobs) < folds:
            return ["not all folds are finished: the same command goes on with them"]
        require_place(place, options.config, spec)  # put there meanwhile
        content["folds"] = pool([job.output for job in plan.jobs], spec, place)
        return told(content["folds"], place)

    _train_each("finetune", options, "", grid=[axis], changes=changes, finish=finish)


def _train_each(
    command: Command,
    options: TrainingOptions,
    seeds: str,
    *,
    grid: Sequence[str] = (),
    changes: Sequence[str] = (),
    finish: Callable[[BatchPlan, dict[str, Any]], list[str]] | None = None,
) -> None:
    """A batch of one config: runs that are finished are not run again, broken ones go on."""
    from ptm.cli import batch
    from ptm.config.commands import require_command
    from ptm.config.load import load_config

    mode = options.mode
    if options.print_config:
        _show_config(options)
        return
    require_command(command, load_config(options.config, options.overrides), options.config)
    parse_processes(options.processes)
    nproc = ["--nproc", options.processes] if options.processes != "1" else []
    flags = [*(["--locked"] if options.locked else []), *(["--allow-drift"] if options.allow_drift else [])]
    how = batch.BatchOptions(
        overwrite=mode == "overwrite",
        as_json=options.as_json,
        options=(*nproc, *flags),
        quiet=options.quiet,
        verbose=options.verbose,
    )
    code = batch.run(
        [options.config],
        how,
        seeds=parse_seeds(seeds) if seeds else (),
        grid=grid,
        changes=[*options.overrides, *changes],
        finish=finish,
    )
    raise typer.Exit(code)


def _show_config(options: TrainingOptions) -> None:
    named = None if options.output is None else options.overrides[-1]
    show_config(options.config, options.overrides, as_json=options.as_json, output=named)


def _where_it_is(spec: RunSpec, config: Path) -> RunSpec:
    """A run that was moved goes on where it is, if it is resumed by the config in it."""
    from ptm.run.ownership import is_run

    here = config.resolve().parent
    moved = config.name == "config.yaml" and is_run(here) and not is_run(Path(spec.output))
    return replace(spec, output=str(here)) if moved else spec


def _train_one(spec: RunSpec, options: TrainingOptions, pins: Pins | None, reporter: Reporter) -> None:
    """Results first, then exit code 4 for a bound that was missed."""
    from ptm.base.launch import is_first_process
    from ptm.config.expect import require_met
    from ptm.experiment.train import run_training

    results = run_training(
        spec,
        mode=options.mode,
        reporter=reporter,
        allow_drift=options.allow_drift,
        pins=pins,
    )
    if is_first_process():
        with reader_may_go():
            show_results(results, as_json=options.as_json)
        require_met({"": results.expect}, results.positive_label)


def _train_both_arms(
    spec: RunSpec, options: TrainingOptions, pins: Pins | None, seeds: list[int], reporter: Reporter
) -> None:
    """The verdict first, then exit code 4 for a bound that was missed."""
    from ptm.base.launch import is_first_process
    from ptm.config.expect import Expectation, require_met
    from ptm.experiment.control import run_with_control

    if pins is not None:
        from ptm.experiment.prepare import make_pins
        from ptm.run.lockfile import require_unchanged

        require_unchanged(pins, make_pins(spec, reporter), options.config)
    verdict = run_with_control(
        spec, seeds, mode=options.mode, reporter=reporter, allow_drift=options.allow_drift
    )
    if is_first_process():
        output = Path(spec.output)
        with reader_may_go():
            show_verdict(verdict, output, as_json=options.as_json)
        bounds = {name: [Expectation(**b) for b in run["expect"]] for name, run in verdict["runs"].items()}
        require_met({str(output / name): held for name, held in bounds.items()})
