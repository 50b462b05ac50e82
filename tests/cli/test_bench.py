"""Issue 15: numbers of the command line that would fill the memory are refused before anything is read."""

import pytest
from typer.testing import CliRunner

from ptm.cli.app import app


@pytest.mark.parametrize("option", ["--steps", "--rounds"])
def test_15_15_bench_takes_no_numbers_without_end(option):
    result = CliRunner().invoke(app, ["bench", "no_such.yaml", option, "100000000000"])
    assert result.exit_code == 2 and "1000" in result.output and "no_such" not in result.output
