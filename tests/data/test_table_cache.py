"""Issue 13, line 6: a large file is read once; its rows come back mapped, by the digest of its bytes alone."""

import json
import os
import tracemalloc

import pytest

from ptm.config.data_section import DataSpec
from ptm.data import separated, tables
from ptm.data.tables import read_csv, read_json, read_lines, read_parquet, read_tsv
from ptm.data.tabular import load_dataset
from ptm.data.text_format import TextFormat
from ptm.errors import DataError
from tiny.samples import write_parquet

ROWS = [(f"sentence {n} é", ("good", "bad")[n % 3 == 0]) for n in range(60)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and every file worth keeping."""
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "LEAST_BYTES", 0)
    return tmp_path / "cache" / "data"


def write(folder, kind):
    folder.mkdir(exist_ok=True)
    path = folder / f"rows.{kind}"
    if kind == "parquet":
        write_parquet(path, text=[t for t, _ in ROWS], label=[y for _, y in ROWS])
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"text": t, "label": y}) + "\n\n" for t, y in ROWS))
    elif kind == "json":
        path.write_text(json.dumps([{"text": t, "label": y} for t, y in ROWS]))
    else:
        mark = {"csv": ";", "tsv": "\t", "txt": " "}[kind]
        path.write_text("".join(f"{t}{mark}{y}\n\n" for t, y in [("text", "label"), *ROWS]))
    return path


READERS = {
    "csv": read_csv,
    "tsv": read_tsv,
    "jsonl": read_json,
    "json": read_json,
    "txt": read_lines,
    "parquet": read_parquet,
}


def told(table):
    """All that a table says."""
    columns = {name: list(column) for name, column in table.columns.items()}
    places = [table.where(row) for row in range(len(table))]
    return columns, places, table.digest, table.label_names, table.notes


@pytest.mark.parametrize("kind", READERS)
def test_13_06_rows_come_back_as_they_were_read_and_the_file_is_not_read_again(
    kind, tmp_path, cache, monkeypatch
):
    path, columns = write(tmp_path, kind), ["text"] if kind == "txt" else ["text", "label"]
    monkeypatch.setattr(tables, "LEAST_BYTES", 10**9)
    plain = told(READERS[kind](path, columns))
    assert len(plain[1]) == (61 if kind == "txt" else 60) and not cache.exists()
    monkeypatch.setattr(tables, "LEAST_BYTES", 0)
    made = told(READERS[kind](path, columns))
    # Another name and date: what counts is what is in it.
    moved = tmp_path / "elsewhere" / path.name
    moved.parent.mkdir()
    path.rename(moved)
    os.utime(moved, (0, 0))
    for name in ("opened_text", "separated_rows", "json_records"):
        monkeypatch.setattr(tables, name, None)
    monkeypatch.setattr("pyarrow.parquet.ParquetFile", None)
    again = told(READERS[kind](moved, columns))
    assert made == plain
    here, there = str(path), str(moved)
    assert again[0] == plain[0] and again[2:4] == plain[2:4]
    assert again[1] == [place.replace(here, there) for place in plain[1]]
    assert [note.where for note in again[4]] == [note.where.replace(here, there) for note in plain[4]]
    assert [note.what for note in again[4]] == [note.what for note in plain[4]]
    assert kind != "csv" or len(plain[4]) == 1  # the semicolon, which is told


def test_13_06_another_content_column_or_way_of_writing_is_read_anew(tmp_path, cache):
    path = write(tmp_path, "tsv")
    read_tsv(path, ["text", "label"])
    date = path.stat()
    path.write_text(path.read_text().replace("sentence 7 ", "Sentence 7 "))
    os.utime(path, ns=(date.st_atime_ns, date.st_mtime_ns))  # as large and as old as before
    assert read_tsv(path, ["text", "label"]).columns["text"][7] == "Sentence 7 é"
    assert read_tsv(path, ["label"]).columns == {"label": [label for _, label in ROWS]}
    headless = read_tsv(path, ["0"], TextFormat(header=False))
    assert headless.columns["0"][0] == "text"
    assert len(list(cache.iterdir())) == 4


@pytest.mark.slow
def test_13_06_what_is_spoilt_in_the_cache_is_noticed_and_made_again(tmp_path, cache):
    path = write(tmp_path, "csv")
    plain = told(read_csv(path, ["text", "label"]))
    (entry,) = cache.iterdir()
    for name in sorted(file.name for file in entry.iterdir() if file.suffix in (".bin", ".crc")):
        content = bytearray((entry / name).read_bytes())
        content[len(content) // 2] ^= 4
        (entry / name).write_bytes(content)
        assert told(read_csv(path, ["text", "label"])) == plain
        assert (entry / name).read_bytes() != bytes(content), name


def test_13_06_what_is_refused_is_not_kept_and_refused_again_in_the_same_words(tmp_path, cache):
    path = write(tmp_path, "csv")
    path.write_text(path.read_text() + "one;two;three\n")
    messages = []
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            read_csv(path, ["text", "label"])
        messages.append(str(caught.value))
    assert messages[0] == messages[1] and messages[0].startswith(f"{path}:123: 3 fields")
    assert not cache.exists()


@pytest.mark.slow
def test_13_06_the_second_start_holds_no_lists_of_texts(tmp_path, cache, monkeypatch):
    texts = [f"{n} this sentence has a few words more than it needs" for n in range(50_000)]
    for name, rows in (("train", texts), ("eval", ["another one", "and one more"])):
        lines = (f"{text},{('good', 'bad')[n % 2]}\n" for n, text in enumerate(rows))
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "".join(lines))
    data = DataSpec(source=f"csv:{tmp_path}", train="train.csv", eval="eval.csv")
    first = load_dataset(data, {"text": "text"})
    calls = []
    rows_of = separated.separated_rows
    monkeypatch.setattr(tables, "separated_rows", lambda *a: calls.append(a) or rows_of(*a))
    tracemalloc.start()
    second = load_dataset(data, {"text": "text"})
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The class numbers are 0.4 MB, the keys that find examples in both splits 0.4 MB; a list of these texts would be 6.
    assert held < 1.5e6 and peak < 5e6, (held, peak)
    assert not calls
    assert second.train.columns["text"] == texts and (second.train.targets == first.train.targets).all()
    assert second.warnings == first.warnings and second.digests == first.digests
