"""``ptm report`` and ``ptm reproduce``."""

import pytest
from typer.testing import CliRunner

from ptm.cli.app import app
from ptm.errors import ConfigError, PtmError


def invoke(*words):
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.mark.slow
def test_a_report_is_written_again_and_named(finished):
    (finished / "report.html").unlink()
    result = invoke("report", finished)
    assert result.exit_code == 0 and result.stdout == f"{finished / 'report.html'}\n"
    assert (finished / "report.html").stat().st_size > 1000


@pytest.mark.parametrize("distance", ["inf", "nan", "-1", "1e400"])
def test_15_09_a_tolerance_that_is_no_distance_is_refused(distance, tmp_path):
    """Within an infinite one is everything, within NaN nothing."""
    error = invoke("reproduce", tmp_path, "--tolerance", distance).exception
    assert isinstance(error, ConfigError) and "is no distance" in str(error)


@pytest.mark.parametrize("command", ["report", "reproduce"])
def test_a_folder_that_is_no_run_is_refused(command, tmp_path):
    assert isinstance(invoke(command, tmp_path).exception, PtmError)
    assert list(tmp_path.iterdir()) == []
