"""Lines with ``__label__``: one label or several, before the text or behind it."""

import pytest

from ptm.data.fasttext import read_fasttext
from ptm.data.text_format import TextFormat
from ptm.errors import DataError

ROLES = {"text": "text", "label": "label"}


@pytest.fixture
def read(tmp_path):
    def of(content, roles=ROLES):
        path = tmp_path / "a.txt"
        path.write_text(content, encoding="utf-8")
        return read_fasttext(path, roles, TextFormat()), path

    return of


def test_11_06_a_label_a_line(read):
    table, path = read("__label__pos a good film\n\n__label__neg  how bad ,\tand long\nso so __label__pos\n")
    assert table.columns == {
        "text": ["a good film", "how bad ,\tand long", "so so"],
        "label": ["pos", "neg", "pos"],
    }
    assert table.where(1) == f"{path}:3"
    assert read("__label__a x\nonly a text\n", {"text": "text"})[0].columns == {"text": ["x", "only a text"]}


def test_11_06_several_labels_a_line(read):
    table, _ = read("__label__a __label__b-c a text\n__label__a other\n__label__a __label__a twice\n")
    assert table.columns["label"] == [["a", "b-c"], ["a"], ["a"]]


BAD = [
    ("__label__a x\nno label\n", "no label here", ":2"),
    ("__label__ x\n", "a label without a name", ":1"),
    ("__label__a,__label__b x\n", "labels without a blank between them", ":1"),
    ("__label__a x __label__b y\n", "a label within the text", ":1"),
    ("x\ny\n", "no column 'label'", ""),
    ("", "the file is empty", ""),
]


@pytest.mark.parametrize(("content", "what", "line"), BAD)
def test_11_06_what_is_wrong_is_refused_with_its_line(read, tmp_path, content, what, line):
    with pytest.raises(DataError) as caught:
        read(content)
    (problem,) = caught.value.problems
    assert (problem.what, problem.where) == (what, f"{tmp_path / 'a.txt'}{line}")


def test_15_15_a_long_line_takes_no_square_of_its_length(read):
    table, _ = read(f"a{' ' * 100_000}b __label__x\nc{' __label__y' * 20_000}\n__label__z{' d' * 50_000}\n")
    assert table.columns["label"] == ["x", "y", "z"] and table.columns["text"][1] == "c"
    with pytest.raises(DataError, match="a label within the text"):
        read(f"a{' __label__a' * 20_000} b\n")
