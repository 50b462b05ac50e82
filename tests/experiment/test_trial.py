"""``ptm check --deep``: what a run will cost, without a run."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from helpers import image_spec, run, text_spec
from ptm.cli.app import app
from ptm.config.load import dump_config
from ptm.experiment.trial import Trial, try_run


@pytest.mark.slow
def test_12_05_deep_measures_and_leaves_nothing_behind(tmp_path, tiny_bert, reviews):
    config = tmp_path / "run.yaml"
    config.write_text(dump_config(text_spec(tiny_bert, reviews, tmp_path / "r")))
    done = CliRunner().invoke(app, ["check", str(config), "--deep", "--json"])
    trial = json.loads(done.stdout)["inspections"][0]["trial"]
    assert done.exit_code == 0 and not (tmp_path / "r").exists()
    assert trial["peak_bytes"] > 50e6 and trial["epoch_seconds"] > 0
    assert set(trial["step_seconds"]) == {"fp32", "bf16"} and trial["fastest_precision"] in ("fp32", "bf16")
    spec = image_spec(tmp_path / "images", save_every_steps=2)
    trial = try_run(spec)
    run(replace(spec, output=str(tmp_path / "images")))
    size = sum(file.stat().st_size for file in (tmp_path / "images" / "model").glob("*.safetensors"))
    assert trial.model_bytes == pytest.approx(size, rel=0.2)
    assert trial.longest is None and trial.steps == 2 * trial.steps_per_epoch


def test_12_05_another_precision_pays_where_it_is_faster_by_a_tenth():
    trial = Trial(
        device="cpu", longest=32, batch_size=8, steps=20, steps_per_epoch=10, peak_bytes=10**9, precision="fp32",
        step_seconds={"fp32": 1.0, "bf16": 0.95}, checkpoint_bytes=1, model_bytes=1, disk_bytes=2,
    )  # fmt: skip
    assert trial.fastest == "fp32" and trial.epoch_seconds == 10
    other = replace(trial, step_seconds={"fp32": 1.0, "bf16": 0.5})
    assert "this CPU has no units for bf16" in "\n".join(trial.lines())
    assert "this CPU has AVX512-BF16" in "\n".join(replace(trial, units="AVX512-BF16").lines())
    assert other.fastest == "bf16" and "--set runtime.precision=bf16 pays" in "\n".join(other.lines())
