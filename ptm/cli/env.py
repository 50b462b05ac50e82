"""``ptm env`` and ``ptm completion``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ptm.cli.options import Json
from ptm.cli.printing import echo, echo_json

_SHELLS = ("bash", "zsh", "fish")


def env(json_: Json = False) -> None:
    """Print what a bug report needs: versions, hardware, variables, the cache."""
    from ptm.experiment.environment import environment

    record = environment()
    if json_:
        echo_json(record)
        return
    for line in _lines(record):
        echo(line)


def _lines(record: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    for name, value in record.items():
        label = name.replace("_", " ") if not indent else name
        if isinstance(value, Mapping):
            lines += [f"{indent}{label}:", *_lines(value, indent + "  ")]
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            lines.append(f"{indent}{label}: {'none' if text in (None, '') else text}")
    return lines


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", show_default=False)],
) -> None:
    """Print what makes a shell complete commands, options and keys of --set."""
    from typer.completion import (  # type: ignore[attr-defined]
        completion_init,
        get_completion_script,
    )

    from ptm.errors import ConfigError

    if shell not in _SHELLS:
        raise ConfigError(
            f"{shell!r} is no shell that it knows", where="SHELL", expected=f"one of {', '.join(_SHELLS)}"
        )
    completion_init()
    echo(get_completion_script(prog_name="ptm", complete_var="_PTM_COMPLETE", shell=shell))
