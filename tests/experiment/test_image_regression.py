"""A number to be predicted from an image, through every command that knows of it."""

import csv
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from ptm.cli.app import run
from ptm.experiment.card import code_of

pytestmark = pytest.mark.slow


def write_images(folder: Path) -> Path:
    """Discs of other sizes in noise; the number is the radius. ``train.csv``, ``val.csv``, ``test.csv``."""
    y, x = np.mgrid[:16, :16]
    rng = np.random.default_rng(0)
    for split, count in (("train", 48), ("val", 12), ("test", 12)):
        rows = []
        for index in range(count):
            radius = rng.uniform(1, 7)
            pixels = np.where(np.hypot(y - 7.5, x - 7.5) < radius, 220, 30) + rng.normal(0, 8, (16, 16))
            name = f"{split}_{index}.png"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
            rows.append((name, f"{radius - 4:.3f}"))
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "radius"), *rows])
    return folder


def write_config(folder: Path, name: str, more: str = "", data: str = "") -> Path:
    config = folder / f"{name}.yaml"
    config.write_text(
        "version: 1\ntask: image-classification\nmodel: {name: resnet8, width: 4, weights: none}\n"
        "data: {source: 'csv:discs', train: train.csv, eval: val.csv, test: test.csv, image: path, label: radius, "
        f"label_type: number, image_size: 16{data}}}\n"
        "train: {epochs: 12, batch_size: 8, learning_rate: 1e-2}\n"
        f"best: {{metric: mean_squared_error, mode: min}}\nruntime: {{device: cpu, threads: 1}}\n{more}"
        f"output: {folder / name}\n"
    )
    return config


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("regression")
    write_images(folder / "discs")
    assert run(["finetune", str(write_config(folder, "r", "expect: {spearman: '>= 0.8'}\n"))]) == 0
    return folder


def call(capsys, *words, code=0):
    capsys.readouterr()
    assert run([*map(str, words)]) == code, capsys.readouterr().err
    return capsys.readouterr()


def test_11_01_metrics_of_an_image_regression_are_those_of_its_predictions(world, capsys):
    results = json.loads((world / "r/results.json").read_text())
    assert results["status"] == "done" and [one["met"] for one in results["expect"]] == [True]
    rows = [json.loads(line) for line in (world / "r/test_predictions.jsonl").read_text().splitlines()]
    with (world / "discs/test.csv").open() as file:
        truth = np.array([float(row["radius"]) for row in csv.DictReader(file)])
    answers = np.array([row["prediction"] for row in sorted(rows, key=lambda row: row["id"])])
    metrics = results["test"]["metrics"]
    assert [row["label"] for row in sorted(rows, key=lambda row: row["id"])] == pytest.approx(list(truth))
    assert metrics["mean_squared_error"] == pytest.approx(np.mean((truth - answers) ** 2), rel=1e-5)
    assert metrics["mean_absolute_error"] == pytest.approx(np.mean(abs(truth - answers)), rel=1e-5)
    assert metrics["spearman"] == pytest.approx(stats.spearmanr(truth, answers).statistic)
    assert metrics["pearson"] == pytest.approx(stats.pearsonr(truth, answers).statistic)
    evaluated = json.loads(call(capsys, "eval", world / "r", "--split", "test", "--json").out)
    assert evaluated["metrics"] == metrics
    saved = json.loads((world / "r/model/model.json").read_text())
    assert saved["labels"] == []


def test_11_01_an_image_regression_predicts_exports_and_reports(world, capsys, tmp_path, monkeypatch):
    image = world / "discs/val_0.png"
    call(capsys, "predict", world / "r", image, "--output", tmp_path / "p.jsonl")
    (row,) = map(json.loads, (tmp_path / "p.jsonl").read_text().splitlines())
    assert isinstance(row["prediction"], float) and "scores" not in row
    call(capsys, "export", world / "r", "--output", tmp_path / "x", "--no-measure")
    monkeypatch.setattr("sys.argv", ["predict.py", str(image)])
    capsys.readouterr()
    runpy.run_path(str(tmp_path / "x/predict.py"), run_name="__main__")
    alone = json.loads(capsys.readouterr().out)
    assert alone["prediction"] == pytest.approx(row["prediction"], abs=1e-4)
    call(capsys, "predict", tmp_path / "x", image, "--output", tmp_path / "q.jsonl")
    (other,) = map(json.loads, (tmp_path / "q.jsonl").read_text().splitlines())
    assert other["prediction"] == pytest.approx(row["prediction"], abs=1e-4)
    assert "spearman" in (world / "r/report.html").read_text()
    # The code of the card, on a picture in the place that it names.
    Image.open(image).save(tmp_path / "photo.jpg", "PNG")
    (tmp_path / "model").symlink_to(world / "r/model")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(code_of((world / "r/README.md").read_text()), {})
    assert float(capsys.readouterr().out) == pytest.approx(row["prediction"], abs=1e-4)
    drafted = call(capsys, "init", world / "discs", "--output", tmp_path / "draft.yaml")
    text = (tmp_path / "draft.yaml").read_text()
    assert "label_type: number" in text and "task: image-classification" in text, drafted.err
    call(capsys, "check", tmp_path / "draft.yaml", "--data")


def test_11_01_an_image_regression_learns_from_a_teacher_and_from_mixtures(world, capsys):
    teacher = f"teacher: {{name: {world / 'r'}}}\ndistill: {{ce_weight: 0}}\n"
    call(capsys, "distill", write_config(world, "s", teacher, data=", mixup: 0.2"))
    student, own = (json.loads((world / name / "results.json").read_text()) for name in ("s", "r"))
    assert student["test"]["metrics"]["spearman"] > 0.8
    call(capsys, "compare", world / "r", world / "s")
    assert own["test"]["examples"] == student["test"]["examples"] == 12


def test_11_01_a_classifier_is_no_regression_and_a_regression_no_classifier(
    world, capsys, image_folder, tmp_path
):
    def classes(model: str, more: str = "") -> Path:
        config = tmp_path / "c.yaml"
        config.write_text(
            f"version: 1\ntask: image-classification\nmodel: {model}\n"
            f"data: {{source: 'imagefolder:{image_folder}', train: train, eval: val, image_size: 16}}\n"
            f"train: {{epochs: 1, batch_size: 8, learning_rate: 1e-2}}\n"
            f"runtime: {{device: cpu, threads: 1}}\n{more}output: {tmp_path / 'c'}\n"
        )
        return config

    new = "{name: resnet8, width: 4, weights: none}"
    refused = call(capsys, "distill", classes(new, f"teacher: {{name: {world / 'r'}}}\n"), code=3)
    assert "its output is a number" in refused.err
    # A new output layer takes the place of the other kind's.
    call(capsys, "finetune", classes(f"{{name: {world / 'r'}}}"))
    other = write_config(world, "t", f"teacher: {{name: {tmp_path / 'c'}}}\n")
    refused = call(capsys, "distill", other, code=3)
    assert "its outputs are those of classes: disc, frame, stripes" in refused.err
