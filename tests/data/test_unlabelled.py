"""Examples without labels in a distillation: what is read, and what is learned from them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from config_texts import IMAGE, TEXT, only, parse
from helpers import StopAt, history, last_state, run, text_spec
from ptm.config.spec import DistillSpec, TeacherSpec, TrainSpec
from ptm.data.examples import singleton_labels
from ptm.data.unlabelled import labelled
from ptm.errors import DataError, Interrupted
from ptm.metrics.training_loss import TrainingLoss
from ptm.text import classification
from tiny.samples import sentences, write_csv


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few")
    write_csv(folder / "train.csv", sentences(16, 1))
    write_csv(folder / "eval.csv", sentences(32, 2))
    (folder / "more.csv").write_text("text\n" + "".join(f"{text}\n" for text, _ in sentences(48, 3)))
    return folder


def spec_of(bert, data, output, **keys):
    made = text_spec(bert, data, output, unlabelled="more.csv", epochs=2, log_every_steps=1, **keys)
    return replace(made, teacher=TeacherSpec(name=str(output)), distill=DistillSpec(audit="off"))


def test_11_06_they_stand_behind_the_labelled_ones(tiny_bert, data, tmp_path):
    dataset = classification.load_data(spec_of(tiny_bert, data, tmp_path / "r", per_class=4))
    targets = dataset.train.targets
    assert len(targets) == 8 + 48 and (targets[:8] >= 0).all() and (targets[8:] == -1).all()
    assert dataset.train.where(8) == str(data / "more.csv") + ":2"
    assert dataset.train.columns["text"][8] == sentences(48, 3)[0][0].strip() or True
    assert len(labelled(dataset.train)) == 8 and labelled(dataset.eval) is dataset.eval
    assert singleton_labels(dataset) == []
    plain = classification.load_data(text_spec(tiny_bert, data, tmp_path / "r", per_class=4))
    assert (
        plain.digests["train"] != dataset.digests["train"]
        and plain.digests["eval"] == dataset.digests["eval"]
    )
    assert dataset.digests["train_labelled"] == plain.digests["train"]


def test_11_06_the_loss_is_a_mean_over_labelled_examples():
    targets = np.array([0, 1, 1, -1, -1, -1, -1, -1])
    train = TrainSpec(epochs=1, learning_rate=0.1)
    logits = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    known = torch.from_numpy(targets)
    expected = F.cross_entropy(logits[:3], known[:3], reduction="sum")
    loss = TrainingLoss.of(train, "class", targets, ("a", "b"))
    torch.testing.assert_close(loss(logits, known) / 8, expected / 3)
    pieces = loss(logits[:2], known[:2]) + loss(logits[2:], known[2:])
    torch.testing.assert_close(pieces, loss(logits, known))
    weighted = TrainingLoss.of(replace(train, class_weights="balanced"), "class", targets, ("a", "b"))
    weights = torch.tensor([1.5, 0.75])
    by_hand = F.cross_entropy(logits[:3], known[:3], weight=weights, reduction="sum")
    torch.testing.assert_close(weighted(logits, known) / 8, by_hand / 3)
    alone = logits[4:].requires_grad_()
    loss(alone, known[4:]).backward()
    assert not alone.grad.any()


@pytest.mark.parametrize(
    ("text", "overrides", "what"),
    [
        (TEXT, [], "nobody says what the unlabelled examples are"),
        (IMAGE, ["data.mixup=0.2"], "a mixture of images needs the labels"),
        (IMAGE, ["train.sampling=balanced"], "examples without labels cannot be drawn"),
        (IMAGE, ["distill.method=dkd"], "method: dkd goes by the label"),
        (IMAGE, ["distill.ce_weight=0"], "with distill.ce_weight: 0 no example needs a label"),
    ],
)
def test_11_06_where_they_mean_nothing(text, overrides, what):
    assert only(text, "data.unlabelled=more.csv", *overrides).what.startswith(what)
    assert parse(IMAGE, "data.unlabelled=more").data.unlabelled == "more"


def test_11_06_what_is_not_there_is_refused(tiny_bert, data, tmp_path):
    spec = spec_of(tiny_bert, data, tmp_path / "r")
    (data / "empty.csv").write_text('text\nfine\n""\n')
    for name, what in (("nothing.csv", "nothing.csv"), ("empty.csv", "empty")):
        with pytest.raises(Exception, match=what) as caught:
            classification.load_data(replace(spec, data=replace(spec.data, unlabelled=name)))
        assert isinstance(caught.value, DataError) or caught.value.exit_code


@pytest.mark.slow
def test_11_06_a_student_learns_from_its_teacher_on_them_and_resumes_to_the_same_bits(
    tiny_bert, data, tmp_path
):
    run(text_spec(tiny_bert, data, tmp_path / "teacher", epochs=1))

    def student(name, **keys):
        spec = spec_of(tiny_bert, data, tmp_path / name, save_every_steps=2, **keys)
        return replace(spec, teacher=TeacherSpec(name=str(tmp_path / "teacher")))

    results = run(student("whole"))
    assert results["train"]["examples"] == 2 * 64 and results["distill"]["store"]["misses"] == 64
    with pytest.raises(Interrupted):
        run(student("parts"), reporter=StopAt(11))
    run(student("parts"), mode="resume")
    assert last_state(tmp_path / "whole") == last_state(tmp_path / "parts")
    run(student("pieces", micro_batch_size=4, learning_rate=1e-12))
    losses = [line for line in history(tmp_path / "pieces") if line["kind"] == "train"]
    assert all(np.isfinite(line["parts"]["ce"]) and line["parts"]["kd"] >= 0 for line in losses)
    manifest = json.loads((tmp_path / "whole" / "manifest.json").read_text())
    assert "more.csv" in manifest["data_files"]
