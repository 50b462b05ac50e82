"""How a command that fails ends: a message a problem on standard error and, with ``--json``, one JSON object on
standard output, ``{"error": {"exit_code": …, "problems": [{"what", "where", "expected", "cure"}, …]}}``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict

from ptm.base.launch import Launcher
from ptm.cli.printing import echo, echo_json
from ptm.cli.streams import ReaderGone
from ptm.errors import ExpectationMissed, PeerLost, Problem, PtmError, StorageError


def json_requested(arguments: Sequence[str]) -> bool:
    """Whether ``--json`` is among the options, also where the command line is wrong otherwise: ``--json=yes``."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return any(option == "--json" or option.startswith("--json=") for option in options)


def tell(error: PtmError, launcher: Launcher | None, *, as_json: bool) -> None:
    """Say what is wrong; of several processes once.

    The first one speaks, but where it lost another it knows nothing, and leaves it to the launcher. Under torchrun the
    others speak when the first one may not know.
    """
    rank = os.environ.get("RANK", "0")
    if launcher is not None and (rank != "0" or isinstance(error, PeerLost)):
        launcher.report(error)
        return
    if rank != "0" and error.exit_code not in (1, 5):
        return
    who = "error" if rank == "0" else f"error (process {rank})"
    for problem in error.problems:
        echo(f"{who}: {problem}", err=True)
    # Who missed a bound has printed the results, and in them which one.
    if as_json and rank == "0" and not isinstance(error, ExpectationMissed):
        print_failure(error.problems, error.exit_code)


def print_failure(problems: Sequence[Problem], exit_code: int) -> None:
    """The JSON object, in one line."""
    content = {"error": {"exit_code": exit_code, "problems": [asdict(problem) for problem in problems]}}
    # Without a reader the exit code says it still.
    with suppress(StorageError, ReaderGone):
        echo_json(content, indent=None)
        sys.stdout.flush()
