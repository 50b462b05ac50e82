"""``ptm eval`` says what is true, or that it cannot."""

import json
import math
import shutil

import pytest
from safetensors.torch import load_file, save_file

import tiny
from helpers import run, text_spec
from ptm.base import files
from ptm.base.console import Silent
from ptm.config.load import load_config
from ptm.config.spec import DistillSpec, TeacherSpec
from ptm.errors import ConfigError, NotFinite
from ptm.experiment.evaluate import run_evaluation
from ptm.experiment.predict import run_prediction
from ptm.experiment.scorecard import measure_scorecard

pytestmark = pytest.mark.slow  # each trains


def spoil(run_directory, *, row: int | None = None, only: str = "", value: float = math.nan) -> None:
    """Weights that are no numbers, sealed as if they had been written so; ``row``: of one embedding alone; ``only``:
    of tensors with this in their name; ``value``: instead of NaN."""
    model = run_directory / "model"
    state = load_file(model / "model.safetensors")
    if row is None:
        chosen = [t for name, t in state.items() if only in name and t.is_floating_point()]
        assert chosen
        for tensor in chosen:
            tensor.fill_(value)
    else:
        next(t for name, t in state.items() if "word_embeddings" in name)[row] = math.nan
    save_file(state, model / "model.safetensors", metadata={"format": "pt"})
    (model / "manifest.json").unlink()
    files.seal(model)


@pytest.fixture(scope="module")
def trained(tiny_bert, reviews, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "r"
    run(text_spec(tiny_bert, reviews, folder, epochs=1))
    return folder


def strict(text: str):
    """JSON as the standard has it: without NaN and Infinity."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_15_08_a_model_that_gives_nan_is_exit_7_and_names_examples(run_cli, tiny_bert, reviews, tmp_path):
    """One word of the vocabulary is spoilt; the examples without it are as before."""
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1))
    from transformers import AutoTokenizer

    lines = (reviews / "eval.csv").read_text().splitlines()[1:]
    word = lines[3].split()[0].strip('",.').lower()
    token = AutoTokenizer.from_pretrained(tiny_bert)(word, add_special_tokens=False)["input_ids"][0]
    spoil(tmp_path / "r", row=token)
    done = run_cli("eval", tmp_path / "r", "--json", "--expect", "accuracy>=0")
    assert done.returncode == 7, done.stderr
    error = strict(done.stdout)["error"]
    assert error["exit_code"] == 7
    assert "eval.csv:5" in error["problems"][0]["where"]
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        *("text-classification-regression", "object-detection", "semantic-segmentation", "causal-lm"),
        *("translation", "question-answering", "text-similarity"),
    ],
)
def test_15_08_models_of_other_tasks_that_give_nan_are_not_finite(name, tmp_path):
    config = tiny.prepare(name, tmp_path)
    run(
        load_config(
            config, [f"output={json.dumps(str(tmp_path / 'r'))}", "train.steps=1", "train.epochs=null"]
        )
    )
    if name == "object-detection":  # nothing is found then, and no metric is other than a number
        shutil.copytree(tmp_path / "r", tmp_path / "norms")
        spoil(tmp_path / "norms", only="running_var")
        with pytest.raises(NotFinite):
            run_evaluation(tmp_path / "norms", reporter=Silent())
        image = next(path for path in sorted(tmp_path.rglob("*")) if path.suffix in (".jpg", ".png"))
        with pytest.raises(NotFinite):  # it found nothing, and said so
            run_prediction(tmp_path / "norms", [image], receive=print, reporter=Silent())
    shutil.copytree(tmp_path / "r", tmp_path / "large")
    spoil(tmp_path / "large", value=1e38)
    spoil(tmp_path / "r")
    with pytest.raises(NotFinite):
        run_evaluation(tmp_path / "r", reporter=Silent())
    pictures = [path for path in sorted(tmp_path.rglob("*")) if path.suffix in (".jpg", ".png")]
    (tmp_path / "in.jsonl").write_text(
        json.dumps(dict.fromkeys(("text", "en", "context", "question", "first", "second"), "a film")) + "\n"
    )
    for spoilt in ("r", "large"):  # finite weights, whose products are not
        with pytest.raises(NotFinite):  # a translation of "!", a picture of background alone
            run_prediction(
                tmp_path / spoilt, (pictures or [tmp_path / "in.jsonl"])[:1], receive=print, reporter=Silent()
            )
    with pytest.raises(NotFinite):
        run_evaluation(tmp_path / "large", reporter=Silent())


@pytest.mark.parametrize(
    "change", ["model.name=other", "model = {name: x}", "task=text-similarity", "decisions=null"]
)
def test_15_09_another_model_than_that_of_the_run_is_not_named_in_vain(change, trained):
    """It was not read, and the bound was met by the run's own."""
    with pytest.raises(ConfigError, match="cannot be another"):
        run_evaluation(trained, overrides=[change], reporter=Silent())


def test_15_08_a_teacher_that_gives_nan_is_told_before_the_first_step(tiny_bert, reviews, tmp_path):
    run(text_spec(tiny_bert, reviews, tmp_path / "teacher", epochs=1))
    distilled = text_spec(
        tiny_bert,
        reviews,
        tmp_path / "r",
        epochs=1,
        teacher=TeacherSpec(name=str(tmp_path / "teacher")),
        distill=DistillSpec(audit="off", store="off"),
    )
    run(distilled)
    spoil(tmp_path / "teacher")
    with pytest.raises(NotFinite):
        measure_scorecard(tmp_path / "r", Silent())
    with pytest.raises(NotFinite, match="teacher"):
        run(distilled, "overwrite")
    assert json.loads((tmp_path / "r" / "results.json").read_text())["status"] == "done"


@pytest.mark.parametrize("bounds", [("accuracy>=0", "accuracy<0"), ("accuracy<0", "accuracy>=0")])
def test_15_08_all_bounds_on_a_metric_must_hold(bounds, run_cli, trained):
    done = run_cli("eval", trained, "--json", *(word for bound in bounds for word in ("--expect", bound)))
    assert done.returncode == 4
    assert "expected: accuracy <0" in done.stderr
    held = strict(done.stdout)["expect"]
    assert [f"{bound['metric']}{bound['bound']}" for bound in held] == list(bounds)
    assert sorted(bound["met"] for bound in held) == [False, True]


def test_15_08_the_config_s_bound_and_that_of_the_command_line_must_hold(run_cli, trained):
    done = run_cli("eval", trained, "--json", "--set", "expect.accuracy='< 0'", "--expect", "accuracy>=0")
    assert done.returncode == 4
    assert [bound["met"] for bound in strict(done.stdout)["expect"]] == [False, True]
    done = run_cli("eval", trained, "--json", "--expect", "accuracy>=0", "--expect", "accuracy<=1")
    assert done.returncode == 0
    assert [bound["met"] for bound in strict(done.stdout)["expect"]] == [True, True]
