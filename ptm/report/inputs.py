"""Reads the files of a run directory for its report, in whatever state the run left them.

Never raises for what is in them: a file that is missing, cut off or damaged is empty, and a note says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptm.base.regular import read_bytes

SAMPLES = 12  # examples shown of a task without classes


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """What a run wrote. Of a run with a test split, results and predictions are those of the test, which it is judged
    by; ``eval_metrics`` are then those of the evaluation split, on which the weights were chosen."""

    name: str  # of the run directory
    config_text: str
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    results: Mapping[str, Any]
    eval_metrics: Mapping[str, Any]  # empty where there is no test
    train: tuple[Mapping[str, Any], ...]  # lines of metrics.jsonl by rising step, one a step
    evals: tuple[Mapping[str, Any], ...]
    errors: tuple[Mapping[str, Any], ...]  # steps whose loss or gradient was not finite
    predictions: tuple[Mapping[str, Any], ...]  # of one class against another
    rows: tuple[Mapping[str, Any], ...]  # all predictions of a task that has no such ones
    samples: tuple[Mapping[str, Any], ...]  # a few predictions of a task that has no such ones
    has_model: bool
    saved_model: Mapping[str, Any]  # model/model.json of an image model; empty where there is none
    has_target_tokenizer: bool  # what is written has a vocabulary of its own
    pooling: str  # of the embeddings of texts, "" where there are none
    notes: tuple[str, ...]

    def result(self, name: str) -> Mapping[str, Any]:
        """A section of results.json; empty where there is none."""
        return mapping(self.results.get(name))

    def spec(self, *path: str) -> Any:
        """A value of the config, such as ``spec("data", "source")``; None where there is none."""
        value: Any = self.config
        for key in path:
            value = mapping(value).get(key)
        return value

    @property
    def tested(self) -> bool:
        """Whether results and predictions are those of a test split."""
        return bool(self.eval_metrics)

    @property
    def best_metric(self) -> str:
        """The metric that chooses the best evaluation, or ""."""
        return str(self.result("best").get("metric") or self.spec("best", "metric") or "")

    @property
    def first_broken_step(self) -> float | None:
        """The first logged step whose training loss is not finite."""
        broken = [line for line in self.train if not math.isfinite(number(line.get("loss")))]
        return min((number(line["step"]) for line in (*broken, *self.errors)), default=None)

    @property
    def versions(self) -> dict[str, Any]:
        """Package names and versions, from the manifest."""
        own = {name: self.manifest[name] for name in ("ptm", "python") if name in self.manifest}
        listed = {**mapping(self.manifest.get("versions")), **mapping(self.manifest.get("packages"))}
        return {**own, **{name: version for name, version in listed.items() if version}}

    def split_size(self, split: str) -> int | None:
        """Examples of a split: of the first ``{split: {"examples": n}}`` in the manifest or results."""
        for source in (self.manifest, self.results):
            for section in (source, *(mapping(value) for value in source.values())):
                size = mapping(section.get(split)).get("examples")
                if source is self.results and section is source:
                    continue  # there, ``train`` counts passes over examples, not examples
                if isinstance(size, int) and not isinstance(size, bool):
                    return size
        return None


def read_run(run: Path) -> RunFiles:
    """All of a run directory that its report is made of."""
    notes: list[str] = []
    config_text = _read_text(run / "config.yaml", notes)
    manifest, results = (read_json(run / name, notes) for name in ("manifest.json", "results.json"))
    lines = _read_lines(run / "metrics.jsonl", notes)
    test = mapping(results.get("test"))
    name = "test_predictions.jsonl" if test else "predictions.jsonl"
    predictions = _read_lines(run / name, notes)
    usable = [row for row in predictions if _of_a_class(row)]
    if usable and len(usable) < len(predictions):  # none: another task, whose predictions are not counted
        notes.append(f"{name}: {len(predictions) - len(usable)} without label or prediction left out")
    train, evals, errors = (
        _by_step(line for line in lines if line.get("kind") == kind) for kind in ("train", "eval", "error")
    )
    described = run / "model" / "model.json"
    saved = read_json(described, notes) if described.is_file() else {}
    return RunFiles(
        name=run.resolve().name,
        config_text=config_text,
        config=_parse_config(config_text, notes),
        manifest=manifest,
        results=_judged(results, test),
        eval_metrics=mapping(results.get("metrics")) if test else {},
        train=train,
        evals=evals,
        errors=errors,
        predictions=tuple(usable),
        rows=() if usable else tuple(predictions),
        samples=() if usable else tuple(_spread(predictions, SAMPLES)),
        has_model=(run / "model").is_dir(),
        saved_model=saved,
        has_target_tokenizer=(run / "model" / "target_tokenizer").is_dir(),
        pooling=_pooling(run / "model"),
        notes=tuple(notes),
    )


def _pooling(model: Path) -> str:
    """``cls`` or ``mean``; "" for a model without the files of sentence-transformers."""
    path = model / "1_Pooling" / "config.json"
    try:
        content = mapping(json.loads(read_bytes(path)))
    except (OSError, ValueError, RecursionError):
        return ""
    return "cls" if content.get("pooling_mode_cls_token") is True else "mean"


def _judged(results: Mapping[str, Any], test: Mapping[str, Any]) -> Mapping[str, Any]:
    """The results with those of the test in the place of those of the evaluation split."""
    if not test:
        return results
    speed = {key: test.get(key) for key in ("split", "examples", "seconds", "examples_per_second")}
    return {**results, **{key: value for key, value in test.items() if key not in speed}, "eval": speed}


def _of_a_class(row: Mapping[str, Any]) -> bool:
    """Whether a prediction is one class against another, and not lists of them, a number, tags, boxes."""
    values = (row.get("label"), row.get("prediction"))
    return all(value is not None and not isinstance(value, list | float) for value in values)


def _spread(rows: Sequence[Mapping[str, Any]], most: int) -> Sequence[Mapping[str, Any]]:
    """At most so many rows, evenly spread."""
    return rows[:: max(1, -(-len(rows) // most))]


def mapping(value: Any) -> Mapping[str, Any]:
    """``value`` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def listing(value: Any) -> list[Any]:
    """``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def number(value: Any) -> float:
    """A number as a float; NaN for what is none. The strings "nan" and "inf" are how JSON holds those."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _read_text(path: Path, notes: list[str]) -> str:
    try:
        text = read_bytes(path).decode("utf-8", "replace")
    except FileNotFoundError:
        notes.append(f"{path.name} is missing")
        return ""
    except OSError as error:
        notes.append(f"{path.name} could not be read: {error.strerror or error}")
        return ""
    if not text.strip():
        notes.append(f"{path.name} is empty")
    return text


def read_json(path: Path, notes: list[str]) -> Mapping[str, Any]:
    text = _read_text(path, notes)
    value = _parse_json(text)
    if text.strip() and not isinstance(value, Mapping):
        notes.append(f"{path.name} is cut off or not a JSON object")
    return mapping(value)


def _read_lines(path: Path, notes: list[str]) -> list[Mapping[str, Any]]:
    """The objects of a JSON-lines file. Only a newline ends a line: texts may hold other separators."""
    lines = [line for line in _read_text(path, notes).split("\n") if line.strip()]
    rows = [row for row in map(_parse_json, lines) if isinstance(row, Mapping)]
    broken = len(lines) - len(rows)
    if broken:
        notes.append(
            f"{path.name}: {broken} {'line' if broken == 1 else 'lines'} cut off or not JSON, left out"
        )
    return rows


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _by_step(lines: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """By rising step. Where a step was logged twice, the later line counts."""
    steps = {number(line.get("step")): line for line in lines}
    return tuple(steps[step] for step in sorted(step for step in steps if math.isfinite(step)))


def _parse_config(text: str, notes: list[str]) -> Mapping[str, Any]:
    """For names to show only, so plain YAML will do; :mod:`ptm.config` is for running it."""
    import yaml

    from ptm.config.plain_yaml import read_plain

    try:
        return mapping(read_plain(text))
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date that is none
        notes.append("config.yaml is not YAML")
        return {}
