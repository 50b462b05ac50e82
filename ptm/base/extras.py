"""Packages that only some uses of ptm need: the extras of ``pip install 'ptm[NAME]'``."""

from __future__ import annotations

from importlib.util import find_spec

from ptm.errors import ConfigError


def require_package(package: str, extra: str) -> None:
    """Raise ConfigError with the command that installs it, where a package is not there."""
    if find_spec(package) is None:
        raise ConfigError(
            f"needs the package {package}, which is not installed",
            where=f"ptm[{extra}]",
            cure=f"pip install '{package}', or ptm with its extra: pip install 'ptm[{extra}]'",
        )
