"""The loop through its public door: real tiny models, compared bit by bit."""

import json
import math
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from helpers import Saying, StopAt, history, image_spec, last_state, run, text_spec, weights, without_dropout
from ptm.base.console import Silent
from ptm.config.spec import BestSpec, DistillSpec, ModelSpec, TeacherSpec
from ptm.errors import ConfigError, Interrupted, NotFinite, OutOfMemory, RunDirectoryError
from ptm.experiment.train import run_training
from ptm.metrics.classification import ClassificationMetrics
from ptm.training.memory import memory_errors


@pytest.mark.slow
def test_a_text_model_learns_and_everything_is_written(tiny_bert, reviews, tmp_path):
    results = run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=6, learning_rate=3e-3))
    assert results["metrics"]["accuracy"] >= 0.9
    names = {p.name for p in (tmp_path / "r").iterdir()}
    assert names == {
        ".lock", ".ptm-run", "config.yaml", "manifest.json", "metrics.jsonl", "results.json", "predictions.jsonl",
        "checkpoints", "model", "report.html",
        "shown.json", "README.md",
    }  # fmt: skip
    predictions = [
        json.loads(line) for line in (tmp_path / "r" / "predictions.jsonl").read_text().splitlines()
    ]
    right = sum(p["label"] == p["prediction"] for p in predictions)
    assert right / len(predictions) == results["metrics"]["accuracy"]
    assert all(p["prediction"] == max(p["scores"], key=p["scores"].get) for p in predictions)


@pytest.mark.slow
def test_an_image_model_learns(tmp_path):
    spec = image_spec(tmp_path / "r", epochs=12, max_train_examples=400, augment="none", width=8)
    assert run(spec)["metrics"]["accuracy"] > 0.6


@pytest.mark.slow
def test_the_same_run_twice_gives_the_same_bits(tiny_bert, reviews, tmp_path):
    for name in "ab":
        run(text_spec(tiny_bert, reviews, tmp_path / name))
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert history(tmp_path / "a") == history(tmp_path / "b")
    run(text_spec(tiny_bert, reviews, tmp_path / "c", seed=7))
    assert weights(tmp_path / "a") != weights(tmp_path / "c")


@pytest.mark.slow
def test_micro_batches_and_whole_batches_give_the_same_training(tiny_bert, reviews, tmp_path):
    """The last batch of an epoch is smaller, and texts differ in length: sums and counts must still agree."""
    model = without_dropout(tiny_bert, tmp_path / "bert")
    for name, micro in (("whole", None), ("cut", 3)):
        run(text_spec(model, reviews, tmp_path / name, micro_batch_size=micro, batch_size=10))
    for whole, cut in zip(history(tmp_path / "whole"), history(tmp_path / "cut"), strict=True):
        if whole["kind"] == "train":
            assert whole["loss"] == pytest.approx(cut["loss"], rel=1e-4)
            assert whole["grad_norm"] == pytest.approx(cut["grad_norm"], rel=1e-3)
    states = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "cut")]
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=1e-2, atol=2e-4)


def text_case(tiny_bert, reviews, tmp_path, **changes):
    return lambda name: text_spec(tiny_bert, reviews, tmp_path / name, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("kind", ["text", "image", "distilled text", "distilled image"])
def test_stopped_and_resumed_equals_uninterrupted(kind, accumulate, tiny_bert, reviews, tmp_path):
    """Weights, optimizer, history and best model, bit by bit, whatever the step, and twice in a row."""
    changes: dict = {}
    if kind.startswith("distilled"):
        if kind.endswith("text"):
            run(text_spec(tiny_bert, reviews, tmp_path / "teacher", epochs=1))
        else:
            run(image_spec(tmp_path / "teacher", epochs=1, width=8))
        changes = {
            "teacher": TeacherSpec(name=str(tmp_path / "teacher")),
            "distill": DistillSpec(audit="off"),
        }
    if kind.endswith("text"):
        changes |= {"micro_batch_size": 8 // accumulate}
        make = lambda name: text_spec(tiny_bert, reviews, tmp_path / name, **changes)  # noqa: E731
    else:
        changes |= {"micro_batch_size": 16 // accumulate}
        make = lambda name: image_spec(tmp_path / name, **changes)  # noqa: E731
    run(make("whole"))
    for step in (3, 8):
        with pytest.raises(Interrupted) as caught:
            run(make("parts"), "new" if step == 3 else "resume", StopAt(step))
        assert caught.value.exit_code == 75
        assert f"after step {step} " in str(caught.value)
    run(make("parts"), "resume")
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    assert history(tmp_path / "whole") == history(tmp_path / "parts")
    assert last_state(tmp_path / "whole") == last_state(tmp_path / "parts")
    predictions = [(tmp_path / name / "predictions.jsonl").read_bytes() for name in ("whole", "parts")]
    assert predictions[0] == predictions[1]


@pytest.mark.slow
def test_ctrl_c_stops_too_and_a_finished_run_is_not_trained_again(tiny_bert, reviews, tmp_path):
    spec = text_spec(tiny_bert, reviews, tmp_path / "r")
    with pytest.raises(Interrupted, match="SIGINT"):
        run(spec, "new", StopAt(2, signal.SIGINT))
    assert json.loads((tmp_path / "r" / "results.json").read_text())["status"] == "interrupted"
    first = run(spec, "resume")
    said = Saying()
    assert run(spec, "resume", said) == first
    assert any("finished already" in line for line in said.lines)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"x" * 100])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(damage, tiny_bert, reviews, tmp_path):
    make = text_case(tiny_bert, reviews, tmp_path, save_every_steps=2)
    run(make("whole"))
    with pytest.raises(Interrupted):
        run(make("parts"), "new", StopAt(5))
    (tmp_path / "parts" / "checkpoints" / "step-000005" / "optimizer.safetensors").write_bytes(damage)
    said = Saying()
    run(make("parts"), "resume", said)
    assert any("step-000005 is damaged: optimizer.safetensors" in line for line in said.lines)
    assert any("resumed at step 4" in line for line in said.lines)
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    assert history(tmp_path / "whole") == history(tmp_path / "parts")


@pytest.mark.slow
def test_the_best_evaluation_becomes_the_model_and_is_kept(tiny_bert, reviews, tmp_path):
    """Loss as the measure, a rate so high that it soon gets worse: the best is not the last."""
    best = BestSpec(metric="loss", mode="min")
    spec = text_spec(
        tiny_bert, reviews, tmp_path / "r", epochs=8, learning_rate=2e-2, best=best, scheduler="constant"
    )
    results = run(spec)
    evaluations = [line for line in history(tmp_path / "r") if line["kind"] == "eval"]
    lowest = min(evaluations, key=lambda line: line["metrics"]["loss"])
    assert results["best"]["step"] == lowest["step"]
    assert results["metrics"]["loss"] == pytest.approx(lowest["metrics"]["loss"], abs=1e-9)
    kept = {int(p.name[5:]) for p in (tmp_path / "r" / "checkpoints").glob("step-*")}
    assert kept == {lowest["step"], *[line["step"] for line in evaluations if line is not lowest][-2:]}


@pytest.mark.slow
def test_early_stopping(tiny_bert, reviews, tmp_path):
    spec = text_spec(
        tiny_bert,
        reviews,
        tmp_path / "r",
        epochs=30,
        learning_rate=1e-9,
        early_stopping=2,
        best=BestSpec(metric="accuracy"),
    )
    results = run(spec)
    assert results["best"]["step"] == 8
    assert results["train"]["steps"] == 24
    assert run(spec, "resume") == results


def test_an_unknown_metric_lists_those_there_are(tiny_bert, reviews, tmp_path):
    with pytest.raises(ConfigError, match=r"'accurcy'[\s\S]*accuracy"):
        run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1, best=BestSpec(metric="accurcy")))
    assert not (tmp_path / "r" / "metrics.jsonl").exists()  # before the first step


def test_numbers_that_are_not_finite_stop_the_run_and_are_not_saved(tiny_bert, reviews, tmp_path):
    spec = text_spec(
        tiny_bert, reviews, tmp_path / "r", learning_rate=1e30, max_grad_norm=None, save_every_steps=1
    )
    with pytest.raises(NotFinite, match=r"train\.csv:\d+") as caught:
        run(spec)
    assert caught.value.exit_code == 7
    error = history(tmp_path / "r")[-1]
    assert error["kind"] == "error"
    assert len(error["ids"]) == 8
    assert not math.isfinite(float(error["loss"])) or not math.isfinite(float(error["grad_norm"]))
    for path in (tmp_path / "r" / "checkpoints").glob("step-*/model.safetensors"):
        assert int(path.parent.name[5:]) < error["step"]
        assert all(tensor.isfinite().all() for tensor in load_file(path).values())


@pytest.mark.slow
def test_a_frozen_backbone_keeps_its_bits_and_its_statistics(tmp_path):
    run(image_spec(tmp_path / "base", epochs=1))
    frozen = image_spec(
        tmp_path / "r",
        name=str(tmp_path / "base"),
        width=None,
        weights="default",
        freeze="backbone",
        learning_rate=0.1,
    )
    run(frozen)
    before, after = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("base", "r"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"linear.weight", "linear.bias"}


@pytest.mark.slow
def test_label_smoothing_is_in_training_only(tiny_bert, reviews, tmp_path):
    """With a vanishing learning rate both runs evaluate the same weights; only the training losses differ."""
    for name, smoothing in (("plain", 0.0), ("smooth", 0.5)):
        run(
            text_spec(
                tiny_bert, reviews, tmp_path / name, epochs=1, learning_rate=1e-12, label_smoothing=smoothing
            )
        )
    plain, smooth = history(tmp_path / "plain"), history(tmp_path / "smooth")
    assert plain[0]["loss"] != smooth[0]["loss"]
    assert plain[-1]["metrics"]["loss"] == pytest.approx(smooth[-1]["metrics"]["loss"], abs=1e-9)


@pytest.mark.slow
def test_bf16_trains(tiny_bert, reviews, tmp_path):
    results = run(
        text_spec(tiny_bert, reviews, tmp_path / "r", epochs=6, learning_rate=3e-3, precision="bf16")
    )
    assert results["metrics"]["accuracy"] >= 0.9
    assert {t.dtype for t in load_file(tmp_path / "r" / "model" / "model.safetensors").values()} == {
        torch.float32
    }


@pytest.mark.slow
def test_a_distilled_loss_is_its_parts_and_the_teacher_stays_as_it_was(tiny_bert, reviews, tmp_path):
    run(text_spec(tiny_bert, reviews, tmp_path / "teacher", epochs=3, learning_rate=3e-3))
    before = weights(tmp_path / "teacher")
    distilled = text_spec(
        tiny_bert,
        reviews,
        tmp_path / "r",
        teacher=TeacherSpec(name=str(tmp_path / "teacher")),
        distill=DistillSpec(temperature=4.0, kd_weight=0.7, ce_weight=0.3, audit="off"),
    )
    results = run(distilled)
    for line in history(tmp_path / "r"):
        if line["kind"] == "train":
            assert line["loss"] == pytest.approx(
                0.3 * line["parts"]["ce"] + 0.7 * line["parts"]["kd"], rel=1e-6
            )
    assert weights(tmp_path / "teacher") == before
    student_tensors = len(load_file(tmp_path / "r" / "model" / "model.safetensors"))
    newest = max((tmp_path / "r" / "checkpoints").iterdir())
    assert len(load_file(newest / "model.safetensors")) == student_tensors
    saved = json.loads((tmp_path / "teacher" / "results.json").read_text())
    assert results["teacher"]["metrics"] == pytest.approx(saved["metrics"])


@pytest.mark.slow
def test_a_teacher_with_another_tokenizer_reads_its_own_tokens(tiny_bert, tiny_gpt2, reviews, tmp_path):
    run(text_spec(tiny_gpt2, reviews, tmp_path / "teacher", epochs=1))
    spec = text_spec(
        tiny_bert,
        reviews,
        tmp_path / "r",
        epochs=1,
        teacher=TeacherSpec(name=str(tmp_path / "teacher")),
        distill=DistillSpec(audit="off"),
    )
    results = run(spec)
    saved = json.loads((tmp_path / "teacher" / "results.json").read_text())
    assert results["teacher"]["metrics"] == pytest.approx(saved["metrics"], abs=1e-6)


@pytest.mark.slow
def test_a_distilled_run_without_its_teacher_is_its_control(tiny_bert, reviews, tmp_path):
    """With all weight on the labels, the teacher changes nothing: same order, same dropout, same bits."""
    run(text_spec(tiny_bert, reviews, tmp_path / "teacher", epochs=1))
    run(text_spec(tiny_bert, reviews, tmp_path / "control", epochs=1))
    distilled = text_spec(
        tiny_bert,
        reviews,
        tmp_path / "r",
        epochs=1,
        teacher=TeacherSpec(name=str(tmp_path / "teacher")),
        distill=DistillSpec(kd_weight=0.0, ce_weight=1.0, audit="off"),
    )
    run(distilled)
    control, taught = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("control", "r")
    )
    assert all(torch.equal(control[name], taught[name]) for name in control)


@pytest.mark.slow
def test_random_weights_differ_from_loaded_ones(tiny_bert, reviews, tmp_path):
    spec = text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1)
    scratch = text_spec(tiny_bert, reviews, tmp_path / "s", epochs=1, weights="none")
    run(spec), run(scratch)
    facts = [json.loads((tmp_path / name / "manifest.json").read_text())["weights"] for name in "rs"]
    assert facts[0]["loaded"] > 10
    assert facts[1]["loaded"] == 0
    assert isinstance(spec.model, ModelSpec)


def test_out_of_memory_says_how_much_was_asked_for():
    with (
        pytest.raises(OutOfMemory, match=r"the data; 4,000,000\.0 GB were asked for at once") as caught,
        memory_errors("the data", "less of them"),
    ):
        torch.empty(10**15)
    assert caught.value.exit_code == 5
    assert caught.value.problems[0].cure == "less of them"
    with pytest.raises(OutOfMemory, match=r"3,197,555\.7 GB were asked for"), memory_errors("the data", ""):
        np.zeros((20_000_000, 20_000_000))


def test_other_runtime_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), memory_errors("the data", ""):
        torch.zeros(2, 3) @ torch.zeros(2, 3)


@pytest.mark.slow
def test_changed_inputs_are_not_resumed_unless_asked_for(tiny_bert, reviews, tmp_path):
    """Data and threads: both named; with --allow-drift the run goes on and the record says what changed."""
    data = tmp_path / "data"
    shutil.copytree(reviews, data)
    with pytest.raises(Interrupted):
        run(text_spec(tiny_bert, data, tmp_path / "r"), "new", StopAt(3))
    before = (tmp_path / "r" / "manifest.json").read_bytes()
    lines = (data / "train.csv").read_text().splitlines()
    (data / "train.csv").write_text("\n".join([*lines[:-1], lines[1]]) + "\n")
    spec = text_spec(tiny_bert, data, tmp_path / "r")
    with pytest.raises(RunDirectoryError, match=r"digests\.data\.train"):
        run(spec, "resume")
    assert (tmp_path / "r" / "manifest.json").read_bytes() == before
    results = run_training(spec, mode="resume", reporter=Silent(), allow_drift=True).as_dict()
    assert any(change.startswith("digests.data.train") for change in results["drift"])
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["drift"] == results["drift"]


@pytest.mark.slow
def test_a_finished_run_takes_more_epochs(tiny_bert, reviews, tmp_path):
    """With a constant rate it ends as the longer run would have; the record says that it was extended."""
    options = {"scheduler": "constant", "warmup": 0.0}
    run(text_spec(tiny_bert, reviews, tmp_path / "long", epochs=3, **options))
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=2, **options))
    results = run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=3, **options), "resume")
    assert weights(tmp_path / "r") == weights(tmp_path / "long")
    assert history(tmp_path / "r") == history(tmp_path / "long")
    assert results["extended"] == [[2, 3]]
    assert results["train"]["epochs"] == 3
    with pytest.raises(RunDirectoryError, match="changed"):
        run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=2, **options), "resume")
    more = text_spec(tiny_bert, reviews, tmp_path / "r", epochs=4, **{**options, "seed": 7})
    with pytest.raises(RunDirectoryError, match="changed"):
        run_training(more, mode="resume", reporter=Silent(), allow_drift=True)


@pytest.mark.slow
def test_an_extension_that_is_stopped_goes_on(tiny_bert, reviews, tmp_path):
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1))
    longer = text_spec(tiny_bert, reviews, tmp_path / "r", epochs=3)
    with pytest.raises(Interrupted):
        run(longer, "resume", StopAt(11))
    assert run(longer, "resume")["extended"] == [[1, 3]]
    rates = [line["learning_rate"] for line in history(tmp_path / "r") if line["kind"] == "train"]
    assert rates[3] < rates[4] > rates[5]  # a linear decay had ended, and goes on as that of three epochs


def test_weights_that_overflow_are_not_saved(tiny_bert, reviews, tmp_path):
    """The loss and the gradient of the first step are finite; what an absurd rate makes of the weights is not."""
    spec = text_spec(
        tiny_bert,
        reviews,
        tmp_path / "r",
        learning_rate=1e38,
        weight_decay=1e5,
        warmup=0.0,
        save_every_steps=1,
    )
    with pytest.raises(NotFinite, match="not finite after step 1") as caught:
        run(spec)
    assert caught.value.exit_code == 7
    assert list((tmp_path / "r" / "checkpoints").iterdir()) == []
    assert json.loads((tmp_path / "r" / "results.json").read_text())["status"] == "failed"


@pytest.mark.slow
def test_a_damaged_best_checkpoint_is_trained_again(tiny_bert, reviews, tmp_path):
    """The newest is intact, but speaks of a best one that is not: resuming goes back before that one."""
    options = {"epochs": 3, "best": BestSpec(metric="loss", mode="max")}
    options |= {"save_every_steps": 4, "keep_checkpoints": 9}
    run(text_spec(tiny_bert, reviews, tmp_path / "whole", **options))
    spec = text_spec(tiny_bert, reviews, tmp_path / "r", **options)
    with pytest.raises(Interrupted):
        run(spec, "new", StopAt(20))
    store = tmp_path / "r" / "checkpoints"
    state = json.loads((store / "step-000020" / "state.json").read_text())
    best = store / f"step-{state['best_step']:06d}"
    assert best.name == "step-000008"  # the loss only falls
    damaged = bytearray((best / "model.safetensors").read_bytes())
    damaged[-1] ^= 1
    (best / "model.safetensors").write_bytes(damaged)
    told = Saying()
    run(spec, "resume", told)
    assert sum("step-000008 is damaged: model.safetensors has changed" in line for line in told.lines) > 1
    assert any("resumed at step 4 from" in line for line in told.lines)
    assert weights(tmp_path / "r") == weights(tmp_path / "whole")
    assert history(tmp_path / "r") == history(tmp_path / "whole")


def test_an_evaluation_that_is_not_finite_names_its_examples(tiny_bert, reviews, tmp_path, monkeypatch):
    """One example's outputs are spoilt; the run stops before that step is saved."""
    update = ClassificationMetrics.update

    def spoilt(self, batch, output):
        logits = output.logits.clone()
        logits[batch.ids == 5] = math.nan
        loss = output.loss_sum * (math.nan if (batch.ids == 5).any() else 1.0)
        update(self, batch, replace(output, logits=logits, loss_sum=loss))

    monkeypatch.setattr(ClassificationMetrics, "update", spoilt)
    with pytest.raises(NotFinite, match=r"step 8, examples \S+eval\.csv:7: ") as caught:
        run(text_spec(tiny_bert, reviews, tmp_path / "r"))
    assert caught.value.exit_code == 7
    assert history(tmp_path / "r")[-1]["metrics"]["loss"] == "nan"
    assert list((tmp_path / "r" / "checkpoints").iterdir()) == []


def test_no_process_waits_for_one_that_finds_the_run_finished(tiny_bert, reviews, tmp_path, monkeypatch):
    spec = text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1)
    results = run(spec)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(spec, "resume") == json.loads(json.dumps(results))
