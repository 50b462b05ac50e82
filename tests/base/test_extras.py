"""Packages that only some uses need."""

import tomllib
from pathlib import Path

import pytest

from ptm.base.extras import EXTRAS, install, require_package
from ptm.errors import ConfigError

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_12_03_what_is_missing_is_named_with_the_command_that_installs_it():
    require_package("json", "search")
    with pytest.raises(ConfigError) as caught:
        require_package("no_such_package_at_all", "search")
    assert install("search") in str(caught.value)


def test_14_07_the_extras_are_those_of_the_project():
    own = {name: tuple(needs) for name, needs in PROJECT["optional-dependencies"].items() if name != "dev"}
    assert own == dict(EXTRAS)


def test_14_07_nobody_is_told_to_install_what_is_somebody_elses():
    root = Path(__file__).parents[2]
    places = [root / "README.md", *(root / "docs").rglob("*.md"), *(root / "configs").rglob("*.yaml")]
    for path in [*places, *(root / "ptm").rglob("*.py")]:
        assert "ptm[" not in path.read_text(encoding="utf-8").replace("python -m ptm[", ""), path
