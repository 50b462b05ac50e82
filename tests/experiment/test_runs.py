"""``ptm runs``: what lies below a folder. Trained runs are listed in test_compare.py and test_split_results.py."""

from __future__ import annotations

import pytest

from ptm.errors import RunDirectoryError
from ptm.experiment.runs import list_runs


def test_a_folder_that_is_not_there_is_told_and_one_without_runs_is_empty(tmp_path):
    assert list_runs(tmp_path) == []
    with pytest.raises(RunDirectoryError, match="no such folder"):
        list_runs(tmp_path / "absent")
