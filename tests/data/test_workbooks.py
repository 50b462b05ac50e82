"""Sheets of Excel as tables: which sheet, what a cell says, what is refused with its cell."""

import re
import zipfile

import pytest

from ptm.data import packed
from ptm.data.inputs import text_inputs
from ptm.data.sources import read_split
from ptm.data.text_format import TextFormat
from ptm.data.workbooks import cell_name
from ptm.errors import ConfigError, DataError
from workbook_samples import Formula, write_workbook

COLUMNS = {"text": "text", "label": "label"}
ROWS = [["id", "text", " label "], [1, "good film", "pos"], [], [2, "bad, one", "neg"]]


def read(path, split=None, **how):
    return read_split(f"xlsx:{path}", split, COLUMNS, TextFormat(**how))


def test_11_04_the_rows_of_a_sheet(tmp_path):
    path = write_workbook(tmp_path / "a.xlsx", {"Reviews": ROWS, "Empty": []})
    table = read(path)
    assert table.columns == {"text": ["good film", "bad, one"], "label": ["pos", "neg"]}
    assert table.where(1) == f"{path}, sheet 'Reviews', row 4"
    (inputs,) = text_inputs([path], {"text": "text"})
    assert list(inputs.columns["text"]) == ["good film", "bad, one"]
    assert len(read(tmp_path, "a")) == 2


def test_11_04_cells_are_texts_as_in_a_csv(tmp_path):
    cells = [
        ["text", "label"],
        ["a", 1.0],
        ["b", 0.5],
        ["c", True],
        [5, "01"],
        ["d", Formula("1+1=2")],
        ["e", None],
    ]
    path = write_workbook(tmp_path / "a.xlsx", {"S": cells})
    table = read(path)
    assert table.columns["label"] == ["1", "0.5", "true", "01", "2", ""]
    assert table.columns["text"][3] == "5"


def test_11_04_the_sheet_is_named_or_the_only_one(tmp_path):
    sheets = {"train": ROWS, "dev": ROWS[:2], "notes": [["x"]]}
    path = write_workbook(tmp_path / "a.xlsx", sheets, hidden=["notes"])
    with pytest.raises(ConfigError, match="2 sheets hold something: 'train', 'dev'") as caught:
        read(path)
    assert caught.value.problems[0].cure.endswith("""--set 'data.sheet="train"'""")
    assert len(read(path, sheet="dev")) == 1
    assert (len(read(path, "train")), len(read(path, "dev"))) == (2, 1)
    with pytest.raises(ConfigError, match="there is no sheet 'test'"):
        read(path, "test")
    with pytest.raises(ConfigError, match="both name a sheet"):
        read(path, "train", sheet="dev")


BAD = [
    ([["text", "label"], ["a", Formula("A1")]], (), "cell B2", "a formula without a value"),
    ([["text", "label"], ["a", "#N/A"]], (), "cell B2", "the cell holds the error #N/A"),
    ([["title", None], ["text", "label"], ["a", "x"]], ["A1:B1"], "", "the header has merged cells, A1:B1"),
    (
        [["text", "label"], ["a", "x"], ["b", None]],
        ["B2:B3"],
        "",
        "merged cells, B2:B3: only the first has a value",
    ),
    ([["title"], ["text", "label"], ["a", "x"]], (), "row 1", "no column 'text'"),
    ([["text", "label", "label"], ["a", "x", "y"]], (), "row 1", "the column 'label' stands there twice"),
    ([["text", "label"]], (), "", "no rows below the header"),
]


@pytest.mark.parametrize(("rows", "merged", "place", "what"), BAD)
def test_11_04_what_is_refused_names_its_cell(tmp_path, rows, merged, place, what):
    path = write_workbook(tmp_path / "a.xlsx", {"S 1": rows}, merged=merged)
    with pytest.raises(DataError) as caught:
        read(path)
    problem = caught.value.problems[0]
    assert problem.what == what
    assert problem.where == f"{path}, sheet 'S 1'" + (f", {place}" if place else "")


def test_11_04_other_columns_may_hold_what_they_like(tmp_path):
    rows = [["text", "label", "x", None], ["a", "x", Formula("A1"), "#N/A"]]
    assert len(read(write_workbook(tmp_path / "a.xlsx", {"S": rows}, merged=["C3:D3"]))) == 1


def test_11_04_what_is_no_workbook_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.xlsx"
    path.write_text("text,label\na,x\n")
    with pytest.raises(DataError, match=r"this is no \.xlsx workbook"):
        read(path)
    with pytest.raises(DataError, match="xlsx: in data"):
        read_split(f"csv:{write_workbook(path, {'S': ROWS})}", None, COLUMNS)
    write_workbook(path, {"S": [*ROWS, *[["x" * 100, "a" * 5000, "b"]] * 100]})
    monkeypatch.setattr(packed, "_SURE", 100_000)
    with pytest.raises(DataError, match="bytes unpack to more than"):
        read(path)
    assert [cell_name(row, column) for row, column in ((0, 0), (6, 25), (9, 26), (0, 702))] == [
        "A1",
        "Z7",
        "AA10",
        "AAA1",
    ]


@pytest.mark.parametrize("place", ["XFD1048576", "SF200000", "ZZZZ99999999"])
def test_15_15_a_cell_far_from_the_others_is_refused(tmp_path, place):
    """The reader holds a sheet as a rectangle: of such a one it would take all memory, and end the process."""
    path = write_workbook(tmp_path / "a.xlsx", {"Reviews": ROWS})
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    row = re.sub("[A-Z]", "", place)
    cell = f'<row r="{row}"><c r="{place}" t="inlineStr"><is><t>x</t></is></c></row>'
    empty = '<row r="900000"><c r="XFD900000" s="1"/><c r="XFC900000"></c></row>'
    for more in (empty, empty + cell):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                end = b"</sheetData>"
                archive.writestr(name, content.replace(end, more.encode() + end))
        if more == empty:  # formats alone take no place
            assert read(path).columns["label"] == ["pos", "neg"]
    with pytest.raises(DataError, match="cells that hold something, over"):
        read(path)
