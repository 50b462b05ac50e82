"""What of a source and of how its files are written is refused in the config, with its line."""

import pytest

from config_texts import TEXT, changed, only, refused


@pytest.mark.parametrize(
    ("source", "what", "cure"),
    [
        ("reviews.csv", "the source 'reviews.csv' does not say what it is", "write csv:reviews.csv"),
        ("a/b.JSONL", "the source 'a/b.JSONL' does not say what it is", "write json:a/b.JSONL"),
        ("data", "the source 'data' does not say what it is", "begin it with one of hub:, csv:, tsv:, json:"),
        ("cvs:a", "unknown kind of source 'cvs:'", "did you mean csv:a"),
        ("s3://x", "unknown kind of source 's3:'", "begin it with one of hub:, csv:"),
        ("csv:", "csv: names nothing", "write csv:NAME"),
        ("builtin:digits", "builtin: holds images, this is text-classification", "use hub:, csv:"),
    ],
)
def test_a_source_that_is_none(source, what, cure):
    problem = only(changed("source", f"  source: '{source}'"))
    assert (problem.where, problem.what) == ("run.yaml:5:11", what)
    assert problem.cure.startswith(cure)


@pytest.mark.parametrize(
    ("override", "what"),
    [
        (
            "data={source: 'json:a', train: a, eval: b, delimiter: ';'}",
            "delimiter is for csv: and tsv:, this is json:",
        ),
        ("data={source: 'csv:a', train: a, eval: b, sheet: one}", "sheet is for xlsx:, this is csv:"),
        ("data={source: 'csv:a', train: a, eval: b, encoding: klingon}", "there is no encoding 'klingon'"),
        ("data={source: 'csv:a', train: a, eval: b, columns: [a, a]}", "names of columns repeat"),
        ("data={source: 'text:a', train: a, eval: b, text_pair: c}", "text: has no columns"),
    ],
)
def test_keys_that_say_how_files_are_written_are_for_files_that_are(override, what):
    assert what in [problem.what for problem in refused(TEXT, override)]
