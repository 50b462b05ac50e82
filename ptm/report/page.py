"""A run directory to two files for people: ``report.html``, one page, and ``README.md``, a model card.

The page holds all it needs and opens offline; it runs no scripts, and every text in it is only text. Both
files are made from those of the run alone, so they can be made again at any time, to the same bytes; only the
images of mistakes come from elsewhere, from whoever has the data.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptm.base import files
from ptm.config.tasks import TASKS, Task
from ptm.errors import PtmError, RunDirectoryError
from ptm.report import scorecard as report_scorecard
from ptm.report import words
from ptm.report.inputs import RunFiles, listing, mapping, number, read_run

if TYPE_CHECKING:
    import numpy as np

    from ptm.report.scores import Calibration, PerClass

MATRIX_CLASSES = 20  # with more, the matrix gives way to its most frequent mistakes
WORST = 20
DRAWING_PIXELS = 360  # longer side of a drawn prediction
_SHOWN_FIRST = ("accuracy", "f1", "f1_macro", "auroc", "loss")  # headline metrics, in this order

_NOT_SAID = ("id", "where", "input", "loss", "mask_png")  # of a sample: shown otherwise, or not at all

Examples = Callable[[int], dict[str, Any]]
Drawings = Callable[[int, Mapping[str, Any]], bytes | None]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """All predictions counted: what the page says about classes and mistakes."""

    classes: tuple[str, ...]
    matrix: np.ndarray  # int64 [classes, classes], rows are labels
    per_class: PerClass
    n: int
    correct: int
    calibration: Calibration | None  # None without probabilities
    wrong: tuple[Mapping[str, Any], ...]  # by falling probability of the wrong class

    @property
    def accuracy(self) -> float:
        return self.correct / self.n


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One wrong prediction as the page shows it. Probabilities are NaN where none were stored."""

    id: str
    where: str
    label: str
    prediction: str
    probability: float
    label_probability: float
    text: str
    image: str  # a data: address, or empty


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A prediction of a task without classes: what was given, and what the model and the data say, name by name."""

    id: str
    where: str
    text: str
    image: str  # a data: address, or empty
    said: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The metrics the page opens with, and where they come from."""

    metrics: Mapping[str, float]
    source: str  # "final", or words for something less
    n: int | None
    interval: tuple[float, float] | None  # of the accuracy, 95 %


def write_report(run: Path, examples: Examples | None = None, drawings: Drawings | None = None) -> None:
    """Write ``report.html`` and ``README.md`` into a run directory, from what the run has left so far.

    ``examples(id)`` gives ``{"text" | "image_png", "where"}`` of an evaluated example; without it, what
    predictions.jsonl says of itself is shown. ``drawings(id, prediction)`` gives a PNG of it with the prediction
    drawn in, or None. Missing or broken files are named on the page.
    """
    from ptm.report import charts as report_charts

    if not run.is_dir():
        raise RunDirectoryError("there is no such run directory", where=run)
    inputs = read_run(run)
    scored = _score(inputs)
    headline = _headline(inputs, scored)
    mistakes, trouble = _mistakes(scored, examples)
    samples, more_trouble = _samples(inputs, examples, drawings)
    common = {
        "run": inputs,
        "scored": scored,
        "classes": _class_rows(scored),
        "headline": headline,
        "model": words.plain(inputs.result("model").get("name") or inputs.spec("model", "name") or "model"),
        "task": words.plain(inputs.results.get("task") or inputs.spec("task") or "unknown task"),
        "descriptor": _descriptor(inputs),
        "status": words.plain(inputs.results.get("status") or "unfinished"),
        "labels": scored.classes if scored else _labels(inputs),
        "teacher_metrics": mapping(inputs.result("teacher").get("metrics")),
        "expectations": _expectations(inputs),
        "comparison": _comparison(inputs),
        "scorecard": report_scorecard.scorecard(inputs),
        "measured_on": report_scorecard.measured_on(inputs),
        "verdict": report_scorecard.verdict(inputs),
        "cost": _cost(inputs),
        "notes": (*inputs.notes, *_contradictions(inputs, scored), *trouble, *more_trouble),
    }
    details = {
        "charts": report_charts.charts(inputs, scored.calibration if scored else None),
        "mistakes": mistakes,
        "samples": samples,
        "matrix": _matrix(scored),
        "pairs": _pairs(scored),
    }
    page = _render("report.html.j2", {**common, **details})
    card = _render("README.md.j2", common)
    files.write_file(run / "report.html", page.encode("utf-8", "replace"))
    files.write_file(run / "README.md", card.encode("utf-8", "replace"))


# What was predicted


def _score(run: RunFiles) -> Scored | None:
    import numpy as np

    from ptm.report import scores

    rows = run.predictions
    if not rows:
        return None
    targets = [words.plain(row["label"]) for row in rows]
    predicted = [words.plain(row["prediction"]) for row in rows]
    classes = tuple(dict.fromkeys([*_labels(run), *sorted({*targets, *predicted})]))
    index = {name: i for i, name in enumerate(classes)}
    target_ids = np.array([index[name] for name in targets])
    predicted_ids = np.array([index[name] for name in predicted])
    matrix = scores.confusion(target_ids, predicted_ids, len(classes))
    right = target_ids == predicted_ids
    stated = np.array([_probability(row, name) for row, name in zip(rows, predicted, strict=True)])
    usable = np.isfinite(stated)
    by_probability = np.argsort(-np.where(usable, stated, -1.0), kind="stable")
    return Scored(
        classes=classes,
        matrix=matrix,
        per_class=scores.per_class(matrix),
        n=len(rows),
        correct=int(right.sum()),
        calibration=scores.calibration(stated[usable], right[usable]) if usable.any() else None,
        wrong=tuple(rows[i] for i in by_probability if not right[i]),
    )


def _labels(run: RunFiles) -> list[str]:
    """The label names in the model's order, as far as the run says."""
    names = listing(run.results.get("labels")) or listing(run.spec("data", "labels"))
    return [words.plain(name) for name in names]


def _class_rows(scored: Scored | None) -> list[tuple[str, float, float, float, int]]:
    """Name, precision, recall, F1 and support of each class."""
    if scored is None:
        return []
    values = scored.per_class
    columns = (values.precision.tolist(), values.recall.tolist(), values.f1.tolist(), values.support.tolist())
    return list(zip(scored.classes, *columns, strict=True))


def _matrix(scored: Scored | None) -> list[tuple[str, list[tuple[int, float]]]]:
    """Rows of the confusion matrix: label, then count and share of the row a cell. Empty if too large."""
    if scored is None or len(scored.classes) > MATRIX_CLASSES:
        return []
    rows = zip(scored.classes, scored.matrix.tolist(), strict=True)
    return [(name, [(count, count / max(sum(row), 1)) for count in row]) for name, row in rows]


def _pairs(scored: Scored | None) -> list[tuple[str, str, int, float]]:
    """Where the matrix is too large, the most frequent mistakes: label, prediction, count, share of label."""
    from ptm.report.scores import most_confused

    if scored is None or len(scored.classes) <= MATRIX_CLASSES:
        return []
    names, support = scored.classes, scored.per_class.support
    found = most_confused(scored.matrix, MATRIX_CLASSES)
    return [(names[label], names[taken], count, count / int(support[label])) for label, taken, count in found]


def _mistakes(scored: Scored | None, examples: Examples | None) -> tuple[list[Mistake], list[str]]:
    """The worst mistakes, and what went wrong when looking them up: a report must not fail a finished run."""
    shown: list[Mistake] = []
    failures: list[str] = []
    for row in scored.wrong[:WORST] if scored else ():
        shown.append(_mistake(row, _looked_up(row, examples, failures)))
    return shown, _failed(failures)


def _samples(
    run: RunFiles, examples: Examples | None, drawings: Drawings | None
) -> tuple[list[Sample], list[str]]:
    """Some predictions of a task that has no classes, and what went wrong when looking them up."""
    shown: list[Sample] = []
    failures: list[str] = []
    for row in run.samples:
        content = _looked_up(row, examples, failures)
        drawn = _looked_up(row, partial(_drawing, drawings, row), failures) if drawings else {}
        shown.append(
            Sample(
                id=words.plain(row.get("id", "")),
                where=words.plain(content.get("where") or ""),
                text=words.clip(words.plain(content.get("text") or "")),
                image=_data_address(drawn.get("drawing") or content.get("image_png")),
                said=tuple(
                    (words.plain(name), words.clip(words.plain(value)))
                    for name, value in row.items()
                    if name not in _NOT_SAID
                ),
            )
        )
    return shown, _failed(failures)


def _drawing(drawings: Drawings, row: Mapping[str, Any], index: int) -> dict[str, Any]:
    """``{"drawing": PNG}``, no larger than the page shows it."""
    png = drawings(index, row)
    if png is None:
        return {}
    from PIL import Image

    image = Image.open(io.BytesIO(png))
    image.thumbnail((DRAWING_PIXELS, DRAWING_PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"drawing": buffer.getvalue()}


def _looked_up(row: Mapping[str, Any], examples: Examples | None, failures: list[str]) -> Mapping[str, Any]:
    """What is known of the example of a row; whoever cannot be asked is added to ``failures``."""
    content: Mapping[str, Any] = {"text": row.get("input"), "where": row.get("where")}
    if examples is None:
        return content
    try:
        return {**content, **examples(row["id"])}
    except (PtmError, OSError, LookupError) as error:
        failures.append(f"example {row.get('id')}: {words.plain(error)}")
        return content


def _failed(failures: list[str]) -> list[str]:
    return [f"{len(failures)} examples could not be looked up; the first: {failures[0]}"] if failures else []


def _data_address(png: Any) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}" if isinstance(png, bytes) else ""


def _mistake(row: Mapping[str, Any], content: Mapping[str, Any]) -> Mistake:
    label, prediction = words.plain(row["label"]), words.plain(row["prediction"])
    return Mistake(
        id=words.plain(row.get("id", "")),
        where=words.plain(content.get("where") or ""),
        label=label,
        prediction=prediction,
        probability=_probability(row, prediction),
        label_probability=_probability(row, label),
        text=words.clip(words.plain(content.get("text") or "")),
        image=_data_address(content.get("image_png")),
    )


def _probability(row: Mapping[str, Any], name: str) -> float:
    value = number(mapping(row.get("scores")).get(name))
    return value if 0 <= value <= 1 else math.nan


# What the run says of itself


def _headline(run: RunFiles, scored: Scored | None) -> Headline:
    """Final metrics; failing those, what the predictions give; failing those, the log's last evaluation."""
    from ptm.report.scores import wilson_interval

    first = [run.best_metric] if run.best_metric != "loss" else []
    size = number(run.result("eval").get("examples"))
    n = scored.n if scored else int(size) if 1 <= size < math.inf else run.split_size("eval")
    metrics, source = run.result("metrics"), "final"
    if not metrics and scored:
        metrics = {"accuracy": scored.accuracy}
        source = "from predictions.jsonl: the run left no final metrics"
    elif not metrics and run.evals:
        last = run.evals[-1]
        metrics = mapping(last.get("metrics"))
        source = f"of the last evaluation, step {last.get('step')}: the run left no final metrics"
    order = dict.fromkeys([*first, *_SHOWN_FIRST, *metrics])
    values = {words.plain(name): number(metrics[name]) for name in order if name in metrics}
    accuracy = values.get("accuracy", math.nan)
    # Words of one sentence are right or wrong together: no interval is known for the accuracy over them.
    task = _descriptor(run)
    of_examples = task is None or task.per_example
    interval = wilson_interval(accuracy, n) if of_examples and n and 0 <= accuracy <= 1 else None
    return Headline(metrics=values, source=source if values else "none", n=n, interval=interval)


def _descriptor(run: RunFiles) -> Task | None:
    """What is known of the run's task; None where its files name none that there is."""
    name = run.results.get("task") or run.spec("task")
    return TASKS.get(name) if isinstance(name, str) else None


def _expectations(run: RunFiles) -> list[dict[str, Any]]:
    rows = (mapping(row) for row in listing(run.results.get("expect")))
    return [
        {
            "metric": words.plain(row.get("metric")),
            "bound": words.plain(row.get("bound")),
            "value": number(row.get("value")),
            "met": row.get("met") is True,
        }
        for row in rows
        if row
    ]


def _contradictions(run: RunFiles, scored: Scored | None) -> list[str]:
    """Where files of one run disagree, and numbers that are not finite."""
    notes = []
    if scored:
        stated = number(run.result("metrics").get("accuracy"))
        size = number(run.result("eval").get("examples"))
        if math.isfinite(size) and size != scored.n:
            notes.append(f"{scored.n} predictions in predictions.jsonl, {size:.0f} examples in results.json")
        if math.isfinite(stated) and abs(stated - scored.accuracy) > 1e-6:
            notes.append(f"accuracy {stated:.4f} in results.json, {scored.accuracy:.4f} by predictions.jsonl")
    broken = run.first_broken_step
    if broken is not None:
        notes.append(f"training was not finite at step {broken:.0f}: its loss or its gradient")
    metrics = run.result("metrics")
    lost = [words.plain(name) for name in metrics if not math.isfinite(number(metrics[name]))]
    if lost:
        notes.append(f"not finite: {', '.join(lost)}")
    return notes


def _cost(run: RunFiles) -> list[tuple[str, str]]:
    """Rows of the cost table: what, how much. Only what is known."""
    model, train, evaluation = run.result("model"), run.result("train"), run.result("eval")
    rows = [
        ("Parameters", words.count(model.get("parameters"))),
        ("of them trained", words.count(model.get("trainable_parameters"))),
        ("Size of the weights", words.size(model.get("bytes"))),
        ("Training time", words.duration(train.get("seconds"))),
        ("Training speed", words.speed(train.get("examples_per_second"))),
        ("Steps", words.count(train.get("steps"))),
        ("Epochs", words.decimal(train.get("epochs"))),
        ("Examples seen in training", words.count(train.get("examples"))),
        ("Share of padding", words.percent(train.get("padding_share"))),
        ("Evaluation time", words.duration(evaluation.get("seconds"))),
        ("Evaluation speed", words.speed(evaluation.get("examples_per_second"))),
        ("Examples in evaluation", words.count(evaluation.get("examples"))),
    ]
    return [(what, value) for what, value in rows if value]


def _comparison(run: RunFiles) -> list[tuple[str, str, str, str]]:
    """Rows of the distillation table: what, teacher, student, how they compare. Empty without a teacher."""
    teacher, student, spent = run.result("teacher"), run.result("model"), run.result("distill")
    rows = []
    before, after = number(teacher.get("parameters")), number(student.get("parameters"))
    if before > 0 and after > 0:
        rows.append(("Parameters", words.brief(before), words.brief(after), f"{before / after:.3g} to 1"))
    reference, metrics = mapping(teacher.get("metrics")), run.result("metrics")
    for name in dict.fromkeys([*_SHOWN_FIRST, *reference]):
        if name in reference and name in metrics:
            before, after = number(reference[name]), number(metrics[name])
            change = words.signed(after - before)
            rows.append((words.plain(name), words.metric(before), words.metric(after), change))
    before, after = number(spent.get("teacher_seconds")), number(spent.get("student_seconds"))
    if before >= 0 and after >= 0:
        share = f"{words.percent(before / (before + after))} teacher" if before + after > 0 else ""
        rows.append(("Time in training", words.duration(before), words.duration(after), share))
    stored = mapping(spent.get("store"))
    if stored.get("used") is True:
        kept = f"{words.count(stored.get('hits'))} found, {words.count(stored.get('misses'))} computed"
        rows.append(("Outputs from the store", words.percent(stored.get("hit_rate")), "", kept))
    return rows


def _render(template: str, values: Mapping[str, Any]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ptm.report", "templates"),
        autoescape=template.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": words.plain, "metric": words.metric, "count": words.count}
    environment.filters |= {"md": words.markdown, "code": words.code_span, "finite": math.isfinite}
    environment.globals["matrix_classes"] = MATRIX_CLASSES
    return environment.get_template(template).render(values)
