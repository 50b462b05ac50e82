"""A batch for other programs and for people: JUnit XML, Markdown, GitHub's annotations; functions of its record."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from ptm.base.printable import printable
from ptm.config.evaluation import shown_metric
from ptm.errors import Problem

JUNIT_MARK = b'<testsuites name="ptm batch"'
MARKDOWN_MARK = b"### ptm batch"  # each at the beginning of what is written here
_PLACE = re.compile(r"^(?P<file>.+?):(?P<line>\d+)(?::(?P<column>\d+))?$")
# What XML 1.0 cannot hold.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(record: Mapping[str, Any]) -> bytes:
    """The record of a batch as JUnit XML: a run is a test case, a missed bound a failure, all else an error."""
    rows = record["runs"]
    failures = sum(row["status"] == "missed" for row in rows)
    skipped = sum(row["status"] == "not run" for row in rows)
    errors = sum(row["exit_code"] != 0 for row in rows) - failures - sum(_blocked(row) for row in rows)
    counts = {"tests": len(rows), "failures": failures, "errors": errors, "skipped": skipped}
    attributes = {name: str(number) for name, number in counts.items()}
    seconds = f"{sum(row.get('seconds', 0) for row in rows):.3f}"
    root = ElementTree.Element("testsuites", {"name": "ptm batch", "time": seconds, **attributes})
    suite = ElementTree.SubElement(root, "testsuite", {"name": "ptm batch", "time": seconds, **attributes})
    for row in rows:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            {
                "classname": _xml(row["config"]),
                "name": _xml(row["name"]),
                "time": f"{row.get('seconds', 0):.3f}",
            },
        )
        if row.get("metrics"):
            properties = ElementTree.SubElement(case, "properties")
            for name, value in row["metrics"].items():
                ElementTree.SubElement(properties, "property", {"name": _xml(name), "value": f"{value:.6g}"})
        kind = _junit_kind(row)
        if kind is not None:
            text = _xml("\n".join(problem_lines(row)) or f"exit code {row['exit_code']}")
            element = ElementTree.SubElement(case, kind, {"message": text.splitlines()[0]})
            element.text = text
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _blocked(row: Mapping[str, Any]) -> bool:
    return bool(row["status"] == "not run" and row["exit_code"] != 0)


def _junit_kind(row: Mapping[str, Any]) -> str | None:
    if row["status"] == "not run":
        return "skipped"
    if row["status"] == "missed":
        return "failure"
    return "error" if row["exit_code"] else None


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", printable(text))


def problem_lines(row: Mapping[str, Any]) -> list[str]:
    """What went wrong with a run, a message a problem."""
    return [str(Problem(**problem)) for problem in row["problems"]]


def markdown(record: Mapping[str, Any]) -> str:
    """Two tables: the runs, and the seeds of each config together; then what went wrong."""
    rows, names = record["runs"], metric_names(record["runs"])
    shown = [shown_name(rows, name) for name in names]
    lines = [
        MARKDOWN_MARK.decode(),
        "",
        *_table(["run", "status", *shown, "time"], [_run_cells(row, names) for row in rows]),
    ]
    if record["groups"]:
        cells = [
            [group_name(group), f"{group['runs']} of {group['of']}", *_spreads(group, names)]
            for group in record["groups"]
        ]
        lines += ["", "Mean ± standard deviation [95 % interval] over seeds:", ""]
        lines += _table(["config", "runs", *shown], cells)
    for row in rows:
        for text in problem_lines(row):
            first, *others = printable(text).splitlines()
            lines += [
                "",
                f"- **{_cell(row['name'])}**: {_cell(first)}",
                *(f"  {_cell(line.strip())}" for line in others),
            ]
    return "\n".join(lines) + "\n"


def metric_names(rows: Sequence[Mapping[str, Any]], most: int = 2) -> list[str]:
    """The first metrics of the runs, the loss last: what a table has room for."""
    names = list(dict.fromkeys(name for row in rows for name in row.get("metrics") or ()))
    return [*(name for name in names if name != "loss"), *(name for name in names if name == "loss")][:most]


def shown_name(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    """A metric with the label that it is of; with those of all runs that have it, where they differ."""
    labels = [row.get("positive_label") for row in rows if metric in (row.get("metrics") or ())]
    return " / ".join(dict.fromkeys(shown_metric(metric, label) for label in labels)) or metric


def group_name(group: Mapping[str, Any]) -> str:
    """``bert.yaml learning_rate=1e-5``."""
    return " ".join([group["config"], *(f"{key}={value}" for key, value in group["grid"].items())])


def spread_text(spread: Mapping[str, Any] | None) -> str:
    """``0.9000 ± 0.0100 [0.8752, 0.9248]``."""
    if spread is None:
        return ""
    if spread["sd"] is None:
        return f"{spread['mean']:.4f}"
    low, high = spread["interval_95"]
    return f"{spread['mean']:.4f} ± {spread['sd']:.4f} [{low:.4f}, {high:.4f}]"


def _spreads(group: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [spread_text(group["metrics"].get(name)) for name in names]


def _run_cells(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    metrics = row.get("metrics") or {}
    values = [f"{metrics[name]:.4f}" if name in metrics else "" for name in names]
    status = row["status"] if row["exit_code"] == 0 else f"{row['status']} ({row['exit_code']})"
    return [row["name"], status, *values, f"{row.get('seconds', 0):.1f} s"]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines]


def _cell(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", printable(text).replace("\n", " "))


def workflow_commands(record: Mapping[str, Any]) -> list[str]:
    """``::error file=…,line=…,col=…::message`` for each problem, at the place in a config where it has one."""
    lines = []
    for row in record["runs"]:
        for problem in row["problems"]:
            place = _PLACE.match(problem["where"])
            where = (
                {"file": place["file"], "line": place["line"], "col": place["column"]}
                if place
                else {"file": row["config"]}
            )
            values = ",".join(f"{key}={_property(value)}" for key, value in where.items() if value)
            text = str(Problem(**{**problem, "where": ""})) if place else str(Problem(**problem))
            lines.append(f"::error {values},title={_property(row['name'])}::{_data(text)}")
    return lines


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
