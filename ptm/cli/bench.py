"""``ptm bench``: where a training step's time goes, and what would help."""

from __future__ import annotations

from typing import Annotated

import typer

from ptm.cli.options import Config, Json, Offline, Quiet, Set, Verbose, new_reporter
from ptm.cli.printing import echo, echo_json


def bench(
    config: Config,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", min=1, max=1000, help="Steps that are timed at a time.")
    ] = 3,
    rounds: Annotated[
        int,
        typer.Option(
            "--rounds", metavar="N", min=1, max=1000, help="How often each setting is tried, in turn."
        ),
    ] = 3,
    set_: Set = [],  # noqa: B006
    quiet: Quiet = False,
    verbose: Verbose = False,
    offline: Offline = False,
    json_: Json = False,
) -> None:
    """Say where the time of a training step goes, and what would make it shorter, by trying it. Writes no run."""
    from ptm.base.allocator import keep_freed_memory
    from ptm.config.load import load_config

    reporter = new_reporter(quiet=quiet, verbose=verbose)
    spec = load_config(config, set_)
    from ptm.experiment.bench import run_bench

    keep_freed_memory()  # as a training does
    result = run_bench(spec, reporter, steps=steps, rounds=rounds)
    if result.thread_warning:
        reporter.say(f"warning: {result.thread_warning}")
    if result.doubts:
        reporter.say(f"warning: these figures are not those of a quiet machine: {'; '.join(result.doubts)}")
    if json_:
        echo_json(result.as_dict())
    else:
        for line in result.lines("images" if spec.descriptor.modality == "image" else "examples"):
            echo(line)
