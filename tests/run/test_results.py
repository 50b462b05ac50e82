"""results.json: what is written is read again, whoever wrote it, and docs/run_directory.md names every key."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from ptm.config.expect import Expectation
from ptm.run.manifest import Manifest
from ptm.run.results import (
    SCHEMA,
    Best,
    ModelSize,
    Results,
    Slice,
    SplitResults,
    Throughput,
    TrainSummary,
    parse_results,
    read_results,
    write_results,
)

DOCS = Path(__file__).parents[2] / "docs" / "run_directory.md"
SPEED = Throughput.of("validation", 100, 4.0004)
DONE = Results(
    task="text-classification",
    status="done",
    metrics={"loss": 0.25, "accuracy": 0.9},
    best=Best(metric="accuracy", mode="max", value=0.9, step=12),
    train=TrainSummary(steps=12, epochs=3.0, padding_share=0.1, **Throughput.of("train", 300, 2.0)),
    eval=Throughput(**SPEED),
    model=ModelSize(name="m", parameters=10, trainable_parameters=10, bytes=40),
    expect=(
        Expectation("accuracy", ">= 0.8", 0.9, met=True),
        Expectation("loss", "< 0.1", 0.25, met=False),
    ),
    labels=("a", "b"),
    output="runs/r",
    extended=((1, 3),),
)


def test_what_is_written_is_read(tmp_path):
    write_results(tmp_path / "results.json", DONE)
    assert read_results(tmp_path / "results.json") == DONE
    content = json.loads((tmp_path / "results.json").read_bytes())
    assert content["schema"] == SCHEMA and content["teacher"] is None and "verdict" not in content
    assert content["eval"]["examples_per_second"] == 25.0 and content["eval"]["seconds"] == 4.0


def test_the_missed_bounds_are_named():
    assert [bound.metric for bound in DONE.missed] == ["loss"]


def test_a_file_from_before_there_was_a_number_reads_the_same():
    content = DONE.as_dict()
    del content["schema"]
    assert parse_results(content) == DONE


def test_what_a_newer_version_added_is_passed_over():
    assert parse_results({**DONE.as_dict(), "later": {"key": 1}}) == DONE


def test_a_run_that_is_not_done_says_why_and_no_more():
    stopped = Results(task="masked-lm", status="interrupted", reason="stopped by SIGTERM")
    assert stopped.as_dict() == {
        "schema": SCHEMA,
        "task": "masked-lm",
        "status": "interrupted",
        "reason": "stopped by SIGTERM",
        "metrics": {},
    }
    assert parse_results(stopped.as_dict()) == stopped


def test_an_evaluation_has_the_keys_of_an_evaluation():
    evaluated = replace(DONE, train=None, best=None, output=None, extended=())
    assert set(evaluated.as_dict()) == {
        *("schema", "task", "status", "metrics", "eval", "model", "expect", "labels"),
        *("constant", "positive_label", "absent_labels", "warnings", "slices", "test"),
    }
    assert parse_results(evaluated.as_dict()) == evaluated


@pytest.mark.parametrize("content", [None, [], "done", {}, {"status": "done"}, {"task": 1, "status": "won"}])
def test_something_else_is_no_result(content, tmp_path):
    with pytest.raises(ValueError):
        parse_results(content)
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert read_results(tmp_path / "results.json") is None
    assert read_results(tmp_path / "none.json") is None


@pytest.mark.parametrize(("title", "kind"), [("results.json", Results), ("manifest.json", Manifest)])
def test_every_key_is_documented(title, kind):
    section = DOCS.read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    documented = set(re.findall(r"`(\w+)`", section))
    assert {field.name for field in fields(kind)} <= documented


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_15_09_numbers_that_are_no_json_are_not_what_ptm_wrote(tmp_path, number):
    write_results(tmp_path / "results.json", DONE)
    text = (tmp_path / "results.json").read_text()
    (tmp_path / "results.json").write_text(text.replace("0.9", number, 1))
    assert read_results(tmp_path / "results.json") is None


@pytest.mark.parametrize("value", ['"nan"', '"inf"', "NaN", "1e999", "-1e999", "true", '"0.9"'])
def test_15_08_a_metric_that_is_no_number_makes_no_results(tmp_path, value):
    """It would be neither better nor worse than anything, and meet every bound."""
    for content in (
        f'{{"task": "t", "status": "done", "metrics": {{"accuracy": {value}}}}}',
        f'{{"task": "t", "status": "done", "best": {{"metric": "a", "mode": "max", "value": {value}, "step": 1}}}}',
    ):
        (tmp_path / "results.json").write_text(content)
        assert read_results(tmp_path / "results.json") is None


def test_15_08_a_bound_that_is_said_to_be_met_and_is_not_makes_no_results(tmp_path):
    bound = {"metric": "accuracy", "bound": ">= 0.9", "value": 0.3, "met": True}
    content = {"task": "t", "status": "done", "metrics": {"accuracy": 0.3}}
    for change, readable in (({}, False), ({"met": False}, True), ({"bound": "x"}, False)):
        (tmp_path / "results.json").write_text(json.dumps(content | {"expect": [bound | change]}))
        assert (read_results(tmp_path / "results.json") is not None) == readable


def test_12_01_what_is_written_of_a_test_and_of_slices_is_read_again_and_its_numbers_are_numbers(tmp_path):
    row = Slice(slice="source", value="web", examples=3, metrics={"accuracy": 0.5})
    test = SplitResults(
        **Throughput.of("10%", 12, 1.0), metrics={"loss": 0.5, "accuracy": 0.75}, slices=(row,)
    )
    undefined = Expectation("auroc[source=web]", ">= 0", None, met=False, split="test")
    tested = replace(DONE, test=test, slices=(row,), expect=(undefined,))
    write_results(tmp_path / "results.json", tested)
    assert read_results(tmp_path / "results.json") == tested
    assert (tested.judged, tested.judged_split) == ({"loss": 0.5, "accuracy": 0.75}, "test")
    assert (DONE.judged, DONE.judged_split) == (DONE.metrics, "eval")
    content = tested.as_dict()
    for part in (content["test"], content["test"]["slices"][0], content["slices"][0]):
        kept = part["metrics"]
        part["metrics"] = {"accuracy": "nan"}
        with pytest.raises(ValueError, match="a metric is no number"):
            parse_results(content)
        part["metrics"] = kept
