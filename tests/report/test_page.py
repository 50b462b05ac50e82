"""The page as a whole: hostile texts, ruined run directories, the same bytes each time."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from ptm.base.printable import printable
from ptm.config.spec import DataSpec, GenerateSpec, ModelSpec, TrainSpec
from ptm.config.tasks import TASKS
from ptm.errors import RunDirectoryError
from ptm.experiment.card import code_of
from ptm.report.page import card_text, write_report
from report_runs import (
    FILES,
    HOSTILE,
    make_predictions,
    make_run,
    report_of,
    ruin_file,
)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_an_interrupted_run_shows_its_last_evaluation(tmp_path: Path) -> None:
    classes = ["negative", "positive"]
    run = make_run(tmp_path / "run", classes, make_predictions(classes, 40), status="interrupted", metrics={})
    (run / "predictions.jsonl").unlink()
    page, _ = report_of(run)
    assert "continued with --resume" in page.words
    assert "Numbers of the last evaluation, step 500" in page.words


@pytest.mark.slow
def test_files_that_disagree_are_told(tmp_path: Path) -> None:
    classes = ["negative", "positive"]
    run = make_run(tmp_path / "run", classes, make_predictions(classes, 40), metrics={"accuracy": 0.123})
    lines = (run / "predictions.jsonl").read_text().splitlines()
    (run / "predictions.jsonl").write_text("\n".join(lines[:30]))
    page, _ = report_of(run)
    assert "30 predictions in predictions.jsonl, 40 examples in results.json" in page.words
    assert "accuracy 0.1230 in results.json" in page.words


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def environment(**extra: str) -> dict[str, str]:
    import os

    root = Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": str(root), **extra}


def test_15_16_nothing_in_a_page_is_obeyed_by_a_terminal(tmp_path):
    classes = ["a", "b\x1b[31m"]
    sliced = {"source": {"web\x1b]0;x\x07\u202e": {"examples": 3, "metrics": {"accuracy": 1.0}}}}
    run = make_run(tmp_path / "run", classes, make_predictions(classes), slices=sliced, warnings=["\x1b[2J"])
    write_report(run)
    for name in ("report.html", "README.md"):
        text = (run / name).read_text()
        assert printable(text) == text, name


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.modality == "text"])
def test_15_01_a_card_of_a_text_model_holds_no_code_of_its_config_s(tmp_path, task):
    """A stranger's config says whatever it likes in any key; what a reader is to copy is ptm's own."""
    payload = "2)]; import os; os.system('id')  #"
    sections = {"data": DataSpec, "model": ModelSpec, "train": TrainSpec, "generate": GenerateSpec}
    content: dict[str, object] = {
        section: dict.fromkeys((field.name for field in fields(spec)), payload)  # type: ignore[arg-type]
        for section, spec in sections.items()
    }
    (tmp_path / "model").mkdir()
    (tmp_path / "config.yaml").write_text(json.dumps({"version": 1, "task": task, **content}))
    (tmp_path / "results.json").write_text(json.dumps({"task": task, "status": "done", "metrics": {}}))
    for published in ("", "me/model"):
        code = code_of(card_text(tmp_path, published))
        assert code is not None and "import os" not in code
        compile(code, "card", "exec")
