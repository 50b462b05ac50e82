"""predictions.jsonl: a line an example, with where it stands and what it says."""

import json

import pytest

from ptm.run.predictions import prediction_lines, read_predictions


class Shown:
    """Examples with a text, but for the second one."""

    def named_example(self, split, index):
        assert split == "eval"
        return {"where": f"a.csv:{index + 2}"} | ({"text": f"é\u2028{index}"} if index != 1 else {})


ROWS = [{"id": 0, "label": "a", "prediction": "b"}, {"id": 1, "prediction": "b"}, {"id": 7, "loss": 0.5}]


def test_lines_say_where_an_example_stands_and_its_text(tmp_path):
    content = prediction_lines([dict(row) for row in ROWS], Shown())
    lines = content.decode().split("\n")
    assert lines[-1] == "" and len(lines) == 4
    assert json.loads(lines[0]) == {**ROWS[0], "where": "a.csv:2", "input": "é\u20280"}
    assert json.loads(lines[1]) == {**ROWS[1], "where": "a.csv:3"}
    (tmp_path / "p").write_bytes(content)
    rows = read_predictions(tmp_path / "p")
    assert list(rows) == [0, 1, 7] and rows[7]["input"] == "é\u20287"  # a text may hold a line separator


@pytest.mark.parametrize("content", [b"{", b"\xff\n", b'{"label": 1}\n'])
def test_what_is_no_such_file_is_an_error(tmp_path, content):
    (tmp_path / "p").write_bytes(content)
    with pytest.raises((ValueError, KeyError)):
        read_predictions(tmp_path / "p")
    with pytest.raises(OSError, match="No such file"):
        read_predictions(tmp_path / "none")


@pytest.mark.parametrize(
    "line",
    ['{"id": 0, "prediction": 1e999}', '{"id": 0, "prediction": NaN}', '{"id": true, "prediction": 1}'],
)
def test_15_08_numbers_that_are_none_are_no_predictions(line, tmp_path):
    """A mean over them was compared: better than infinity."""
    (tmp_path / "p").write_text(line + "\n")
    with pytest.raises(ValueError):
        read_predictions(tmp_path / "p")
