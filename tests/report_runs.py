"""Run directories as reports meet them, and what a browser would see of a page."""

from __future__ import annotations

import json
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from ptm.report.page import write_report
from ptm.report.shown import Views

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


def views_of(**views: Any) -> Views:
    """Views of which some show nothing."""
    nothing = {"examples": lambda i: {}, "drawings": lambda i, p: None, "insights": lambda i, label: {}}
    return Views(**nothing | views)


def report_of(run: Path, **views: Any) -> tuple[Page, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_report(run, views_of(**views) if views else None)
    return Page((run / "report.html").read_text()), (run / "README.md").read_text()


def wilson_by_formula(correct: int, n: int) -> tuple[float, float]:
    """The two roots of (p - x)^2 = z^2 x (1 - x) / n, Wilson's own definition."""
    z, p = 1.959963984540054, correct / n
    roots = np.roots([1 + z * z / n, -(2 * p + z * z / n), p * p])
    return float(roots.min()), float(roots.max())


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
