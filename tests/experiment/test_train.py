"""What can be resumed, and on what; what a damaged run is restored from."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers import Saying, StopAt, history, image_spec, run, small_spec, text_spec, weights
from ptm.base.console import Silent
from ptm.config.spec import TeacherSpec
from ptm.errors import Interrupted, ModelError, RunDirectoryError
from ptm.experiment.evaluate import run_evaluation
from ptm.experiment.predict import run_prediction
from ptm.experiment.reproduce import reproduce
from ptm.experiment.train import run_training
from ptm.training.one_dnn import OPERATION

pytestmark = pytest.mark.slow  # each trains


def stopped(spec, step: int = 3) -> None:
    with pytest.raises(Interrupted):
        run(spec, "new", StopAt(step))


def flip(path: Path) -> None:
    """One bit of the last byte: a file of weights still loads."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


# --- 9: seals


DAMAGE = {
    "a flipped bit": (lambda model: flip(model / "model.safetensors"), "model.safetensors has changed"),
    "no manifest": (lambda model: (model / "manifest.json").unlink(), "manifest.json is missing"),
    "a torn manifest": (
        lambda model: (model / "manifest.json").write_text('{"files": {"mod'),
        "manifest.json is damaged",
    ),
    "another tokenizer": (
        lambda model: (model / "tokenizer.json").write_text("{}"),
        "tokenizer.json has ",
    ),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_15_09_a_damaged_text_model_is_read_by_nobody(how, tiny_bert, reviews, tmp_path):
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1))
    spoil, words = DAMAGE[how]
    spoil(tmp_path / "r" / "model")
    teacher = TeacherSpec(name=str(tmp_path / "r"))
    for command in (
        lambda: run(text_spec(tmp_path / "r", reviews, tmp_path / "next")),
        lambda: run(text_spec(tmp_path / "r" / "model", reviews, tmp_path / "next")),
        lambda: run(text_spec(tiny_bert, reviews, tmp_path / "next", teacher=teacher)),
        lambda: run_evaluation(tmp_path / "r", reporter=Silent()),
        lambda: run_prediction(tmp_path / "r", [], texts=["fine"], reporter=Silent()),
        lambda: reproduce(tmp_path / "r", tmp_path / "again", 0.005, Silent()),
    ):
        with pytest.raises(ModelError, match=words) as caught:
            command()
        assert caught.value.exit_code == 3
    assert not (tmp_path / "next").exists()
    assert not (tmp_path / "again").exists()


def test_15_09_a_damaged_image_model_is_read_by_nobody(tmp_path):
    run(image_spec(tmp_path / "r", epochs=1))
    flip(tmp_path / "r" / "model" / "model.safetensors")
    start = image_spec(tmp_path / "next", name=str(tmp_path / "r"), width=None, weights="default")
    teacher = image_spec(tmp_path / "next", teacher=TeacherSpec(name=str(tmp_path / "r" / "model")))
    for spec in (start, teacher):
        with pytest.raises(ModelError, match=r"model\.safetensors has changed since it was written"):
            run(spec)


def test_15_09_a_copied_model_without_its_run_is_checked_if_it_is_sealed(tiny_bert, reviews, tmp_path):
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1))
    shutil.copytree(tmp_path / "r" / "model", tmp_path / "copy")
    flip(tmp_path / "copy" / "model.safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors has changed"):
        run(text_spec(tmp_path / "copy", reviews, tmp_path / "next", epochs=1))
    (tmp_path / "copy" / "manifest.json").unlink()  # as somebody does who changed it on purpose
    run(text_spec(tmp_path / "copy", reviews, tmp_path / "next", epochs=1))


@pytest.mark.parametrize("content", [None, '{"ptm": "0.1"', "[]"])
def test_15_09_a_missing_or_torn_record_is_drift(content, tiny_bert, reviews, tmp_path):
    spec = text_spec(tiny_bert, reviews, tmp_path / "r")
    stopped(spec)
    record = tmp_path / "r" / "manifest.json"
    record.unlink() if content is None else record.write_text(content)
    with pytest.raises(RunDirectoryError, match=r"manifest\.json: (missing|damaged)") as caught:
        run(spec, "resume")
    assert "--allow-drift" in caught.value.problems[0].cure
    results = run_training(spec, mode="resume", reporter=Silent(), allow_drift=True)
    assert [change.partition(":")[0] for change in results.drift] == ["manifest.json"]
    assert json.loads(record.read_text())["drift"] == list(results.drift)


def test_15_09_a_run_that_was_killed_before_its_record_begins_again(tiny_bert, reviews, tmp_path):
    """Nothing was computed yet, so nothing can have changed since."""
    spec = text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1)
    stopped(spec)
    (tmp_path / "r" / "manifest.json").unlink()
    shutil.rmtree(tmp_path / "r" / "checkpoints")
    (tmp_path / "r" / "checkpoints").mkdir()
    assert list(run(spec, "resume")["drift"]) == []


@pytest.mark.parametrize(
    "part", ["model/handler.py", "model/notes.md", "model/onnx/m.onnx", "checkpoints/step-000006/a"]
)
def test_15_04_resuming_deletes_nothing_that_was_put_into_a_run(part, tmp_path):
    """Restoring ``model/``, and writing it after more epochs, replaced the folder with whatever lay in it."""
    spec = small_spec(tmp_path / "r")
    longer = replace(spec, train=replace(spec.train, epochs=2))
    run(spec)
    theirs = tmp_path / "r" / part
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("mine")
    if theirs.suffix not in (".py", ""):  # nothing is damaged by it: the run is finished already
        run(spec, "resume")
    for again in (*([spec] if theirs.suffix == ".py" else []), longer):
        with pytest.raises(RunDirectoryError, match=rf"did not write: .*{part}"):
            run(again, "resume")
        assert theirs.read_text() == "mine"
    theirs.unlink()
    if theirs.parent.name == "onnx":
        theirs.parent.rmdir()
    assert run(longer, "resume")["train"]["epochs"] == 2


def test_15_04_what_was_put_into_a_model_while_it_was_trained_stays(tmp_path):
    spec = small_spec(tmp_path / "r")

    class Busy(Saying):
        def advance(self, done, note):
            (tmp_path / "r" / "model").mkdir(exist_ok=True)
            (tmp_path / "r" / "model" / "notes.md").write_text("mine")

    with pytest.raises(RunDirectoryError, match=r"model/notes\.md"):
        run(spec, "new", Busy())
    assert (tmp_path / "r" / "model" / "notes.md").read_text() == "mine"
    shutil.rmtree(tmp_path / "r" / "model")
    assert run(spec, "resume")["status"] == "done"


@pytest.mark.parametrize("part", ["model", "model/model.safetensors", "predictions.jsonl", "cut"])
def test_15_09_a_finished_run_whose_model_is_gone_is_restored_from_its_checkpoint(
    part, tiny_bert, reviews, tmp_path
):
    spec = text_spec(tiny_bert, reviews, tmp_path / "r")
    results = run(spec)
    bits, lines = weights(tmp_path / "r"), history(tmp_path / "r")
    predictions = (tmp_path / "r" / "predictions.jsonl").read_bytes()
    if part == "cut":
        (tmp_path / "r" / "predictions.jsonl").write_bytes(predictions[:99])
    else:
        gone = tmp_path / "r" / part
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    reporter = Saying()
    again = run(spec, "resume", reporter)
    assert any("restored from its checkpoint" in line for line in reporter.lines)
    assert not any("finished already" in line for line in reporter.lines)
    assert again["metrics"] == results["metrics"]
    assert (weights(tmp_path / "r"), history(tmp_path / "r")) == (bits, lines)
    assert (tmp_path / "r" / "predictions.jsonl").read_bytes() == predictions
    reporter = Saying()
    run(spec, "resume", reporter)
    assert any("finished already" in line for line in reporter.lines)


def test_15_09_a_damaged_model_without_a_checkpoint_is_not_trained_anew_unasked(tiny_bert, reviews, tmp_path):
    spec = text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1)
    run(spec)
    flip(tmp_path / "r" / "model" / "model.safetensors")
    shutil.rmtree(tmp_path / "r" / "checkpoints")
    (tmp_path / "r" / "checkpoints").mkdir()
    with pytest.raises(ModelError, match="damaged") as caught:
        run(spec, "resume")
    assert "--overwrite" in caught.value.problems[0].cure


@pytest.mark.parametrize("name", ["manifest.json", "metrics.jsonl", "predictions.jsonl"])
@pytest.mark.parametrize("content", [None, '{"torn": '])
def test_15_09_a_damaged_record_is_told_before_it_is_reproduced(name, content, tiny_bert, reviews, tmp_path):
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1))
    path = tmp_path / "r" / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        reproduce(tmp_path / "r", tmp_path / "again", 0.005, Silent())
    assert not (tmp_path / "again").exists()


# --- 14: what can be resumed


def test_15_14_a_moved_run_resumes_where_it_is(tiny_bert, reviews, tmp_path):
    run(text_spec(tiny_bert, reviews, tmp_path / "whole"))
    stopped(text_spec(tiny_bert, reviews, tmp_path / "r"))
    (tmp_path / "r").rename(tmp_path / "moved")
    results = run(text_spec(tiny_bert, reviews, tmp_path / "moved"), "resume")
    assert list(results["drift"]) == []
    assert weights(tmp_path / "moved") == weights(tmp_path / "whole")
    assert f"output: {tmp_path / 'moved'}" in (tmp_path / "moved" / "config.yaml").read_text()
    (tmp_path / "moved").rename(tmp_path / "again")
    reporter = Saying()
    run(text_spec(tiny_bert, reviews, tmp_path / "again"), "resume", reporter)
    assert any("finished already" in line for line in reporter.lines)


def test_15_17_a_split_may_lie_outside_of_the_source(tiny_bert, reviews, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text((reviews / "eval.csv").read_text())
    spec = text_spec(tiny_bert, reviews, tmp_path / "r", eval=str(other), epochs=1, max_train_examples=8)
    run(spec)
    assert set(json.loads((tmp_path / "r" / "manifest.json").read_text())["data_files"]) == {
        "train.csv",
        other.as_posix(),
    }


def test_15_14_resuming_nothing_says_so(tiny_bert, reviews, tmp_path):
    reporter = Saying()
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1), "resume", reporter)
    assert reporter.lines[0] == f"there is no run to resume in {tmp_path / 'r'}: a new one begins"


def test_15_14_a_moved_run_resumes_by_its_own_config(run_cli, tiny_bert, reviews, tmp_path):
    stopped(text_spec(tiny_bert, reviews, tmp_path / "r"))
    (tmp_path / "r").rename(tmp_path / "moved")
    done = run_cli("finetune", tmp_path / "moved" / "config.yaml", "--resume")
    assert done.returncode == 0, done.stderr
    assert "resumed at step 3" in done.stderr
    assert not (tmp_path / "r").exists()


def test_15_14_what_changes_no_bit_is_no_drift(tmp_path):
    options = {"augment": "trivial", "epochs": 1}
    run(image_spec(tmp_path / "whole", **options))
    stopped(image_spec(tmp_path / "r", **options))
    changed = image_spec(tmp_path / "r", **options, workers=1, save_every_steps=2, keep_checkpoints=5)
    assert list(run(changed, "resume")["drift"]) == []
    assert weights(tmp_path / "r") == weights(tmp_path / "whole")
    assert "workers: 1" in (tmp_path / "r" / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"micro_batch_size": 4}, ["train.micro_batch_size: 8 → 4"]),
        ({"precision": "bf16"}, ["runtime.precision: fp32 → bf16"]),
        ({"eval_batch_size": 4}, ["train.eval_batch_size: 64 → 4"]),
    ],
)
def test_15_14_a_cure_can_be_followed_and_stands_in_the_record(change, words, tiny_bert, reviews, tmp_path):
    stopped(text_spec(tiny_bert, reviews, tmp_path / "r"))
    reporter = Saying()
    results = run(text_spec(tiny_bert, reviews, tmp_path / "r", **change), "resume", reporter)
    assert list(results["drift"]) == words
    assert json.loads((tmp_path / "r" / "manifest.json").read_text())["drift"] == words
    assert any("resumed at step 3" in line for line in reporter.lines)
    assert any(words[0] in line for line in reporter.lines)


def test_13_04_a_run_keeps_what_auto_came_to_and_its_bits_on_another_machine(
    monkeypatch, tiny_bert, reviews, tmp_path
):
    run(text_spec(tiny_bert, reviews, tmp_path / "whole", precision="bf16"))
    run(text_spec(tiny_bert, reviews, tmp_path / "fp32"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    open_ = text_spec(tiny_bert, reviews, tmp_path / "r", precision="auto")
    stopped(open_)
    assert "precision: bf16" in (tmp_path / "r" / "config.yaml").read_text()
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    reporter = Saying()
    assert list(run(open_, "resume", reporter)["drift"]) == []
    assert any("resumed at step 3" in line for line in reporter.lines)
    assert weights(tmp_path / "r") == weights(tmp_path / "whole") != weights(tmp_path / "fp32")
    assert json.loads((tmp_path / "r" / "manifest.json").read_text())["runtime"]["precision"] == "bf16"
    run(open_, "resume")  # finished, and not another experiment
    fresh = Saying()
    run(text_spec(tiny_bert, reviews, tmp_path / "n", precision="auto", epochs=1), "new", fresh)
    assert "precision: fp32, the device has no units for bf16" in fresh.lines
    assert "precision: fp32" in (tmp_path / "n" / "config.yaml").read_text()


@pytest.mark.slow
def test_13_06_a_run_that_computes_layers_again_learns_the_same(
    tiny_bert, tiny_gpt2, reviews, tmp_path, capfd
):
    for name, model in (("bert", tiny_bert), ("gpt2", tiny_gpt2)):
        for again in (False, True):
            folder = tmp_path / f"{name}-{again}"
            run(text_spec(model, reviews, folder, epochs=1, gradient_checkpointing=again))
    assert weights(tmp_path / "bert-True") == weights(tmp_path / "bert-False")
    kept, again = (history(tmp_path / f"gpt2-{again}") for again in (False, True))
    losses = [[line["loss"] for line in lines if line["kind"] == "train"] for lines in (kept, again)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert "use_cache" not in capfd.readouterr().err


@pytest.mark.skipif(OPERATION is None, reason="this torch has no oneDNN")
def test_13_02_linear_layers_by_one_dnn_learn_the_same(tiny_bert, reviews, tmp_path, monkeypatch):
    """On a processor that gains by it; with layers that are computed again in the backward pass as well."""
    found = []
    for index, (used, again) in enumerate([(False, False), (True, False), (True, True)]):
        monkeypatch.setattr("ptm.training.runtime.one_dnn_is_faster", lambda used=used: used)
        monkeypatch.setattr("ptm.training.one_dnn._FEWEST_PRODUCTS", 1)
        run(text_spec(tiny_bert, reviews, tmp_path / str(index), epochs=1, gradient_checkpointing=again))
        found.append([line["loss"] for line in history(tmp_path / str(index)) if line["kind"] == "train"])
    assert found[1] == pytest.approx(found[0], rel=1e-3) and found[1] == found[2]
    assert weights(tmp_path / "0") != weights(tmp_path / "1") == weights(tmp_path / "2")


def test_15_14_another_experiment_is_refused_with_what_to_do(tiny_bert, reviews, tmp_path):
    stopped(text_spec(tiny_bert, reviews, tmp_path / "r"))
    changed = text_spec(tiny_bert, reviews, tmp_path / "r", learning_rate=1e-4, micro_batch_size=4)
    with pytest.raises(RunDirectoryError, match=r"train\.learning_rate: 0\.001 → 0\.0001") as caught:
        run(changed, "resume")
    for way in ("--allow-drift", "--overwrite", "--output"):
        assert way in caught.value.problems[0].cure
    results = run_training(changed, mode="resume", reporter=Silent(), allow_drift=True)
    names = {change.partition(":")[0] for change in results.drift}
    assert names == {"train.learning_rate", "train.micro_batch_size"}
