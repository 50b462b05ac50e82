"""Files that are missing, cut off or damaged are noted, never an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptm.report.inputs import read_run
from report_runs import (
    FILES,
    make_predictions,
    make_run,
    ruin_file,
)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "binary", "list", "deep"])
def test_ruined_files_are_noted(tmp_path: Path, name: str, how: str) -> None:
    classes = ["negative", "positive"]
    run = make_run(tmp_path / "run", classes, make_predictions(classes, 40))
    ruin_file(run / name, how)
    notes = read_run(run).notes
    still_yaml = name == "config.yaml" and how in ("cut", "list")
    assert still_yaml or (len(notes) == 1 and notes[0].startswith(name))
