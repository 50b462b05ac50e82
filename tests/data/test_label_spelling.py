"""Labels that look alike, and what a config can say of them."""

from dataclasses import replace

import pytest

from ptm.config.spec import DataSpec
from ptm.data.label_spelling import alike
from ptm.data.tabular import load_dataset
from ptm.errors import DataError
from tiny.samples import write_csv, write_jsonl, write_parquet

TEXT = {"text": "text"}


def load(tmp_path, cells, own=None, **keys):
    write_csv(tmp_path / "a.csv", [(f"t{i}", label) for i, label in enumerate(cells)])
    spec = DataSpec(source=f"csv:{tmp_path}", train="a", eval="a", **keys)
    data = load_dataset(spec, TEXT, labels=own)
    return replace(data, warnings=tuple(w for w in data.warnings if "also stand in train" not in w.what))


@pytest.mark.parametrize(
    "group",
    [
        (
            "positive",
            "Positive",
            "positive ",
            "POSITIVE",
            " positive",
            "positive\u200b",
            "“positive”"[1:-1] + ".",
        ),
        ("caf\u00e9", "cafe\u0301"),
        ("very good", "very_good", "Very  Good", "very-good", "very\u00a0good"),
        ("1", "1.0", "01", "+1", "\uff11", "true", "TRUE", "yes"),
        ("0.5", ".5", "0.50"),
        ("0", "False", "no"),
        ("nan", "NaN", "None", "N/A", "null"),
    ],
)
def test_10_08_what_looks_alike(group):
    others = ("another", "7", "B-PER")
    assert alike((*group, *others)) == [group]


@pytest.mark.parametrize(
    "names",
    [
        ("a", "b"),
        ("A", "A-"),
        ("+", "-"),
        ("n", "f", "t", "y"),
        ("1", "-1"),
        ("B-PER", "I-PER"),
        ("C", "C++"),
    ],
)
def test_10_08_what_does_not(names):
    assert alike(names) == []


def test_10_08_near_equal_labels_are_told_with_counts_and_rows(tmp_path):
    rows = ["positive"] * 5 + ["negative"] * 4 + ["Positive", "positive ", "Positive", "NEGATIVE"]
    data = load(tmp_path, rows)
    assert len(data.labels) == 5
    texts = [str(warning) for warning in data.warnings if "look alike" in warning.what]
    assert len(texts) == 2
    text = next(text for text in texts if "positive" in text)
    assert "'positive' (5 rows" in text and "'Positive' (2 rows, first " in text and "a.csv:11)" in text
    assert '"Positive": "positive"' in text and '"positive ": "positive"' in text


def test_10_08_the_cure_works_as_it_is_printed(tmp_path):
    from ptm.config.load import parse_config

    rows = ["positive"] * 5 + ["negative"] * 4 + ["Positive", "positive ", "0", "1", "False", "TRUE"]
    data = load(tmp_path, rows)
    lines = [warning.cure.partition("one: ")[2].partition("; if")[0] for warning in data.warnings]
    merged = {}
    for line in filter(None, lines):
        text = (
            f"version: 1\ntask: text-classification\nmodel: {{name: m}}\ndata: {{source: 'csv:{tmp_path}'}}\n"
        )
        text += "train: {epochs: 1, learning_rate: 0.1}\noutput: r\n"
        key, _, value = line.partition(": ")
        merged |= parse_config(text, "c", [f"{key}={value}"], base=tmp_path, cwd=tmp_path).data.label_map
    again = load(tmp_path, rows, label_map=merged)
    assert len(again.labels) == 4 and not any("look alike" in warning.what for warning in again.warnings)


def test_10_08_truth_values_and_numbers(tmp_path):
    data = load(tmp_path, ["0", "1", "False", "TRUE"] * 3)
    assert sum("look alike" in warning.what for warning in data.warnings) == 2
    data = load(tmp_path, ["nan", "a", "b"] * 3)
    assert "spells a missing value" in data.warnings[0].what and "'nan' (3 rows" in data.warnings[0].what
    data = load(tmp_path, ["1", "1.0", "01", "2"] * 3)
    assert data.labels == ("1", "2")
    assert "is written as" in data.warnings[0].what


def test_10_08_names_that_the_config_states_are_meant(tmp_path):
    assert not load(tmp_path, ["a", "A"] * 3, labels=("A", "a")).warnings


def test_10_08_an_unknown_spelling_is_refused_with_the_map_that_cures_it(tmp_path):
    with pytest.raises(DataError) as caught:
        load(tmp_path, ["positive", "negative", "Positive"], labels=("negative", "positive"))
    assert 'data.label_map: {"Positive": "positive"}' in caught.value.problems[0].cure


# Matched by value, never by position in silence


def test_10_07_numbers_match_by_value(tmp_path):
    own = ("1.0", "2.0", "3.0", "4.0", "5.0")
    data = load(tmp_path, ["1", "4", "2", "3"], own=own)
    assert data.eval.targets.tolist() == [0, 3, 1, 2]
    write_jsonl(tmp_path / "n.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": 4.0}])
    data = load_dataset(DataSpec(source=f"json:{tmp_path}", train="n", eval="n"), TEXT, labels=own)
    assert data.eval.targets.tolist() == [0, 3] and not data.warnings[:0]
    assert load(tmp_path, ["1.0", "2.0", "1.0"], own=("2", "1")).eval.targets.tolist() == [1, 0, 1]
    assert load(tmp_path, [".5", "1.50"], own=("0.5", "1.5")).eval.targets.tolist() == [0, 1]


def test_10_07_truth_values_match_by_name(tmp_path):
    write_jsonl(tmp_path / "n.jsonl", [{"text": "a", "label": True}, {"text": "b", "label": False}])
    spec = DataSpec(source=f"json:{tmp_path}", train="n", eval="n")
    assert load_dataset(spec, TEXT, labels=("true", "false")).eval.targets.tolist() == [0, 1]


def test_10_07_positions_are_said(tmp_path):
    data = load(tmp_path, ["0", "1", "0"], own=("fraud", "ok"))
    assert data.eval.targets.tolist() == [0, 1, 0]
    assert "matched by position: 0 = fraud, 1 = ok" in data.warnings[0].what
    assert not load(tmp_path, ["ok", "fraud"], own=("fraud", "ok")).warnings


def test_10_07_other_names_are_never_matched_by_position(tmp_path):
    write_parquet(tmp_path / "p.parquet", ["bad", "good"], text=["a", "b"], label=[0, 1])
    spec = DataSpec(source=f"parquet:{tmp_path}", train="p", eval="p")
    with pytest.raises(DataError, match="those of the model pos, neg"):
        load_dataset(spec, TEXT, labels=("pos", "neg"))
    spec = DataSpec(
        source=f"parquet:{tmp_path}", train="p", eval="p", label_map={"bad": "neg", "good": "pos"}
    )
    assert load_dataset(spec, TEXT, labels=("pos", "neg")).eval.targets.tolist() == [1, 0]
    spec = DataSpec(source=f"parquet:{tmp_path}", train="p", eval="p", labels=("minus", "plus"))
    assert "bad = minus, good = plus" in load_dataset(spec, TEXT).warnings[0].what


def test_10_07_folders_with_padded_numbers_are_their_numbers(tmp_path):
    for name in ("01", "02", "03"):
        (tmp_path / "val" / name).mkdir(parents=True)
        (tmp_path / "val" / name / "1.png").write_bytes(name.encode())
    spec = DataSpec(source=f"imagefolder:{tmp_path}", eval="val")
    data = load_dataset(spec, {"image": "image"}, labels=("1", "2", "3"), train=False)
    assert data.eval.targets.tolist() == [0, 1, 2]
