"""A run directory to two files for people: ``report.html``, one page, and ``README.md``, a model card.

The page holds all it needs and opens offline; it runs no scripts, and every text in it is only text. Both
files are made from those of the run alone, so they can be made again at any time, to the same bytes; only the
images of mistakes come from elsewhere, from whoever has the data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptm.base import files
from ptm.base.printable import printable
from ptm.config.evaluation import shown_metric
from ptm.config.tasks import TASKS, Task
from ptm.errors import RunDirectoryError
from ptm.report import tables, words
from ptm.report.answers import Answers, count_answers
from ptm.report.examples import sample_predictions, worst_answers, worst_mistakes
from ptm.report.exports import export_table
from ptm.report.inputs import RunFiles, listing, mapping, number, read_run
from ptm.report.predictions import ClassScores, label_names, score_classes
from ptm.report.shown import Recorder, Views, kept_views

if TYPE_CHECKING:
    import jinja2

# Of a network, as it may stand in code.
_PLAIN_NAME = re.compile(r"[\w:.-]{1,100}")
# Detectors that torchvision puts together above a backbone.
_PYRAMIDS = (
    "fasterrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "fcos_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_small",
)


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The metrics the page opens with, and where they come from."""

    metrics: Mapping[str, float]
    source: str  # "final", or words for something less
    n: int | None
    interval: tuple[float, float] | None  # of the accuracy, 95 %


def write_report(run: Path, views: Views | None = None) -> None:
    """Write ``report.html`` and ``README.md`` into a run directory, from what the run has left so far.

    ``views`` show single examples, and what they show is kept in the run (``shown.json``); without them, what was kept
    is shown, or what predictions.jsonl says of itself. Missing or broken files are named on the page.
    """
    from ptm.report.charts import charts

    if not run.is_dir():
        raise RunDirectoryError("there is no such run directory", where=run)
    inputs = read_run(run)
    scores = score_classes(inputs)
    answers = count_answers(inputs)
    notes: list[str] = []
    recorder = None if views is None else Recorder(views)
    shown = kept_views(run, notes) if recorder is None else recorder.views
    examples, drawings, insights = (
        (None, None, None) if shown is None else (shown.examples, shown.drawings, shown.insights)
    )
    mistakes, mistake_notes = (
        worst_answers(answers, examples) if answers else worst_mistakes(scores, examples, insights)
    )
    samples, sample_notes = ([], []) if answers else sample_predictions(inputs, examples, drawings)
    common = _common(inputs, scores, answers, [*notes, *mistake_notes, *sample_notes])
    details = {
        "charts": charts(inputs, scores, answers.points if answers else None),
        "mistakes": mistakes,
        "samples": samples,
        "matrix": tables.confusion_matrix(scores),
        "pairs": tables.confused_pairs(scores),
    }
    page = render_template("report.html.j2", {**common, **details})
    card = render_template("README.md.j2", common)
    if recorder is not None:
        recorder.write(run)
    files.write_file(run / "report.html", page.encode("utf-8", "replace"))
    files.write_file(run / "README.md", card.encode("utf-8", "replace"))


def card_text(run: Path, published: str = "") -> str:
    """README.md of a run as its files give it; ``published``: for the readers of this repository of a hub, to whom the
    files of ``model/`` are at its top, and nothing else of the run is known."""
    inputs = read_run(run)
    scores = score_classes(inputs)
    values = _common(inputs, scores, count_answers(inputs), [])
    return render_template("README.md.j2", {**values, "published": published})


def _common(
    inputs: RunFiles, scores: ClassScores | None, answers: Answers | None, notes: Sequence[str]
) -> dict[str, Any]:
    """What page and card both show."""
    return {
        "run": inputs,
        "published": "",
        "scores": scores,
        "answers": answers,
        "classes": answers.classes if answers else tables.class_rows(scores),
        "headline": _headline(inputs, scores),
        "model": words.plain(inputs.result("model").get("name") or inputs.spec("model", "name") or "model"),
        "task": words.plain(inputs.results.get("task") or inputs.spec("task") or "unknown task"),
        "descriptor": _descriptor(inputs),
        "saved": _saved_model(inputs),
        "status": words.plain(inputs.results.get("status") or "unfinished"),
        "labels": scores.classes if scores else label_names(inputs),
        "shown": partial(
            shown_metric, positive=words.plain(inputs.results.get("positive_label") or "") or None
        ),
        "constant": {words.plain(name): number(v) for name, v in inputs.result("constant").items()},
        "told": [words.plain(line) for line in listing(inputs.results.get("warnings"))],
        "teacher_metrics": mapping(inputs.result("teacher").get("metrics")),
        "expectations": tables.expectations(inputs),
        "slices": tables.slices(inputs),
        "prediction_sets": tables.prediction_sets(inputs),
        "eval_metrics": {words.plain(name): number(v) for name, v in inputs.eval_metrics.items()},
        "comparison": tables.teacher_and_student(inputs),
        "scorecard": tables.scorecard(inputs),
        "measured_on": tables.measured_on(inputs),
        "verdict": tables.verdict(inputs),
        "cost": tables.cost(inputs),
        "exports": export_table(inputs.result("exports")),
        "cut_texts": tables.cut_texts(inputs),
        "notes": (*inputs.notes, *_contradictions(inputs, scores), *notes),
    }


def _headline(run: RunFiles, scores: ClassScores | None) -> Headline:
    """Final metrics; failing those, what the predictions give; failing those, the log's last evaluation."""
    from ptm.report.scores import wilson_interval

    task = _descriptor(run)
    first = [run.best_metric] if run.best_metric != "loss" else []
    first += [task.evaluation.headline] if task and task.evaluation else []
    size = number(run.result("eval").get("examples"))
    n = scores.n if scores else int(size) if 1 <= size < math.inf else run.split_size("eval")
    metrics, source = run.result("metrics"), "final"
    if not metrics and scores:
        metrics = {"accuracy": scores.accuracy}
        source = "from predictions.jsonl: the run left no final metrics"
    elif not metrics and run.evals:
        last = run.evals[-1]
        metrics = mapping(last.get("metrics"))
        source = f"of the last evaluation, step {last.get('step')}: the run left no final metrics"
    order = dict.fromkeys([*first, *tables.HEADLINE_METRICS, *metrics])
    values = {words.plain(name): number(metrics[name]) for name in order if name in metrics}
    accuracy = values.get("accuracy", math.nan)
    # Words of one sentence are right or wrong together: no interval is known for the accuracy over them.
    of_examples = task is None or task.per_example
    interval = wilson_interval(accuracy, n) if of_examples and n and 0 <= accuracy <= 1 else None
    return Headline(metrics=values, source=source if values else "none", n=n, interval=interval)


def _saved_model(run: RunFiles) -> dict[str, Any] | None:
    """What ``model.json`` says of an image model that other programs can build; None for any other."""
    from ptm.vision.mask_views import FILL
    from ptm.vision.resnet_cifar import NAMES

    content = run.saved_model
    try:
        name, backbone = str(content["architecture"]), content.get("backbone")
    except KeyError:
        return None
    # All of it goes into code that a reader is to copy.
    plain = all(_PLAIN_NAME.fullmatch(str(each)) for each in (name, backbone or "none"))
    whole = all(content.get(key) is None or type(content[key]) is int for key in ("width", "resize"))
    built = name in _PYRAMIDS if _detects(run) and backbone is not None else True
    built = built and (isinstance(backbone, str) or not name.startswith("smp:"))
    unknown = not (plain and whole and built)
    if unknown:
        return None
    blank = {"backbone": None, "resize": None, "width": None, "whole": True}
    return {**blank, **content, "fill": FILL, "cifar": name in NAMES}


def _detects(run: RunFiles) -> bool:
    task = _descriptor(run)
    return task is not None and task.boxes


def _descriptor(run: RunFiles) -> Task | None:
    """What is known of the run's task; None where its files name none that there is."""
    name = run.results.get("task") or run.spec("task")
    return TASKS.get(name) if isinstance(name, str) else None


def _contradictions(run: RunFiles, scores: ClassScores | None) -> list[str]:
    """Where files of one run disagree, and numbers that are not finite."""
    notes = []
    name = "test_predictions.jsonl" if run.tested else "predictions.jsonl"
    if scores:
        recorded = number(run.result("metrics").get("accuracy"))
        size = number(run.result("eval").get("examples"))
        if math.isfinite(size) and size != scores.n:
            notes.append(f"{scores.n} predictions in {name}, {size:.0f} examples in results.json")
        if math.isfinite(recorded) and abs(recorded - scores.accuracy) > 1e-6:
            notes.append(f"accuracy {recorded:.4f} in results.json, {scores.accuracy:.4f} by {name}")
    broken = run.first_broken_step
    if broken is not None:
        notes.append(f"training was not finite at step {broken:.0f}: its loss or its gradient")
    metrics = run.result("metrics")
    not_finite = [words.plain(name) for name in metrics if not math.isfinite(number(metrics[name]))]
    if not_finite:
        notes.append(f"not finite: {', '.join(not_finite)}")
    return notes


def render_template(template: str, values: Mapping[str, Any]) -> str:
    # Values of slices and names of labels may hold what a terminal obeys, and pages are read in terminals, too.
    return printable(_environment(template.endswith(".html.j2")).get_template(template).render(values))


@cache
def _environment(autoescape: bool) -> jinja2.Environment:
    """Made once: to compile a template takes longer than to fill it."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ptm.report", "templates"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": words.plain, "metric": words.metric, "count": words.count}
    environment.filters |= {"md": words.markdown, "code": words.code_span, "finite": math.isfinite}
    environment.globals |= {"matrix_classes": tables.MATRIX_CLASSES, "most_classes": tables.MOST_CLASSES}
    return environment
