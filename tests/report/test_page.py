"""The report against numbers computed elsewhere, hostile texts, and ruined run directories."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn import metrics

from ptm.errors import DataError, RunDirectoryError
from ptm.report import scores
from ptm.report.inputs import number, read_run
from ptm.report.page import write_report
from ptm.report.words import brief, code_span, duration, markdown, metric, size

HOSTILE = (
    "<script>alert('x')</script> <img src=http://evil.example/x.png onerror=alert(1)> a | b `c` *d* \"e\""
)
VOID = {"meta", "img", "br", "link", "input", "hr"}
SVG_EMPTY = {"path", "use", "rect", "g"}  # may be written with a slash
PNG = b"\x89PNG\r\n\x1a\n..."


class Page(HTMLParser):
    """Checks that tags match, and collects what a browser would act on, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._collect(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SVG_EMPTY and "svg" in self.open
        self._collect(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "

    def _collect(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def make_predictions(classes: list[str], n: int = 200, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(n):
        target = int(rng.integers(len(classes)))
        logits = rng.normal(size=len(classes))
        logits[target] += 1.5
        shares = np.exp(logits) / np.exp(logits).sum()
        rows.append(
            {
                "id": index,
                "label": classes[target],
                "prediction": classes[int(shares.argmax())],
                "scores": {name: round(float(share), 6) for name, share in zip(classes, shares, strict=True)},
                "where": f"reviews.csv:{index + 2}",
                "input": f"text number {index}",
            }
        )
    return rows


def make_run(run: Path, classes: list[str], predictions: list[dict[str, Any]], **results: Any) -> Path:
    run.mkdir(exist_ok=True)
    (run / "model").mkdir(exist_ok=True)
    accuracy = sum(row["label"] == row["prediction"] for row in predictions) / len(predictions)
    lines: list[dict[str, Any]] = []
    for step in range(10, 1000, 10):
        lines.append(
            {
                "kind": "train",
                "step": step,
                "epoch": step / 400,
                "loss": 1 / step,
                "learning_rate": 1e-5,
                "grad_norm": 1.0,
                "examples_per_second": 50.0,
                "parts": {"ce": 0.5, "kd": 2 / step},
            }
        )
    lines += [
        {
            "kind": "eval",
            "step": 500,
            "epoch": 1.2,
            "metrics": {"loss": 0.4, "accuracy": accuracy},
            "seconds": 1,
        }
    ]
    final = {
        "task": "text-classification",
        "status": "done",
        "metrics": {"loss": 0.4321, "accuracy": accuracy},
        "best": {"metric": "accuracy", "mode": "max", "value": accuracy, "step": 500},
        "train": {
            "steps": 990,
            "epochs": 2.5,
            "examples": 31680,
            "seconds": 100.0,
            "examples_per_second": 316.8,
        },
        "eval": {
            "split": "validation",
            "examples": len(predictions),
            "seconds": 1.0,
            "examples_per_second": 200.0,
        },
        "model": {
            "name": "tiny-bert",
            "parameters": 4_385_920,
            "trainable_parameters": 4_385_920,
            "bytes": 17_543_680,
        },
        "teacher": None,
        "distill": None,
        "expect": [
            {"metric": "accuracy", "bound": ">= 0.1", "value": accuracy, "met": True},
            {"metric": "loss", "bound": "<= 0.1", "value": 0.4321, "met": False},
        ],
        "labels": classes,
    }
    config = (
        "task: text-classification\nmodel: {name: tiny-bert}\ndata: {source: 'csv:reviews', max_length: 64}\n"
    )
    (run / "config.yaml").write_text(config)
    (run / "manifest.json").write_text(json.dumps({"packages": {"torch": "2.14.1"}, "seed": 42}))
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "results.json").write_text(json.dumps(final | results))
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in predictions))
    return run


def report_of(run: Path, **options: Any) -> tuple[Page, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_report(run, **options)
    return Page((run / "report.html").read_text()), (run / "README.md").read_text()


def wilson_by_formula(correct: int, n: int) -> tuple[float, float]:
    """The two roots of (p - x)^2 = z^2 x (1 - x) / n, Wilson's own definition."""
    z, p = 1.959963984540054, correct / n
    roots = np.roots([1 + z * z / n, -(2 * p + z * z / n), p * p])
    return float(roots.min()), float(roots.max())


@pytest.mark.parametrize("classes", [["negative", "positive"], [f"class {i}" for i in range(10)]])
def test_numbers_are_those_of_scikit_learn(tmp_path: Path, classes: list[str]) -> None:
    rows = make_predictions(classes)
    page, card = report_of(make_run(tmp_path / "run", classes, rows))
    labels, predicted = [row["label"] for row in rows], [row["prediction"] for row in rows]
    accuracy = metrics.accuracy_score(labels, predicted)
    low, high = wilson_by_formula(round(accuracy * len(rows)), len(rows))
    assert f"accuracy {accuracy:.4f} 95 % interval {low:.4f} – {high:.4f} n = 200" in page.words
    assert f"| accuracy | {accuracy:.4f} (95 % interval {low:.4f} – {high:.4f}) |" in card
    columns = metrics.precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    for name, precision, recall, f1, support in zip(classes, *columns, strict=True):
        assert f"{name} {precision:.3f} {recall:.3f} {f1:.3f} {support}" in page.words
    means = metrics.precision_recall_fscore_support(labels, predicted, labels=classes, average="macro")[:3]
    assert "mean {:.3f} {:.3f} {:.3f} 200".format(*means) in page.words
    matrix = metrics.confusion_matrix(labels, predicted, labels=classes)
    drawn = re.findall(
        r'<td class="(?:hit|miss|none)" style="--a:([\d.]+)">(\d+)',
        (tmp_path / "run/report.html").read_text(),
    )
    assert [int(count) for _, count in drawn] == matrix.flatten().tolist()
    assert np.allclose(
        [float(share) for share, _ in drawn], (matrix / matrix.sum(1, keepdims=True)).flatten(), atol=1e-3
    )


def test_calibration_error_is_the_textbook_sum(tmp_path: Path) -> None:
    classes = ["a", "b", "c"]
    rows = make_predictions(classes, 333)
    page, _ = report_of(make_run(tmp_path / "run", classes, rows))
    error = 0.0
    for low in range(10):
        inside = [row for row in rows if low / 10 < max(row["scores"].values()) <= (low + 1) / 10]
        right = sum(row["label"] == row["prediction"] for row in inside)
        stated = sum(max(row["scores"].values()) for row in inside)
        error += abs(right - stated) / len(rows)
    assert f"expected calibration error {error:.4f}" in page.words


def test_worst_mistakes_come_first_and_only_twenty(tmp_path: Path) -> None:
    classes = ["negative", "positive"]
    rows = make_predictions(classes, 400)
    page, _ = report_of(make_run(tmp_path / "run", classes, rows))
    wrong = [row for row in rows if row["label"] != row["prediction"]]
    worst = sorted(wrong, key=lambda row: -row["scores"][row["prediction"]])[:20]
    found = re.findall(
        r"predicted (\w+) ([\d.]+) labelled (\w+) ([\d.]+) text number (\d+) (reviews.csv:\d+)", page.words
    )
    expected = [
        (
            row["prediction"],
            f"{row['scores'][row['prediction']]:.3f}",
            row["label"],
            f"{row['scores'][row['label']]:.3f}",
            str(row["id"]),
            row["where"],
        )
        for row in worst
    ]
    assert len(wrong) > 20
    assert found == expected


def test_many_classes_show_the_most_confused_pairs(tmp_path: Path) -> None:
    classes = [f"species {i:02d}" for i in range(40)]
    rows = make_predictions(classes, 800)
    page, _ = report_of(make_run(tmp_path / "run", classes, rows))
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        if row["label"] != row["prediction"]:
            counts[row["label"], row["prediction"]] = counts.get((row["label"], row["prediction"]), 0) + 1
    pairs = sorted(counts, key=lambda pair: (-counts[pair], pair))[:20]
    start = page.words.index("label taken for times of the label")
    for pair in pairs:
        start = page.words.index(f"{pair[0]} {pair[1]} {counts[pair]} ", start)
    assert "All 40 classes" in page.words
    assert "Confusion matrix" not in page.words


def test_examples_are_looked_up_by_id(tmp_path: Path) -> None:
    classes = ["cat", "dog"]
    rows = [
        {key: row[key] for key in ("id", "label", "prediction", "scores")}
        for row in make_predictions(classes, 50)
    ]
    run = make_run(tmp_path / "run", classes, rows, task="image-classification")
    page, card = report_of(run, examples=lambda index: {"image_png": PNG, "where": f"pets/{index}.png"})
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    wrong = [row["id"] for row in rows if row["label"] != row["prediction"]]
    assert len(images) == min(20, len(wrong))
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in images)
    assert all(f"pets/{image['alt'].split()[-1]}.png" in page.text for image in images if image["alt"])
    assert "ptm eval . --data imagefolder:FOLDER" in card
    assert "transformers" not in card.split("## Versions")[0]


def test_a_failing_lookup_is_told_and_does_not_fail_the_report(tmp_path: Path) -> None:
    def gone(index: int) -> dict[str, Any]:
        raise FileNotFoundError(2, "No such file", f"pets/{index}.png")

    classes = ["cat", "dog"]
    page, _ = report_of(make_run(tmp_path / "run", classes, make_predictions(classes, 50)), examples=gone)
    assert re.search(r"\d+ examples could not be looked up; the first: example \d+", page.words)
    assert "text number" in page.words  # what the predictions say of themselves is shown instead


def test_a_task_without_classes_shows_examples_of_what_was_predicted(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (900, 600), "red").save(buffer, "PNG")
    rows = [
        {"id": i, "where": f"{i}.png", "boxes": [[i, 2, 3, 4]], "labels": ["<b>car</b>"], "loss": 0.5}
        for i in range(30)
    ]
    run = make_run(tmp_path / "run", ["a", "b"], make_predictions(["a", "b"]))
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawn: list[tuple[int, Any]] = []

    def draw(index: int, row: Any) -> bytes | None:
        drawn.append((index, row))
        if index == 6:
            raise DataError("the image is gone", where="6.png")
        return buffer.getvalue() if index else None

    page, _ = report_of(run, examples=lambda index: {"text": f"picture {index}"}, drawings=draw)
    assert [index for index, _ in drawn] == list(range(0, 30, 3))
    assert all(row == rows[index] for index, row in drawn)
    assert "picture 27" in page.words
    assert "boxes [[27, 2, 3, 4]]" in page.words
    assert "labels ['<b>car</b>']" in page.words
    assert "loss 0.5" not in page.words
    assert "the first: example 6: 6.png: the image is gone" in page.words
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', (run / "report.html").read_text())
    assert len(images) == 8
    assert Image.open(io.BytesIO(base64.b64decode(images[0]))).size == (360, 240)
    assert "Confusion" not in page.words


def test_classifiers_show_no_such_examples(tmp_path: Path) -> None:
    page, _ = report_of(make_run(tmp_path / "run", ["a", "b"], make_predictions(["a", "b"])))
    assert "of the evaluated examples, spread evenly" not in page.words


def test_hostile_texts_are_only_texts(tmp_path: Path) -> None:
    classes = [HOSTILE, "</td><svg onload=alert(2)>"]
    rows = make_predictions(classes, 60)
    for row in rows:
        row["input"] = row["where"] = HOSTILE
    hostile_metrics = {"accuracy": 0.5, "$\\alpha": 0.1, HOSTILE: 0.2}
    teacher = {"name": HOSTILE, "parameters": 10, "metrics": {HOSTILE: 0.3}}
    expect = [{"metric": HOSTILE, "bound": HOSTILE, "value": 0.2, "met": False}]
    run = make_run(
        tmp_path / "run",
        classes,
        rows,
        task=HOSTILE,
        status=HOSTILE,
        metrics=hostile_metrics,
        best={"metric": HOSTILE, "mode": HOSTILE, "value": 1, "step": 500},
        model={"name": HOSTILE, "parameters": 10},
        teacher=teacher,
        expect=expect,
        command=HOSTILE,
    )
    (run / "config.yaml").write_text(f"model: {{name: x}}\n# {HOSTILE} {{{{ 7 * 7 }}}}\n")
    (run / "manifest.json").write_text(
        json.dumps({HOSTILE: {HOSTILE: [HOSTILE]}, "packages": {HOSTILE: HOSTILE}})
    )
    evaluation = {"kind": "eval", "step": 500, "metrics": {HOSTILE: 0.2, "loss": 1.0}}
    training = {"kind": "train", "step": 1, "loss": 1.0, "parts": {HOSTILE: 1.0, "$x_$": 2.0}}
    (run / "metrics.jsonl").write_text(f"{json.dumps(training)}\n{json.dumps(evaluation)}\n")
    page, card = report_of(run)
    html = (run / "report.html").read_text()
    assert {tag for tag, _ in page.tags} & {
        "script",
        "iframe",
        "object",
        "embed",
        "link",
        "form",
        "base",
    } == set()
    assert not any(tag == "img" for tag, _ in page.tags)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert HOSTILE in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "<script" not in html
    prose = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", card)  # code spans show their content as it is
    assert "<" not in prose
    rows_of_tables = [line for line in card.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) in (3, 4) for line in rows_of_tables)


FILES = ["config.yaml", "manifest.json", "results.json", "metrics.jsonl", "predictions.jsonl"]


def ruin_file(path: Path, how: str) -> None:
    content = path.read_bytes()
    cut = content[: len(content) * 2 // 3]
    broken = {
        "empty": b"",
        "cut": cut,
        "binary": bytes(range(256)),
        "list": b"[1, 2]\n",
        "deep": b"[" * 100_000,
    }
    path.unlink() if how == "missing" else path.write_bytes(broken[how])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "binary", "list", "deep"])
def test_ruined_files_are_noted(tmp_path: Path, name: str, how: str) -> None:
    classes = ["negative", "positive"]
    run = make_run(tmp_path / "run", classes, make_predictions(classes, 40))
    ruin_file(run / name, how)
    notes = read_run(run).notes
    still_yaml = name == "config.yaml" and how in ("cut", "list")
    assert still_yaml or (len(notes) == 1 and notes[0].startswith(name))


@pytest.mark.parametrize("name", FILES)
def test_what_is_left_of_a_ruined_run_is_shown(tmp_path: Path, name: str) -> None:
    classes = ["negative", "positive"]
    run = make_run(tmp_path / "run", classes, make_predictions(classes, 40))
    ruin_file(run / name, "cut")
    page, card = report_of(run)
    if name != "config.yaml":  # cut where it was, it is still YAML
        assert f"{name}" in page.words.split("Results")[0]
        assert f"Note: {name}" in card
    assert ("0.4321" in page.words) == (name != "results.json")
    assert ("Worst mistakes" in page.words) and ("Learning rate" in page.words)


def test_an_empty_run_directory_gives_a_page_that_says_so(tmp_path: Path) -> None:
    page, card = report_of(tmp_path)
    assert "nothing was evaluated" in page.words
    assert "No training was logged" in page.words
    assert "no `model/` yet" in card


def test_a_run_that_diverged_shows_where(tmp_path: Path) -> None:
    classes = ["negative", "positive"]
    rows = make_predictions(classes, 40)
    rows[3]["scores"] = {"negative": math.nan, "positive": None}
    run = make_run(
        tmp_path / "run",
        classes,
        rows,
        status="failed",
        metrics={"loss": "nan", "accuracy": None},
        reason="loss is <nan>",
    )
    lines = [
        {"kind": "train", "step": 10, "loss": 0.5, "learning_rate": 1e-3, "grad_norm": 2.0},
        {"kind": "train", "step": 20, "loss": "nan", "learning_rate": 1e-3, "grad_norm": "inf"},
        {"kind": "train", "step": 30, "loss": None, "learning_rate": None, "grad_norm": None},
        {"kind": "eval", "step": 30, "metrics": {"loss": "inf", "accuracy": "nan"}},
        {"kind": "error", "step": 31, "loss": "nan", "grad_norm": "nan", "ids": [1, 2]},
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page, card = report_of(run)
    assert "training was not finite at step 20" in page.words
    assert "accuracy not finite" in page.words
    assert "loss is <nan>" in page.words
    assert "loss is &lt;nan&gt;" in card
    assert "not finite: loss, accuracy" in page.words
    assert "| loss | not finite |" in card
    assert "did not come to its end (status: failed)" in card


def test_an_interrupted_run_shows_its_last_evaluation(tmp_path: Path) -> None:
    classes = ["negative", "positive"]
    run = make_run(tmp_path / "run", classes, make_predictions(classes, 40), status="interrupted", metrics={})
    (run / "predictions.jsonl").unlink()
    page, _ = report_of(run)
    assert "continued with --resume" in page.words
    assert "Numbers of the last evaluation, step 500" in page.words


def test_files_that_disagree_are_told(tmp_path: Path) -> None:
    classes = ["negative", "positive"]
    run = make_run(tmp_path / "run", classes, make_predictions(classes, 40), metrics={"accuracy": 0.123})
    lines = (run / "predictions.jsonl").read_text().splitlines()
    (run / "predictions.jsonl").write_text("\n".join(lines[:30]))
    page, _ = report_of(run)
    assert "30 predictions in predictions.jsonl, 40 examples in results.json" in page.words
    assert "accuracy 0.1230 in results.json" in page.words


def test_teacher_and_student_are_compared(tmp_path: Path) -> None:
    classes = ["negative", "positive"]
    run = make_run(
        tmp_path / "run",
        classes,
        make_predictions(classes, 40),
        teacher={"name": "runs/large", "parameters": 43_859_200, "metrics": {"loss": 0.4}},
        distill={"teacher_seconds": 30.0, "student_seconds": 90.0},
    )
    page, card = report_of(run)
    assert "Parameters 43.9 M 4.39 M 10 to 1" in page.words
    assert "loss 0.4000 0.4321 +0.0321" in page.words
    assert "Time in training 30 s 1 min 30 s 25 % teacher" in page.words
    assert "taught by `runs/large`" in card
    assert "| loss | 0.4321 | 0.4000 |" in card


def test_the_card_says_how_to_use_pairs_of_texts(tmp_path: Path) -> None:
    classes = ["no", "yes"]
    run = make_run(tmp_path / "run", classes, make_predictions(classes, 40))
    _, card = report_of(run)
    assert 'classify("A text to classify.", truncation=True, max_length=64)' in card
    (run / "config.yaml").write_text("data: {text: a, text_pair: b}\n")
    _, card = report_of(run)
    assert 'classify({"text": "One text.", "text_pair": "The other."}, truncation=True)' in card
    for code in re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL):
        compile(code, "card", "exec")


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    classes = [f"class {i}" for i in range(10)]
    run = make_run(tmp_path / "run", classes, make_predictions(classes))
    write_report(run)
    first = (run / "report.html").read_bytes(), (run / "README.md").read_bytes()
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: red\nfont.size: 30\nsvg.hashsalt: other\n")
    code = f"from pathlib import Path; from ptm.report.page import write_report; write_report(Path({str(run)!r}))"
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment(PYTHONHASHSEED="7")
    )
    assert ((run / "report.html").read_bytes(), (run / "README.md").read_bytes()) == first
    assert sorted(path.name for path in run.iterdir() if path.name.startswith(".")) == []


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    classes = [f"class {i}" for i in range(10)]
    run = make_run(tmp_path / "run", classes, make_predictions(classes))
    page, _ = report_of(run)
    html = (run / "report.html").read_text()
    loading = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}
    addresses = [
        value or "" for _, attributes in page.tags for name, value in attributes.items() if name in loading
    ]
    assert all(address.startswith(("#", "data:image/png")) for address in addresses)
    assert "http" not in html.replace("http-equiv", "")
    assert "@import" not in html
    assert all(match.startswith("#") for match in re.findall(r"url\(([^)]*)", html))
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none'")
    assert len(page.ids) == len(set(page.ids))
    assert all(address[1:] in page.ids for address in addresses if address.startswith("#"))


def test_charts_follow_the_colours_of_the_page(tmp_path: Path) -> None:
    classes = ["negative", "positive"]
    run = make_run(tmp_path / "run", classes, make_predictions(classes))
    report_of(run)
    html = (run / "report.html").read_text()
    charts = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(charts) == 6  # loss, evaluation, parts, learning rate, gradient, reliability
    assert not any(re.search(r"#[0-9a-f]{6}\b", chart) for chart in charts)
    variables = set(re.findall(r"var\((--[a-z]+)\)", "".join(charts)))
    light, dark = (
        re.search(r":root \{(.*?)\}", part, re.DOTALL) for part in html.split("@media (prefers-color", 1)
    )
    assert light and dark
    assert all(f"{name}:" in light[1] and f"{name}:" in dark[1] for name in variables)


def test_a_directory_that_is_not_there_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="no such run directory"):
        write_report(tmp_path / "gone")


def test_importing_the_report_is_cheap() -> None:
    code = (
        "import sys, ptm.report.page, ptm.report.charts;"
        "print([m for m in ('numpy', 'matplotlib', 'jinja2', 'torch', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment()
    )
    assert done.stdout.strip() == "[]"


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_solves_its_equation(case: tuple[int, int]) -> None:
    correct, n = case
    low, high = scores.wilson_interval(correct / n, n)
    assert 0 <= low <= correct / n <= high <= 1
    assert np.allclose((low, high), wilson_by_formula(correct, n), atol=1e-6)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_counts_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    targets, predicted = np.array(pairs).T
    matrix = scores.confusion(targets, predicted, 4)
    assert (matrix == metrics.confusion_matrix(targets, predicted, labels=range(4))).all()
    expected = metrics.precision_recall_fscore_support(targets, predicted, labels=range(4), zero_division=0)
    found = scores.per_class(matrix)
    assert np.allclose((found.precision, found.recall, found.f1, found.support), expected)


def test_smoothing_is_a_centred_mean_that_skips_gaps() -> None:
    values = np.array([1.0, 2.0, math.nan, 4.0, 6.0])
    assert np.allclose(scores.smooth(values, 3), [1.5, 1.5, math.nan, 5.0, 5.0], equal_nan=True)
    assert np.array_equal(scores.smooth(values, 1), values, equal_nan=True)


def test_numbers_as_words() -> None:
    assert [metric(value) for value in (0.91751, 0, 12.345, 2.5e-5, "nan", None)] == [
        "0.9175",
        "0.0000",
        "12.35",
        "2.5e-05",
        "not finite",
        "not finite",
    ]
    assert [duration(value) for value in (0.123, 95.2, 3725, None)] == [
        "0.123 s",
        "1 min 35 s",
        "1 h 2 min",
        "",
    ]
    assert [size(value) for value in (999, 17_543_680, 4.2e9)] == ["999 bytes", "17.5 MB", "4.2 GB"]
    assert [brief(value) for value in (950, 272_474, 109_483_778)] == ["950", "272 k", "109 M"]
    assert math.isinf(number("inf")) and math.isnan(number(True)) and math.isnan(number("x"))


def test_markdown_is_defused() -> None:
    assert markdown("a|b\n<i> *c*") == "a\\|b &lt;i&gt; \\*c\\*"
    assert code_span("x`y") == "``x`y``"
    assert code_span("`") == "`` ` ``"
    assert code_span("a|b") == "`a\\|b`"


def environment(**extra: str) -> dict[str, str]:
    import os

    root = Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": str(root), **extra}
