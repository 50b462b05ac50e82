"""manifest.json: written and read back, and what changed between two of them."""

import json
from dataclasses import replace

import pytest

from ptm.run.manifest import changes, flat, read_manifest, write_manifest
from records import RECORD


def test_a_record_reads_back_as_it_was_written(tmp_path):
    record = replace(RECORD, extended=((2, 4),), drift=("python: 3.11 → 3.12",), git={"commit": "a"})
    write_manifest(tmp_path / "manifest.json", record)
    assert read_manifest(tmp_path / "manifest.json") == record
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["schema"] == RECORD.schema and content["digests"]["data"] == {"train": "2" * 64}


def test_15_10_another_tokenizer_is_a_change_where_the_record_says_which_it_was():
    now = replace(RECORD, digests=replace(RECORD.digests, models={"model": "b"}))
    before = replace(RECORD, digests=replace(RECORD.digests, models={"model": "a"}))
    assert changes(before, now) == ("digests.models.model: a → b",)
    assert changes(RECORD, now) == ()


def test_what_a_newer_version_wrote_besides_is_ignored(tmp_path):
    content = RECORD.as_dict() | {"new": 1}
    content["hardware"]["new"] = 2
    (tmp_path / "m").write_text(json.dumps(content))
    assert read_manifest(tmp_path / "m") == RECORD


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", "[" * 100_000, '{"ptm": 1}', "\xff"], ids=range(8)
)
def test_something_else_in_its_place_is_none(tmp_path, text):
    (tmp_path / "m").write_bytes(text.encode("latin-1"))
    assert read_manifest(tmp_path / "m") is None
    assert read_manifest(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("key", "value"), [("seed", "many"), ("labels", "a"), ("packages", []), ("hardware", None)]
)
def test_a_value_of_another_type_is_no_record(tmp_path, key, value):
    (tmp_path / "m").write_text(json.dumps(RECORD.as_dict() | {key: value}))
    assert read_manifest(tmp_path / "m") is None


def test_inputs_that_differ_are_named_in_order_and_others_are_not():
    new = replace(
        RECORD,
        ptm="9.9",
        created="later",
        command="other",
        seed=7,
        python="3.12.0",
        packages={"torch": "2.12", "timm": "1.0"},
        digests=replace(RECORD.digests, config="f" * 64, data={"train": "9" * 64}),
    )
    assert changes(RECORD, RECORD) == ()
    assert changes(RECORD, new) == (
        f"digests.data.train: {'2' * 64} → {'9' * 64}",
        "packages.timm: None → 1.0",
        "packages.torch: 2.11 → 2.12",
        "python: 3.11.7 → 3.12.0",
    )


def test_nested_mappings_have_dotted_names():
    assert flat({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}
    assert flat({}) == {} and flat({"a": {}}) == {}
