"""``ptm export --trim-vocabulary``: smaller, and the same answers to texts of tokens that were kept."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers import evaluation, run, text_spec
from ptm.api import predict
from ptm.cli.app import app
from ptm.config.load import load_config
from ptm.config.model_sections import AdapterSpec
from ptm.errors import ConfigError
from ptm.experiment.export_vocabulary import require_trimmable
from tiny.samples import save_tiny_bert, sentences, write_csv

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def trained(reviews, tmp_path_factory):
    """A run whose model knows 100 words that no text has, before those that they have."""
    folder = tmp_path_factory.mktemp("trained")
    model = save_tiny_bert(folder / "bert", [f"unheard{number}" for number in range(100)])
    run(text_spec(model, reviews, folder / "r", epochs=4, learning_rate=3e-3))
    return folder / "r"


@pytest.fixture(scope="module")
def trimmed(trained):
    """The record of an export that keeps 10 of them, as --json prints it."""
    words = ["export", str(trained), "--trim-vocabulary", "10", "--no-measure", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


@pytest.mark.slow
def test_14_04_it_is_smaller_by_rows_of_embeddings(trimmed, trained):
    export = Path(trimmed["output"])
    assert export.name == "r-onnx-trimmed"
    gone = trimmed["vocabulary"]["before"] - trimmed["vocabulary"]["after"]
    assert gone == 90
    parameters = evaluation(trained)["model"]["parameters"]
    assert trimmed["parameters"] == parameters - gone * 32
    assert trimmed["after"]["bytes"] == (export / "model.onnx").stat().st_size
    assert "unheard9" in (export / "model" / "tokenizer.json").read_text()
    assert "unheard10" not in (export / "model" / "tokenizer.json").read_text()
    vocabulary = json.loads((export / "model" / "tokenizer.json").read_text())["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(trimmed["vocabulary"]["after"]))
    assert json.loads((export / "model" / "config.json").read_text())["vocab_size"] == len(vocabulary)
    assert not [path for path in export.rglob("*") if path.is_file() and b"ptm-export-" in path.read_bytes()]


@pytest.mark.slow
@pytest.mark.processes
def test_14_04_texts_of_kept_tokens_are_answered_as_before(trimmed, trained):
    assert trimmed["comparison"]["largest_difference"] < 1e-5
    assert trimmed["comparison"]["equal_answers"] == 1
    export = Path(trimmed["output"])
    assert evaluation(export)["metrics"] == pytest.approx(evaluation(trained)["metrics"], abs=1e-5)
    texts = [text for text, _ in sentences(20, 99)]
    before, after = predict(trained, texts=texts), predict(export, texts=texts)
    for one, other in zip(before, after, strict=True):
        assert one["prediction"] == other["prediction"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-6)
    done = subprocess.run(
        [sys.executable, export / "predict.py", *texts[:3]], capture_output=True, text=True, check=True
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["prediction"] for answer in answers] == [row["prediction"] for row in after[:3]]


@pytest.mark.slow
def test_14_04_words_of_the_test_split_choose_no_token_and_are_measured_cut_into_letters(
    trained, reviews, tmp_path
):
    shutil.copytree(reviews, tmp_path / "d")
    rows = [(f"a fine film unheard50 {text}", label) for text, label in sentences(32, 5)]
    write_csv(tmp_path / "d" / "test.csv", rows)
    adapter = AdapterSpec()
    spec = text_spec(trained / "model", tmp_path / "d", tmp_path / "r", test="test.csv", adapter=adapter)
    run(replace(spec, train=replace(spec.train, epochs=1)))
    words = [
        "export",
        str(tmp_path / "r"),
        "--trim-vocabulary",
        "10",
        "--format",
        "torch",
        "--no-measure",
        "--tolerance",  # words of the test split alone are lost: how much that costs is not asked here
        "1",
        "--json",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.exception
    record = json.loads(done.stdout)
    assert record["vocabulary"]["before"] - record["vocabulary"]["after"] == 90
    assert record["comparison"]["largest_difference"] > 1e-5
    assert record["comparison"]["examples"] == 32


@pytest.mark.parametrize(
    ("name", "reason"),
    [("sst2_mlm", "outputs are the tokens"), ("quickstart_images", "they have none")],
)
def test_14_04_tasks_that_keep_their_vocabulary_are_refused_by_name_and_reason(name, reason):
    spec = load_config(CONFIGS / f"{name}.yaml")
    with pytest.raises(ConfigError, match=rf"{spec.task} is not trimmed: .*{reason}"):
        require_trimmable(spec)
