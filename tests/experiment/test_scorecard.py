"""Scorecards: how latencies are taken, and the columns of exports."""

import json
import shutil
import time
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from helpers import Saying, export_of, run, text_spec
from ptm.cli.app import app
from ptm.config.spec import TeacherSpec
from ptm.experiment import scorecard
from ptm.experiment.comparison import MEASURES
from ptm.experiment.scorecard import _control_rows, _exports, latency_ms
from ptm.run.results import Results
from ptm.training.runtime import Runtime

CPU = Runtime(device=torch.device("cpu"), precision="fp32", threads=1)


def test_the_first_passes_do_not_count(monkeypatch):
    monkeypatch.setattr(scorecard, "REPEATS", 10)
    clock, calls = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def call():
        calls.append(1)
        clock[0] += 9.0 if len(calls) <= 3 else 0.001 * len(calls)  # 4 … 13 ms

    monkeypatch.setattr(scorecard, "SECONDS", 100.0)
    assert latency_ms(call, CPU) == {"median": 8.5, "p95": pytest.approx(12.55)}
    assert len(calls) == 13


def test_a_slow_model_is_timed_eight_times(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def call():
        calls.append(1)
        clock[0] += 60.0

    assert latency_ms(call, CPU) == {"median": 60_000.0, "p95": 60_000.0}
    assert len(calls) == 8


def test_nothing_is_kept_for_a_gradient_and_the_precision_is_the_runs():
    seen = []
    weight = torch.nn.Parameter(torch.ones(2, 2))
    bf16 = Runtime(device=torch.device("cpu"), precision="bf16", threads=1)
    latency_ms(lambda: seen.append(weight @ weight), bf16)
    assert not seen[0].requires_grad and seen[0].dtype == torch.bfloat16


@pytest.mark.slow
def test_14_03_exports_are_columns_and_what_is_broken_is_left_out(
    reviews_run, tiny_bert, reviews, tmp_path, monkeypatch
):
    spec = text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1, teacher=TeacherSpec(name=str(reviews_run)))
    run(spec)
    plain = export_of(tmp_path / "r", tmp_path / "plain")
    export_of(tmp_path / "r", tmp_path / "int8", tolerance=1.0, quantize="int8")
    damaged = shutil.copytree(plain, tmp_path / "damaged")
    (damaged / "settings.json").write_text("{}")
    results = json.loads((tmp_path / "r" / "results.json").read_text())
    for name, changes in (("damaged", {}), ("gone", {}), ("program", {"format": "torch"})):
        results["exports"][name] = {**results["exports"]["plain"], "path": str(tmp_path / name), **changes}
    (tmp_path / "r" / "results.json").write_text(json.dumps(results))
    monkeypatch.setattr(scorecard, "SECONDS", 0.2)
    said = Saying()
    models = scorecard.measure_scorecard(tmp_path / "r", said)["models"]
    assert list(models) == ["teacher", "student distilled", "student onnx", "student int8"]
    assert [line for line in said.lines if "student damaged is left out" in line and "settings.json" in line]
    assert models["student onnx"]["value"] == models["student distilled"]["value"]
    assert models["student onnx"]["disk_bytes"] == (plain / "model.onnx").stat().st_size
    assert models["student int8"]["latency_ms"]["32"]["median"] > 0
    done = CliRunner().invoke(app, ["report", str(tmp_path / "r"), "--no-measure"])
    assert done.exit_code == 0, done.output
    assert "student int8" in (tmp_path / "r" / "report.html").read_text()


@pytest.mark.parametrize(
    "spoil", [lambda rows: rows[:1], lambda rows: [*rows[:1], {"id": 1}], lambda rows: []]
)
def test_15_08_a_control_whose_predictions_are_damaged_is_no_column(tmp_path, spoil):
    """It ended in a traceback when all models had been measured."""
    rows = [{"id": number, "label": "a", "prediction": "a"} for number in range(2)]
    results = Results(task="text-classification", status="done", control={"run": "../control-1"})
    for name in ("control-1", "distilled-1"):
        (tmp_path / name).mkdir()
    file = tmp_path / "control-1" / "predictions.jsonl"

    def known(content):
        file.write_text("".join(json.dumps(row) + "\n" for row in content))
        return _control_rows(tmp_path / "distilled-1", results, "eval", MEASURES["examples"], [0, 1])

    assert known(rows) == {row["id"]: row for row in rows}
    assert known(spoil(rows)) is None
    assert _exports(replace(results, exports={"a": 5, "b": {"path": None}})) == {}
