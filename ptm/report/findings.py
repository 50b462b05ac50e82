"""What ``ptm check`` found, for people and for programs: lines, JSON, GitHub's annotations, SARIF."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from ptm import __version__
from ptm.base.printable import printable
from ptm.errors import Problem, listing
from ptm.quality.figures import Figures
from ptm.quality.findings import RULES, Finding

SHOWN = 5  # findings of a rule that a person is shown
_ANNOTATED = (
    50  # findings of a rule that become annotations: GitHub shows ten a step, and keeps all in the log
)
_RELATED = 3  # other places that a line names
_PLACE = re.compile(r"^(?P<file>.+?):(?P<line>\d+)(?::(?P<column>\d+))?$")
_ROW = re.compile(r"^(?P<file>.+?), (?:row|record|object|annotations|images|categories)\b")
_GITHUB = {"error": "error", "warning": "warning", "note": "notice"}
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """A message each, of every rule the first few, then how many more there are. Errors are all told."""
    for finding, more in _first(findings, SHOWN):
        problem = finding.problem
        places = listing(finding.related, most=_RELATED)
        problem = Problem(
            problem.what + (f"; see {places}" if places else ""),
            problem.where,
            problem.expected,
            problem.cure,
        )
        yield f"{'' if finding.level == 'error' else f'{finding.level}: '}{problem}"
        if more:
            yield f"{finding.level}: and {more:,} more of this kind ({finding.rule}); --format json lists them all"


def _first(findings: Sequence[Finding], most: int) -> Iterator[tuple[Finding, int]]:
    """(finding, how many more of its rule follow that are left out)."""
    totals: dict[tuple[str, str], int] = {}
    for finding in findings:
        key = (finding.level, finding.rule)
        totals[key] = totals.get(key, 0) + 1
    seen: dict[tuple[str, str], int] = {}
    for finding in findings:
        key = (finding.level, finding.rule)
        seen[key] = seen.get(key, 0) + 1
        if finding.rule in ("unusable", "reading"):
            yield finding, 0
        elif seen[key] <= most:
            yield finding, totals[key] - most if seen[key] == most else 0


def figure_lines(figures: Mapping[str, Figures]) -> Iterator[str]:
    """One line a split."""
    for name, split in figures.items():
        if not split.examples:
            yield f"{name}: no example"
            continue
        parts = [f"{split.examples:,} examples"]
        if split.labels:
            total = max(1, sum(split.labels.values()))
            shares = (f"{label} {count:,} ({count / total:.1%})" for label, count in split.labels.items())
            parts.append(f"{split.unit} by label: {listing(shares, most=10)}")
        if split.numbers:
            parts.append("numbers {least:g} to {most:g}, mean {mean:g}".format(**split.numbers))
        for role, values in split.lengths.items():
            unit = "words" if role == "words" else "characters"
            what = "" if role in ("text", "words") else f"{role} "
            parts.append(
                f"{what}{values['least']:,.0f} to {values['most']:,.0f} {unit}, median {values['median']:,.0f}"
            )
        if split.sizes:
            width, height = split.sizes["width"], split.sizes["height"]
            parts.append(
                f"{width['least']:.0f}x{height['least']:.0f} to {width['most']:.0f}x{height['most']:.0f} pixels"
            )
            parts.append(f"modes: {listing(f'{mode} {count:,}' for mode, count in split.modes.items())}")
        if split.cut is not None:
            count = max(split.cut.values(), default=0)
            parts.append(f"{count:,} ({count / split.examples:.1%}) cut to {split.max_length} tokens")
        yield f"{name}: {'; '.join(parts)}"


class Inspected(Protocol):
    """What a config's data came to."""

    @property
    def figures(self) -> Mapping[str, Figures]: ...

    @property
    def trial(self) -> Any: ...

    def findings(self) -> list[Finding]: ...


def record(
    files: Sequence[str],
    findings: Sequence[Finding],
    inspections: Sequence[Inspected],
    problems: Sequence[Problem],
    code: int,
    *,
    data: bool,
) -> dict[str, Any]:
    """What ``--format json`` prints: errors, warnings and notes apart, then the figures a config; ``error`` as every
    command has it, where there are errors."""
    kinds = {f"{level}s": [as_json(f) for f in findings if f.level == level] for level in _GITHUB}
    read = [
        {
            "config": file,
            "splits": {name: asdict(split) for name, split in inspection.figures.items()},
            "trial": None if inspection.trial is None else inspection.trial.as_dict(),
        }
        for file, inspection in zip(files, inspections, strict=False)
    ]
    failure = {"error": {"exit_code": code, "problems": [asdict(problem) for problem in problems]}}
    return {
        "configs": list(files),
        "data": data,
        **kinds,
        "inspections": read,
        **(failure if problems else {}),
    }


def as_json(finding: Finding) -> dict[str, Any]:
    """An object a finding; ``file`` and ``line`` where its place has them."""
    return {
        "rule": finding.rule,
        **asdict(finding.problem),
        **_place(finding.problem.where),
        "related": [{"where": where, **_place(where)} for where in finding.related],
    }


def _place(where: str) -> dict[str, Any]:
    match = _PLACE.match(where)
    if match:
        column = {"column": int(match["column"])} if match["column"] else {}
        return {"file": match["file"], "line": int(match["line"]), **column}
    row = _ROW.match(where)
    name = row["file"] if row else where
    return {"file": name} if name and ("/" in name or "." in name) and Path(name).exists() else {}


def workflow_commands(findings: Sequence[Finding]) -> Iterator[str]:
    """``::warning file=…,line=…,title=…::message``, GitHub's workflow commands."""
    for finding, more in _first(findings, _ANNOTATED):
        problem, place = finding.problem, _place(finding.problem.where)
        names = {"file": _relative(place.get("file")), "line": place.get("line"), "col": place.get("column")}
        values = [f"{key}={_property(str(value))}" for key, value in names.items() if value]
        exact = "line" in place or place.get("file") == problem.where
        text = str(Problem(problem.what, "" if exact else problem.where, problem.expected, problem.cure))
        if finding.related:
            text += f"\n  see {listing(finding.related)}"
        kind = _GITHUB[finding.level]
        yield f"::{kind} {','.join([*values, f'title=ptm {finding.rule}'])}::{_data(printable(text))}"
        if more:
            yield f"::notice title=ptm {finding.rule}::and {more} more of this kind; --format json lists them all"


def _relative(file: str | None) -> str | None:
    """As a repository names it, where the file is below the working directory."""
    inside = file is not None and Path(file).resolve().is_relative_to(Path.cwd())
    return str(Path(file).resolve().relative_to(Path.cwd())) if file is not None and inside else file


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def sarif(findings: Sequence[Finding]) -> dict[str, Any]:
    """A log in SARIF 2.1.0 (OASIS): a run, its rules, a result a finding, the other sides as related locations."""
    names = list(RULES)
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "ptm",
                        "version": __version__,
                        "rules": [
                            {"id": name, "shortDescription": {"text": text}} for name, text in RULES.items()
                        ],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, names.index(finding.rule)) for finding in findings],
            }
        ],
    }


def _result(finding: Finding, index: int) -> dict[str, Any]:
    location = _location(finding.problem.where)
    related = [_location(where) for where in finding.related]
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.level,
        "message": {"text": printable(str(finding.problem))},
        "locations": [location] if location else [],
        **(
            {"relatedLocations": [{"id": number, **place} for number, place in enumerate(related) if place]}
            if related
            else {}
        ),
    }


def _location(where: str) -> dict[str, Any]:
    """A place as SARIF has it; {} for what is no file. A row of a binary file is told in words."""
    place = _place(where)
    if "file" not in place:
        return {"message": {"text": printable(where)}} if where else {}
    path = Path(place["file"])
    inside = path.resolve().is_relative_to(Path.cwd())
    uri = quote(str(path.resolve().relative_to(Path.cwd()))) if inside else path.resolve().as_uri()
    region = {
        key: place[name] for key, name in (("startLine", "line"), ("startColumn", "column")) if name in place
    }
    return {
        "physicalLocation": {"artifactLocation": {"uri": uri}, **({"region": region} if region else {})},
        "message": {"text": printable(where)},
    }
