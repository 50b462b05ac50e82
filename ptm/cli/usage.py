"""What is wrong with a command line, in the form that all messages have: what, where, expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from ptm.errors import ConfigError, Problem, listing

_OWN_MESSAGE = ("--text", "--nproc", "--set")  # and --output of what trains, which is a key of the config


def problem_of(error: Any) -> Problem:
    """What the library of the command line found, as a problem.

    It is told by what the error carries, not by its class: the library has its own copy of click, or uses the one that
    is installed.
    """
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "ptm"
    usage = f"{command} --help says how it is used"
    kind = type(error).__name__
    if kind == "NoSuchOption":
        return _no_option(error.option_name, command, context)
    parameter = getattr(error, "param", None)
    if kind == "MissingParameter" and parameter is not None:
        return Problem(
            f"{_name(parameter)} is missing",
            where=command,
            expected=parameter.help or "",
            cure=_written(context) or usage,
        )
    if parameter is not None:
        return Problem(error.message, where=_name(parameter), expected=_expected(parameter), cure=usage)
    if getattr(
        error, "option_name", None
    ):  # an option without its value; the library does not say of what command
        alone = "does not take a value" in error.message
        cure = f"write {error.option_name}" + (" alone" if alone else " and its value")
        return Problem(error.message, where=error.option_name, cure=cure)
    if "No such command" in error.format_message():
        return _no_command(error, command, context)
    return Problem(error.format_message(), where=command, cure=usage)


def require_names(parameters: Sequence[Any], values: Mapping[str, Any]) -> None:
    """Raise ConfigError for an argument, or the value of an option, that is empty, as a variable that nobody set leaves
    it.

    The path of "" would be the working directory: the runs in it, compared or reported as if they had been named. And
    without --data, --split, --metric or --seeds a command does something else than was asked for.
    """
    for parameter in parameters:
        is_name = parameter.param_type_name == "argument" or parameter.metavar in ("FILE", "FOLDER")
        value = values.get(parameter.name)
        refused = _name(parameter) not in _OWN_MESSAGE and parameter.metavar != "PATH"
        if refused and "" in (value if isinstance(value, list | tuple) else [value]):
            raise ConfigError(
                "is empty",
                where=_name(parameter),
                expected=parameter.help or "the name of a file or folder",
                cure="name it; . is the working directory" if is_name else "give it a value, or leave it out",
            )


def _no_option(name: str, command: str, context: Any) -> Problem:
    known = [] if context is None else _options(context)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return Problem(
        f"there is no option {name}",
        where=command,
        expected=f"one of {listing(known)}" if known else "",
        cure=f"did you mean {close[0]}?" if close else f"{command} --help lists what it takes",
    )


def _no_command(error: Any, command: str, context: Any) -> Problem:
    known = list(context.command.commands) if hasattr(context.command, "commands") else []
    name = error.message.partition("'")[2].partition("'")[0]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return Problem(
        f"there is no command {name!r}",
        where=command,
        expected=f"one of {listing(known)}",
        cure=f"did you mean {command} {close[0]}?" if close else f"{command} --help says what each does",
    )


def _options(context: Any) -> list[str]:
    names = [
        name
        for parameter in context.command.get_params(context)
        for name in (*parameter.opts, *parameter.secondary_opts)
    ]
    return [name for name in names if name.startswith("--")]


def _name(parameter: Any) -> str:
    """``--nproc``, or the name of an argument: ``CONFIG``."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return next((str(name) for name in parameter.opts if name.startswith("--")), str(parameter.opts[0]))


def _expected(parameter: Any) -> str:
    words = str(parameter.help or "")
    option = parameter.param_type_name == "option" and parameter.metavar
    return f"{_name(parameter)} {parameter.metavar}: {words}" if option else words


def _written(context: Any) -> str:
    """How the command is written: ``ptm finetune CONFIG``."""
    if context is None:
        return ""
    arguments = [
        _name(parameter)
        for parameter in context.command.get_params(context)
        if parameter.param_type_name == "argument" and parameter.required
    ]
    return f"write {context.command_path} {' '.join(arguments)}"
