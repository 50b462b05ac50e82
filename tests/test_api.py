"""ptm.api: the example in docs/api.md as it stands there, and what the functions do that the commands do not."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import image_spec, text_spec
from ptm import api
from ptm.config.load import dump_config
from ptm.config.spec import TeacherSpec
from ptm.errors import ConfigError, RunDirectoryError

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch, capsys):
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    (tmp_path / "configs").mkdir()
    for name in ("digits_resnet.yaml", "digits_distill.yaml"):
        shutil.copy(ROOT / "configs" / name, tmp_path / "configs")
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "seven.png")
    monkeypatch.chdir(tmp_path)
    # The example leaves the number of threads open; beside other tests more than one is slow.
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    variables: dict = {}
    exec(compile(example, "docs/api.md", "exec"), variables)
    *_, same, predicted = capsys.readouterr().out.splitlines()
    assert same == "True"
    name, label, score = predicted.split()
    assert (name, label in map(str, range(10)), 0 < float(score) <= 1) == ("seven.png", True, True)
    results = variables["distilled"]
    assert Path(results.output) == tmp_path / "runs" / "digits_distill"
    assert results.as_dict() == json.loads(
        (tmp_path / "runs" / "digits_distill" / "results.json").read_text()
    )


def test_importing_it_loads_nothing_heavy():
    code = "import sys, ptm.api; print([m for m in ('torch', 'numpy', 'pydantic', 'yaml', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def finished(tiny_bert, reviews, tmp_path_factory):
    """A short text run, by the path of its config."""
    folder = tmp_path_factory.mktemp("api")
    config = folder / "run.yaml"
    config.write_text(dump_config(text_spec(tiny_bert, reviews, folder / "r", epochs=1)))
    return config, api.train(config)


@pytest.mark.slow
def test_a_run_is_there_after_train_and_not_written_over(finished):
    config, results = finished
    assert (Path(results.output) / "model" / "model.safetensors").is_file()
    with pytest.raises(RunDirectoryError) as caught:
        api.train(str(config))
    assert "overwrite" in str(caught.value)
    assert api.train(config, mode="resume") == results


@pytest.mark.slow
def test_a_missed_bound_is_in_the_results(finished):
    _, results = finished
    evaluated = api.evaluate(results.output, expect={"accuracy": "> 1", "loss": ">= 0"})
    assert [bound.metric for bound in evaluated.missed] == ["accuracy"]
    assert results.missed == ()


def test_predictions_come_back_and_nothing_is_printed(finished, capfd):
    _, results = finished
    rows = api.predict(results.output, texts=["good and warm", "bad"])
    assert [row["input"] for row in rows] == ["good and warm", "bad"]
    assert {row["prediction"] for row in rows} <= {"negative", "positive"}
    assert capfd.readouterr().out == ""


def test_progress_is_told_on_standard_error(finished, tmp_path, capfd):
    config, results = finished
    spec = api.load_config(config, [f"output={tmp_path / 'r'}"])
    assert api.train(spec, progress=True).metrics == results.metrics
    printed = capfd.readouterr()
    assert "data: 64 train, 32 eval" in printed.err and printed.out == ""


def test_the_function_must_fit_the_config(tmp_path):
    spec = image_spec(tmp_path / "r")
    with pytest.raises(ConfigError, match="no teacher"):
        api.distill(spec)
    with pytest.raises(ConfigError, match="has a teacher"):
        api.train(image_spec(tmp_path / "r", teacher=TeacherSpec(name="x")))


@pytest.mark.slow
def test_a_distillation_with_its_control_has_a_verdict(tmp_path):
    teacher = image_spec(tmp_path / "teacher", epochs=1)
    api.train(teacher)
    config = tmp_path / "run.yaml"
    config.write_text(dump_config(image_spec(tmp_path / "pair", epochs=1)))
    student = api.load_config(
        config, [f"teacher.name={tmp_path / 'teacher'}", "distill.audit=off", "distill.control=true"]
    )
    results = api.distill(student)
    assert results.verdict is not None and "sentence" in results.verdict
    assert Path(results.output) == tmp_path / "pair" / f"distilled-{student.train.seed}"
