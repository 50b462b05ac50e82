"""The command line. A command parses, calls, prints; nothing heavy is imported until one needs it."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptm.base.launch import Launcher, follow_launcher
from ptm.cli.cache import cache
from ptm.cli.evaluate import evaluate
from ptm.cli.failure import json_requested, print_failure, tell
from ptm.cli.models import models
from ptm.cli.options import Json, Locked, Set
from ptm.cli.predict import predict
from ptm.cli.show import show_results, show_scorecard, show_verdict
from ptm.cli.streams import ReaderGone, open_streams, reader_may_go, require_utf8
from ptm.errors import Problem, PtmError

if TYPE_CHECKING:
    from ptm.run.directory import Mode

_CTRL_C = 130
_WrongUse: Any = typer.BadParameter.__mro__[2]  # whatever the library says of a command line

app = typer.Typer(
    name="ptm",
    help="Fine-tune, distil and evaluate pre-trained models: each experiment one short YAML file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[Path, typer.Argument(help="The experiment: a YAML file.", show_default=False)]
Output = Annotated[
    str | None,  # a Path of "" would be the working directory
    typer.Option("--output", metavar="PATH", help="The run directory, instead of the config's."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Delete the run that is there and start anew.")]
AllowDrift = Annotated[
    bool,
    typer.Option("--allow-drift", help="With --resume: go on although inputs changed; the record says so."),
]
Processes = Annotated[
    int, typer.Option("--nproc", min=1, help="Processes on this machine that share the work.")
]


@app.command()
def finetune(
    config: Config,
    set_: Set = [],  # noqa: B006
    output: Output = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    nproc: Processes = 1,
    json_: Json = False,
    allow_drift: AllowDrift = False,
    locked: Locked = False,
) -> None:
    """Train a pre-trained model on your data."""
    _train("finetune", config, set_, output, resume, overwrite, nproc, json_, allow_drift, locked)


@app.command()
def pretrain(
    config: Config,
    set_: Set = [],  # noqa: B006
    output: Output = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    nproc: Processes = 1,
    json_: Json = False,
    allow_drift: AllowDrift = False,
    locked: Locked = False,
) -> None:
    """Train a language model on text without labels, from scratch or further."""
    _train("pretrain", config, set_, output, resume, overwrite, nproc, json_, allow_drift, locked)


@app.command()
def distill(
    config: Config,
    set_: Set = [],  # noqa: B006
    output: Output = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    nproc: Processes = 1,
    json_: Json = False,
    allow_drift: AllowDrift = False,
    locked: Locked = False,
    control: Annotated[
        bool, typer.Option("--control", help="Train the student without the teacher as well, and compare.")
    ] = False,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="1,2,3", help="Repeat both with each of these seeds.")
    ] = None,
) -> None:
    """Train a small model to do what a large one does."""
    changes = [*set_, "distill.control=true"] if control or seeds else set_
    _train("distill", config, changes, output, resume, overwrite, nproc, json_, allow_drift, locked, seeds)


app.command("eval")(evaluate)
app.command()(predict)
app.command()(models)
app.add_typer(cache, name="cache")


@app.command()
def lock(config: Config) -> None:
    """Pin what an experiment is made of, beside its config: digests of data and weights, label order, versions."""
    from ptm.config.load import load_config

    spec = load_config(config)
    from ptm.base.console import reporter_for
    from ptm.experiment.prepare import make_pins
    from ptm.run.lockfile import write_lock

    typer.echo(str(write_lock(config, make_pins(spec, reporter_for(sys.stderr)))))


@app.command()
def reproduce(
    run: Annotated[
        Path, typer.Argument(help="A finished run directory; it is only read.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Where to run it again and leave it (default: a temporary folder)."),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", min=0, help="How far a final metric may be off, if not bit-identical."),
    ] = 0.005,
    nproc: Annotated[
        int | None,
        typer.Option("--nproc", min=1, help="Processes that share the work, as many as the record says."),
    ] = None,
    json_: Json = False,
) -> None:
    """Run a recorded experiment again and say how far the result is from the record."""
    from ptm.base.console import reporter_for
    from ptm.experiment.reproduce import reproduce as run_again

    with ExitStack() as stack:
        target = output or Path(stack.enter_context(TemporaryDirectory(prefix="ptm-reproduce-"))) / "run"
        found = run_again(run, target, tolerance, reporter_for(sys.stderr), processes=nproc)
    if json_:
        kept = {} if output else {"output": None}  # a temporary folder is gone
        typer.echo(json.dumps(found.as_dict() | kept, indent=2))
    else:
        typer.echo(found.verdict)
        for name, far in found.distances.items():
            typer.echo(f"  {name}: {far:.6f} off" if far else f"  {name}: the same")
        if found.first_difference is not None:
            typer.echo(f"first different step: {found.first_difference}")
        for change in found.changed:
            typer.echo(f"changed: {change}")
    if not found.good:
        raise typer.Exit(4)


@app.command()
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
        typer.echo(str(problem), err=True)
    if problems:
        raise typer.Exit(code)
    seen = "" if data else "; data and models were not looked at (--data)"
    typer.echo(f"{len(files)} config{'s' if len(files) > 1 else ''}: no problem found{seen}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a config, for editors."""
    from ptm.config.load import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run directory.", show_default=False)],
    measure: Annotated[
        bool,
        typer.Option(help="A distilled run: measure teacher and student on this machine for the scorecard."),
    ] = True,
) -> None:
    """Write a run's report.html and README.md again; of a distilled run, with its scorecard."""
    from ptm.errors import PtmError
    from ptm.report.page import write_report
    from ptm.run.directory import RunDirectory, require_run

    require_run(run, "a directory that ptm finetune or distill wrote")
    results = RunDirectory(run).read_results()
    if measure and results is not None and results.teacher is not None:
        from ptm.base.console import reporter_for
        from ptm.experiment.scorecard import measure_scorecard

        try:
            show_scorecard(measure_scorecard(run, reporter_for(sys.stderr)))
        except PtmError as error:  # the teacher or the data are gone: the report is made all the same
            typer.echo(f"no scorecard: {error}", err=True)
    write_report(run)
    typer.echo(str(run / "report.html"))


def _train(
    command: str,
    config: Path,
    changes: list[str],
    output: str | None,
    resume: bool,
    overwrite: bool,
    nproc: int,
    as_json: bool,
    allow_drift: bool,
    locked: bool,
    seeds: str | None = None,
) -> None:
    from ptm.config.load import load_config
    from ptm.errors import ConfigError

    if resume and overwrite:
        raise ConfigError("--resume and --overwrite contradict each other", cure="give one of them")
    spec = load_config(config, [*changes, *([f"output={json.dumps(output)}"] if output is not None else [])])
    if command == "distill" and spec.teacher is None:
        raise ConfigError(
            "there is no teacher: to distil from", where=config, cure="add one, or use ptm finetune"
        )
    from ptm.config.tasks import TASKS

    if command == "pretrain" and not spec.descriptor.language_model:
        raise ConfigError(
            f"{spec.task} needs more than text",
            where=config,
            expected=f"task: {' or '.join(name for name, task in TASKS.items() if task.language_model)}",
            cure="use ptm finetune",
        )
    if command != "distill" and spec.teacher is not None:
        raise ConfigError(
            "this config has a teacher:, so it is a distillation",
            where=config,
            cure="use ptm distill, or leave the teacher out: --set teacher=null --set distill=null",
        )
    from ptm.run.lockfile import read_lock

    pins = read_lock(config) if locked else None
    mode: Mode = "resume" if resume else "overwrite" if overwrite else "new"
    controlled = spec.distill is not None and spec.distill.control
    if not controlled and os.environ.get("RANK", "0") == "0":
        from ptm.run.directory import refuse_early
        from ptm.run.ownership import input_paths

        inputs = [("the config", config), *input_paths(spec)]
        refuse_early(Path(spec.output), mode, inputs)  # before the seconds that torch takes to import
    if nproc > 1 and "RANK" not in os.environ:
        from ptm.base.launch import launch

        raise typer.Exit(launch(sys.argv[1:], nproc))
    from ptm.base.console import reporter_for
    from ptm.config.expect import Expectation, require_met
    from ptm.experiment.train import run_training

    if controlled:
        if pins is not None:
            from ptm.experiment.prepare import make_pins
            from ptm.run.lockfile import require_unchanged

            require_unchanged(pins, make_pins(spec, reporter_for(sys.stderr)), config)
        from ptm.experiment.control import run_with_control

        chosen = _seeds(seeds) if seeds else [spec.train.seed]
        verdict = run_with_control(
            spec, chosen, mode=mode, reporter=reporter_for(sys.stderr), allow_drift=allow_drift
        )
        if os.environ.get("RANK", "0") == "0":
            with reader_may_go():
                show_verdict(verdict, Path(spec.output), as_json=as_json)
            require_met(
                {
                    str(Path(spec.output) / name): [Expectation(**bound) for bound in run["expect"]]
                    for name, run in verdict["runs"].items()
                }
            )
        return
    results = run_training(
        spec, mode=mode, reporter=reporter_for(sys.stderr), allow_drift=allow_drift, pins=pins
    )
    if os.environ.get("RANK", "0") == "0":
        with reader_may_go():
            show_results(results, as_json=as_json)
        require_met({"": results.expect})


def _seeds(text: str) -> list[int]:
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


def main() -> None:
    """Entry point: every error a user can cause becomes one message and its exit code."""
    require_utf8()
    launcher = follow_launcher()
    open_streams()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    sys.exit(_run(launcher, as_json=json_requested(sys.argv[1:])))


def _run(launcher: Launcher | None, *, as_json: bool) -> int:
    """Run the command; what went wrong is told. Returns the exit code."""
    try:
        try:
            code = app(standalone_mode=False) or 0
        finally:
            sys.stdout.flush()  # what it does not take is found out here, not after the end
        if code == _CTRL_C and as_json:
            print_failure([Problem("stopped by Ctrl-C, before anything was written")], code)
        return int(code)
    except PtmError as error:
        tell(error, launcher, as_json=as_json)
        return error.exit_code
    except _WrongUse as error:
        error.show()
        if as_json:
            print_failure([Problem(error.format_message())], error.exit_code)
        return int(error.exit_code)
    except ReaderGone:
        return 141
    except Exception as error:
        if as_json and os.environ.get("RANK", "0") == "0":
            what = f"a bug of ptm's: {type(error).__name__}: {error}"
            print_failure([Problem(what, cure="please report it")], 1)
        raise
