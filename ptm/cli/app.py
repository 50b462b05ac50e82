"""The command line. A command parses, calls, prints; nothing heavy is imported until one needs it."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Any

import typer

from ptm import __version__
from ptm.base.collector import collect_rarely
from ptm.base.console import quiet_hub
from ptm.base.launch import Launcher, follow_launcher
from ptm.base.light_imports import import_lightly
from ptm.base.limits import native_fault, require_native_threads
from ptm.base.signals import Terminated, end_in_order
from ptm.cli import configs, runs, training
from ptm.cli.batch import batch
from ptm.cli.bench import bench
from ptm.cli.cache import cache
from ptm.cli.compare import compare
from ptm.cli.compare import runs as list_runs
from ptm.cli.env import completion, env
from ptm.cli.evaluate import evaluate
from ptm.cli.export import export
from ptm.cli.failure import json_requested, print_failure, tell
from ptm.cli.fetch import fetch
from ptm.cli.help import Command
from ptm.cli.init import init
from ptm.cli.models import models
from ptm.cli.predict import predict
from ptm.cli.printing import echo
from ptm.cli.push import card, push
from ptm.cli.serve import serve
from ptm.cli.streams import ReaderGone, open_streams, require_utf8
from ptm.cli.track import track
from ptm.cli.usage import problem_of
from ptm.errors import ConfigError, Problem, PtmError, StorageError

_CTRL_C = 130
# Commands that load libraries in native code, which start threads.
_COMPUTING = (
    "finetune",
    "pretrain",
    "distill",
    "eval",
    "predict",
    "export",
    "serve",
    "card",
    "lock",
    "reproduce",
    "bench",
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_TEMPORARY = "No usable temporary directory"  # how Python says that none takes a file
_COMPLETION = "_PTM_COMPLETE"  # the variable by which a shell asks what could follow
_WrongUse: Any = typer.BadParameter.__mro__[2]  # whatever the library says of a command line

app = typer.Typer(
    name="ptm",
    help="Fine-tune, distil and evaluate pre-trained models: each experiment one short YAML file.",
    no_args_is_help=True,
    add_completion=False,  # ptm completion prints the script, and writes into nobody's start files
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(requested: bool) -> None:
    if requested:
        echo(f"ptm {__version__}")
        raise typer.Exit


@app.callback()
def _ptm(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


# In the order in which --help lists them.
app.command(cls=Command)(training.finetune)
app.command(cls=Command)(training.pretrain)
app.command(cls=Command)(training.distill)
app.command(cls=Command)(batch)
app.command("eval", cls=Command)(evaluate)
app.command(cls=Command)(predict)
app.command(cls=Command)(compare)
app.command("runs", cls=Command)(list_runs)
app.command(cls=Command)(export)
app.command(cls=Command)(serve)
app.command(cls=Command)(models)
app.command(cls=Command)(init)
app.command(cls=Command)(configs.check)
app.command(cls=Command)(bench)
app.command(cls=Command)(fetch)
app.command(cls=Command)(configs.lock)
app.command(cls=Command)(configs.schema)
app.command(cls=Command)(runs.reproduce)
app.command(cls=Command)(runs.report)
app.command(cls=Command)(track)
app.command(cls=Command)(card)
app.command(cls=Command)(push)
app.add_typer(cache, name="cache")
app.command(cls=Command)(env)
app.command(cls=Command)(completion)


def main() -> None:
    """Entry point: every error a user can cause becomes one message and its exit code."""
    require_utf8()
    launcher = follow_launcher()
    open_streams()
    quiet_hub()
    import_lightly()
    collect_rarely()
    sys.exit(run(sys.argv[1:], launcher))


def _prepare_completion() -> None:
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()


def _require_working_directory() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise ConfigError(
            f"the working directory cannot be used: {error.strerror}", cure="cd to one that is there"
        ) from None


def _refused_by_the_system(error: OSError) -> StorageError:
    """What the system refuses at a place that it names is no bug of ptm's."""
    place = error.filename
    return StorageError(
        error.strerror or str(error),
        where=os.fsdecode(place) if isinstance(place, str | bytes) else place,
        expected="files and folders that can be read and written as the command needs",
    )


_LAST_DATE = 253_402_300_799  # the end of the year 9999, in seconds since 1970


def _require_source_date() -> None:
    """A date for builds that are to be the same again: libraries that read it fail on anything else, deep inside."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= _LAST_DATE):
        raise ConfigError(
            f"SOURCE_DATE_EPOCH is {text[:40]!r}",
            where="the environment",
            expected="seconds since 1970, in digits",
            cure="unset SOURCE_DATE_EPOCH, or SOURCE_DATE_EPOCH=$(date +%s)",
        )


def _full(error: OSError) -> StorageError:
    """A write tells of a full disk mostly without the name of the file."""
    place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    return StorageError(
        str(error.strerror) if place else f"a file cannot be written: {error.strerror}",
        where=place,
        expected="a disk that takes the file",
        cure=f"free some space, also in {_temporary()} (TMPDIR), or choose another --output",
    )


def _temporary() -> str:
    try:
        return gettempdir()
    except OSError:  # there is none that takes a file
        return os.environ.get("TMPDIR", "/tmp")


def run(arguments: Sequence[str], launcher: Launcher | None = None) -> int:
    """Run the command; what went wrong is told. Returns the exit code."""
    as_json = json_requested(arguments)
    try:
        # What is temporary is removed, and who reads JSON is told of every end.
        with end_in_order():
            return _run(arguments, launcher, as_json=as_json)
    except Terminated as end:
        name, code = signal.Signals(end.number).name, 128 + end.number
        if as_json:
            print_failure([Problem(f"stopped by {name}")], code)
        else:
            signal.raise_signal(end.number)  # who waits for this process is told as by any other
        return code


def _run(arguments: Sequence[str], launcher: Launcher | None, *, as_json: bool) -> int:
    try:
        try:
            _require_working_directory()
            _require_source_date()
            if _COMPLETION in os.environ:
                _prepare_completion()
            elif arguments and arguments[0] in _COMPUTING and not {"-h", "--help"} & set(arguments):
                require_native_threads()
            code = app(list(arguments), prog_name="ptm", standalone_mode=False) or 0
        finally:
            sys.stdout.flush()  # what it does not take is found out here, not after the end
        if code == _CTRL_C and as_json:
            print_failure([Problem("stopped by Ctrl-C, before anything was written")], code)
        return int(code)
    except PtmError as error:
        tell(error, launcher, as_json=as_json)
        return error.exit_code
    except _WrongUse as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # no fault, but nothing was done either
            echo(error.format_message(), err=True)
            return int(error.exit_code)
        tell(ConfigError(problem_of(error)), launcher, as_json=as_json)
        return int(error.exit_code)
    except ReaderGone:
        return 141
    except Terminated:
        raise
    except BaseException as error:
        refusal = native_fault(error)
        if refusal is None and isinstance(error, OSError):
            if error.errno in _FULL or _NO_TEMPORARY in str(error):
                refusal = _full(error)
            elif error.filename is not None:
                refusal = _refused_by_the_system(error)
        if refusal is not None:
            tell(refusal, launcher, as_json=as_json)
            return refusal.exit_code
        if as_json and isinstance(error, Exception) and os.environ.get("RANK", "0") == "0":
            what = f"a bug of ptm's: {type(error).__name__}: {error}"
            print_failure([Problem(what, cure="please report it")], 1)
        raise
