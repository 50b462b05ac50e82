"""A batch as JUnit XML, Markdown and annotations, read by parsers of others."""

from __future__ import annotations

from xml.etree import ElementTree

from ptm.report.batch import junit, markdown, metric_names, shown_name, spread_text, workflow_commands


def row(name, status="done", code=0, metrics=None, problems=(), config="c.yaml"):
    return {
        "name": name,
        "config": config,
        "status": status,
        "exit_code": code,
        "seconds": 1.25,
        "metrics": metrics,
        "problems": [
            {"what": "", "where": "", "expected": "", "cure": "", **problem} for problem in problems
        ],
    }


RECORD = {
    "runs": [
        row(
            "bad",
            "failed",
            2,
            problems=[{"what": "no | such <key>\x1b[31m", "where": "c.yaml:5:17", "cure": "100%"}],
        ),
        row("good/seed-1", metrics={"loss": 0.5, "accuracy": 0.9}),
        row(
            "low",
            "missed",
            4,
            {"accuracy": 0.1},
            [{"what": "accuracy is 0.1", "expected": "accuracy >= 0.9"}],
        ),
        row("after", "not run", 2, problems=[{"what": "not run: it starts from bad"}]),
    ],
    "groups": [
        {
            "config": "c.yaml",
            "grid": {"train.epochs": "2"},
            "runs": 2,
            "of": 3,
            "metrics": {"accuracy": {"mean": 0.9, "sd": 0.01, "interval_95": [0.81, 0.99]}},
        }
    ],
}


def test_junit_counts_a_missed_bound_as_a_failure_and_all_else_as_an_error():
    root = ElementTree.fromstring(junit(RECORD))
    (suite,) = root
    counts = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "4", "failures": "1", "errors": "1", "skipped": "1"}
    kinds = {case.get("name"): [child.tag for child in case] for case in suite}
    assert kinds == {
        "bad": ["error"],
        "good/seed-1": ["properties"],
        "low": ["properties", "failure"],
        "after": ["skipped"],
    }
    error = suite.find("testcase/error")
    assert error.get("message").startswith("c.yaml:5:17: no | such <key>") and "\x1b" not in error.text


def test_markdown_shows_what_stands_in_names_as_it_is():
    text = markdown(RECORD)
    header, rule, bad, *_ = [line for line in text.splitlines() if line.startswith("|")]
    assert header.replace("\\", "") == "| run | status | accuracy | loss | time |"
    assert rule.count("---") == bad.count("|") - 1 == 5
    assert "failed (2)" in bad
    assert r"0.9000 ± 0.0100 \[0.8100, 0.9900\]" in text and "2 of 3" in text
    assert r"no \| such \<key\>" in text


def test_annotations_stand_at_the_line_of_the_config():
    lines = workflow_commands(RECORD)
    assert lines[0].startswith("::error file=c.yaml,line=5,col=17,title=bad::no | such <key>")
    assert lines[0].endswith("%0A  to fix: 100%25")
    assert lines[1].startswith("::error file=c.yaml,title=low::accuracy is 0.1%0A  expected: accuracy >= 0.9")
    assert len(lines) == 3


def test_tables_have_room_for_two_metrics_the_loss_last():
    assert metric_names([row("a", metrics={"loss": 1.0, "accuracy": 0.5})]) == ["accuracy", "loss"]
    assert metric_names([row("a", metrics={"loss": 1, "f1": 1, "mcc": 1})]) == ["f1", "mcc"]
    assert metric_names([row("a")]) == []


def test_a_spread_of_one_run_is_its_value():
    assert spread_text({"mean": 0.5, "sd": None, "interval_95": None}) == "0.5000"
    assert spread_text(None) == ""


def test_10_10_an_f1_is_named_with_its_label():
    fraud = {**row("a", metrics={"f1": 0.5, "loss": 0.1}), "positive_label": "fraud"}
    spam = {**row("b", metrics={"f1": 0.7, "loss": 0.1}), "positive_label": "spam"}
    others = [row("c", metrics={"accuracy": 0.9}), row("d", "failed", 2)]
    assert shown_name([fraud, *others], "f1") == "f1[fraud]"
    assert shown_name([fraud, spam], "f1") == "f1[fraud] / f1[spam]"
    assert shown_name([fraud, spam], "loss") == "loss"
    assert shown_name(others, "f1") == "f1"
    text = markdown({"runs": [fraud], "groups": []})
    assert "f1[fraud]" in text.replace("\\", "")
