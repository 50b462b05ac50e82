"""What a run and an evaluation tell of their numbers: the class that F1 is of, a constant answer, one answer to all."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from helpers import text_spec
from ptm.cli.app import app
from ptm.config.load import dump_config
from ptm.errors import DataError
from ptm.experiment.check import check_inputs


def told(*words):
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def frauds(tmp_path_factory):
    """Texts of which one in eight is a fraud; 'fraud' stands before 'ok' in the alphabet."""
    folder = tmp_path_factory.mktemp("frauds")
    for split, count in (("train", 64), ("eval", 40)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "label"))
            for i in range(count):
                bad = i % 8 == 0
                writer.writerow((f"a {'bad' if bad else 'good'} film {split} {i}", "fraud" if bad else "ok"))
    return folder


@pytest.fixture(scope="module")
def run(frauds, tiny_bert, tmp_path_factory):
    output = tmp_path_factory.mktemp("told") / "r"
    spec = text_spec(
        tiny_bert, frauds, output, labels=None, positive_label="fraud", epochs=1, learning_rate=1e-6
    )
    config = output.parent / "run.yaml"
    config.write_text(dump_config(spec))
    code, out = told("finetune", config)
    assert code == 0, out
    return output, out


@pytest.mark.slow
def test_10_10_the_class_is_named_wherever_f1_is_shown(run):
    output, out = run
    results = json.loads((output / "results.json").read_text())
    rows = [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]
    truth, said = ([row[key] for row in rows] for key in ("label", "prediction"))
    assert results["metrics"]["f1"] == pytest.approx(
        f1_score(truth, said, pos_label="fraud", zero_division=0)
    )
    assert results["positive_label"] == "fraud"
    for text in (
        out,
        (output / "README.md").read_text(),
        (output / "report.html").read_text(),
        told("eval", output)[1],
    ):
        assert "f1[fraud]" in text.replace("\\[", "[").replace("\\]", "]")


@pytest.mark.slow
def test_10_26_a_constant_answer_stands_beside_the_models(run):
    output, out = run
    results = json.loads((output / "results.json").read_text())
    assert results["constant"]["accuracy"] == pytest.approx(35 / 40)
    assert results["constant"]["f1"] == pytest.approx(f1_score([1] * 5 + [0] * 35, [1] * 40))
    said = {
        json.loads(line)["prediction"] for line in (output / "predictions.jsonl").read_text().splitlines()
    }
    assert len(said) == 1
    for text in (out, (output / "README.md").read_text(), (output / "report.html").read_text()):
        assert "constant answer" in text and "0.8750" in text
        assert "the same answer to every example" in text
    assert any("for a constant answer" in line for line in results["warnings"])
    assert json.loads(told("eval", output, "--json")[1])["constant"] == pytest.approx(results["constant"])


@pytest.mark.slow
def test_10_10_a_rare_positive_class_is_suggested(frauds, tiny_bert, tmp_path):
    spec = text_spec(tiny_bert, frauds, tmp_path / "r", labels=None)
    (warning,) = check_inputs(spec).warnings
    assert "f1 is that of 'ok', and 'fraud' is the rare label (12.5%" in warning
    assert "data.positive_label: fraud" in warning
    assert check_inputs(replace(spec, data=replace(spec.data, positive_label="fraud"))).warnings == ()
    config = tmp_path / "run.yaml"
    config.write_text(dump_config(spec))
    assert told("check", config, "--data", "--set", "data.positive_label=fraud")[0] == 0
    with pytest.raises(DataError, match="one of two labels, here: fraud, ok"):
        told("check", config, "--data", "--set", "data.positive_label=froud")


@pytest.mark.slow
def test_10_11_absent_classes_are_named(run, tmp_path):
    output, _ = run
    with (tmp_path / "new.csv").open("w") as file:
        file.write("text,label\n" + "".join(f"new film {i},ok\n" for i in range(4)))
    code, out = told("eval", output, "--data", f"csv:{tmp_path / 'new.csv'}")
    assert code == 0 and "no evaluated example has the label fraud" in out
    results = json.loads(told("eval", output, "--data", f"csv:{tmp_path / 'new.csv'}", "--json")[1])
    assert results["absent_labels"] == ["fraud"]
    assert np.isfinite(results["metrics"]["recall_macro"])
