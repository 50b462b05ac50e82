"""metrics.jsonl: appended, cut back to a checkpoint, and every number written."""

import json
import math

import pytest

from ptm.errors import StorageError
from ptm.run.log import MetricsLog


def test_lines_are_appended_as_json(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.write({"step": 1, "loss": 0.5})
    log.write({"step": 2, "loss": math.nan, "parts": {"a": [math.inf, -math.inf, 1]}, "label": "é"})
    MetricsLog(path).write({"step": 3})
    first, second, third = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(first) == {"step": 1, "loss": 0.5}
    assert json.loads(second) == {"step": 2, "loss": "nan", "parts": {"a": ["inf", "-inf", 1]}, "label": "é"}
    assert "é" in second and json.loads(third) == {"step": 3}


def test_what_was_written_after_a_checkpoint_is_forgotten(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.write({"step": 1})
    length = log.sync()
    assert length == path.stat().st_size == len('{"step": 1}\n')
    log.write({"step": 2})
    log.cut(length)
    assert path.read_text() == '{"step": 1}\n'
    log.cut(1000)  # a log that lost its end is not filled up
    assert path.stat().st_size == length
    log.write({"step": 2})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


def test_other_processes_write_nothing_and_a_log_that_is_not_there_has_no_length(tmp_path):
    log = MetricsLog(None)
    log.write({"step": 1})
    log.cut(0)
    assert log.sync() == MetricsLog(tmp_path / "none").sync() == 0
    MetricsLog(tmp_path / "none").cut(5)
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_is_no_utf_8_is_escaped(tmp_path):
    MetricsLog(tmp_path / "m").write({"where": "\udcff"})
    assert b"\\udcff" in (tmp_path / "m").read_bytes()


def test_a_log_that_cannot_be_written_is_told_with_its_path(tmp_path):
    (tmp_path / "m").mkdir()
    with pytest.raises(StorageError, match=r"/m: is a directory|is a directory"):
        MetricsLog(tmp_path / "m").write({})
