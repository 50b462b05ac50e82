"""The tables of a report as rows of words and numbers, from what a run's files hold; empty where they hold nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptm.report import words
from ptm.report.inputs import RunFiles, listing, mapping, number
from ptm.report.predictions import ClassScores

MATRIX_CLASSES = 20  # with more, the matrix gives way to its most frequent mistakes
MOST_CLASSES = 1000  # rows of the table of all classes
# Metrics that come before all others, in this order.
HEADLINE_METRICS = ("accuracy", "f1", "f1_macro", "auroc", "loss")

# --- classes


def class_rows(scores: ClassScores | None) -> list[tuple[str, float, float, float, int]]:
    """Name, precision, recall, F1 and support of each class."""
    if scores is None:
        return []
    values = scores.per_class
    columns = (values.precision.tolist(), values.recall.tolist(), values.f1.tolist(), values.support.tolist())
    return list(zip(scores.classes, *columns, strict=True))


def confusion_matrix(scores: ClassScores | None) -> list[tuple[str, list[tuple[int, float]]]]:
    """Rows of the confusion matrix: label, then count and fraction of the row, a cell each. Empty if too large."""
    from ptm.report.scores import confusion

    if scores is None or len(scores.classes) > MATRIX_CLASSES:
        return []
    matrix = confusion(scores.targets, scores.predicted, len(scores.classes))
    rows = zip(scores.classes, matrix.tolist(), strict=True)
    return [(name, [(count, count / max(sum(row), 1)) for count in row]) for name, row in rows]


def confused_pairs(scores: ClassScores | None) -> list[tuple[str, str, int, float]]:
    """Where the matrix is too large, the most frequent mistakes: label, prediction, count, fraction of the label."""
    from ptm.report.scores import most_confused

    if scores is None or len(scores.classes) <= MATRIX_CLASSES:
        return []
    names, support = scores.classes, scores.per_class.support
    mistakes = most_confused(scores.targets, scores.predicted, MATRIX_CLASSES)
    return [
        (names[label], names[prediction], count, count / int(support[label]))
        for label, prediction, count in mistakes
    ]


# --- the run

_SLICE_METRICS = 6  # columns of a table of slices


def expectations(run: RunFiles) -> list[dict[str, Any]]:
    """The bounds of ``expect:``, and whether they were met."""
    rows = (mapping(row) for row in listing(run.results.get("expect")))
    return [
        {
            "metric": words.plain(row.get("metric")),
            "bound": words.plain(row.get("bound")),
            "value": words.metric(row.get("value")) if row.get("value") is not None else "no value there",
            "met": row.get("met") is True,
        }
        for row in rows
        if row
    ]


def prediction_sets(run: RunFiles) -> dict[str, Any]:
    """Sets of labels by coverage: ``examples`` that they go by, ``split`` that ``rows`` were measured on; {} where
    there are none."""
    content = run.result("prediction_sets")
    found = [row for row in map(mapping, listing(content.get("sets"))) if row]
    rows = [
        (
            words.percent(row.get("coverage")),
            words.metric(row.get("realised")),
            ("at least " if row.get("at_least") is True else "") + f"{number(row.get('mean_size')):.2f}",
            words.metric(row.get("least")),
        )
        for row in found
    ]
    split = "test" if found and found[0].get("split") == "test" else "eval"
    return {"examples": words.count(content.get("examples")), "split": split, "rows": rows} if rows else {}


def slices(run: RunFiles) -> dict[str, dict[str, Any]]:
    """By the name of a slice: ``metrics``, their names, and ``rows``: value, examples, a number or "" a metric."""
    by_slice: dict[str, list[Mapping[str, Any]]] = {}
    for row in map(mapping, listing(run.results.get("slices"))):
        by_slice.setdefault(words.plain(row.get("slice")), []).append(row)
    sections = {}
    for name, rows in by_slice.items():
        metrics = list(dict.fromkeys(metric for row in rows for metric in mapping(row.get("metrics"))))
        # Of single labels there are too many for a table.
        columns = [metric for metric in metrics if "/" not in metric][:_SLICE_METRICS]
        lines = [
            (
                words.plain(row.get("value")),
                words.count(row.get("examples")),
                [_known(mapping(row.get("metrics")).get(metric)) for metric in columns],
            )
            for row in rows
        ]
        sections[name] = {"metrics": [words.plain(metric) for metric in columns], "rows": lines}
    return sections


def cost(run: RunFiles) -> list[tuple[str, str]]:
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


def cut_texts(run: RunFiles) -> str:
    """How many texts were cut, as a sentence; "" where none was, or nothing is known."""
    facts = mapping(run.manifest.get("data"))
    limit = run.spec("data", "max_length")
    parts = []
    for split, name in (("train", "training"), ("eval", "evaluation"), ("test", "test")):
        section = mapping(facts.get(split))
        sides = [("", section), *((f"{side} ", mapping(section.get(side))) for side in ("source", "target"))]
        for side, counts in sides:
            cut, examples = number(counts.get("cut_to_max_length")), number(section.get("examples"))
            if cut > 0 and examples > 0:
                parts.append(f"{words.percent(cut / examples)} of the {side}{name} texts")
    if not parts:
        return ""
    to = f" than {limit} tokens" if isinstance(limit, int) else " than the limit"
    return f"Longer{to}, and cut there: {', '.join(parts)}."


# --- distillation


def teacher_and_student(run: RunFiles) -> list[tuple[str, str, str, str]]:
    """Rows: what, teacher, student, how they compare. Empty without a teacher."""
    teacher, student, distill = run.result("teacher"), run.result("model"), run.result("distill")
    rows = []
    before, after = number(teacher.get("parameters")), number(student.get("parameters"))
    if before > 0 and after > 0:
        rows.append(("Parameters", words.brief(before), words.brief(after), f"{before / after:.3g} to 1"))
    # A teacher is measured on the evaluation split.
    reference, metrics = mapping(teacher.get("metrics")), run.eval_metrics or run.result("metrics")
    for name in dict.fromkeys([*HEADLINE_METRICS, *reference]):
        if name in reference and name in metrics:
            before, after = number(reference[name]), number(metrics[name])
            change = words.signed(after - before)
            rows.append((words.plain(name), words.metric(before), words.metric(after), change))
    before, after = number(distill.get("teacher_seconds")), number(distill.get("student_seconds"))
    if before >= 0 and after >= 0:
        fraction = f"{words.percent(before / (before + after))} teacher" if before + after > 0 else ""
        rows.append(("Time in training", words.duration(before), words.duration(after), fraction))
    store = mapping(distill.get("store"))
    if store.get("used") is True:
        counts = f"{words.count(store.get('hits'))} found, {words.count(store.get('misses'))} computed"
        rows.append(("Outputs from the store", words.percent(store.get("hit_rate")), "", counts))
    return rows


def scorecard(run: RunFiles) -> tuple[list[str], list[list[str]]]:
    """``ptm report`` of a distilled run: names of the models, and rows: what, a value a model."""
    models = {
        words.plain(name): mapping(column)
        for name, column in mapping(run.result("scorecard").get("models")).items()
    }
    name = words.plain(run.result("scorecard").get("metric") or "accuracy").replace("_", " ")
    rows = [
        [name.capitalize(), *(_known(c.get("value")) for c in models.values())],
        [f"Share of the teacher's {name}", *(words.percent(c.get("kept")) for c in models.values())],
        ["Agreement with the teacher", *(words.percent(c.get("agreement")) for c in models.values())],
        ["Correlation with the teacher", *(_known(c.get("correlation")) for c in models.values())],
        ["Parameters", *(words.count(c.get("parameters")) for c in models.values())],
        ["Weights in memory", *(words.size(c.get("bytes")) for c in models.values())],
        ["Weights on disk", *(words.size(c.get("disk_bytes")) for c in models.values())],
        ["Evaluation speed", *(words.speed(c.get("examples_per_second")) for c in models.values())],
    ]
    for size in ("1", "32"):
        cells = [_latency(mapping(mapping(c.get("latency_ms")).get(size))) for c in models.values()]
        rows.append([f"Latency, batch {size}: median, p95", *cells])
    return list(models), [row for row in rows if any(row[1:])]


def measured_on(run: RunFiles) -> str:
    where = mapping(run.result("scorecard").get("where"))
    threads = f", {words.count(where.get('threads'))} threads" if where.get("device") == "cpu" else ""
    return f"measured on {words.plain(where['device'])}{threads}" if "device" in where else ""


def verdict(run: RunFiles) -> str:
    """The sentence of the comparison with the control."""
    return words.plain(run.result("verdict").get("sentence") or "")


def _latency(values: Mapping[str, Any]) -> str:
    median, p95 = number(values.get("median")), number(values.get("p95"))
    return (
        f"{words.milliseconds(median)}, {words.milliseconds(p95)}" if median == median and p95 == p95 else ""
    )


def _known(value: Any) -> str:
    """A metric that some tasks have; empty for those that have it not."""
    return "" if value is None else words.metric(value)
