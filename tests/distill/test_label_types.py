"""Distillation of label sets, numbers and tags: losses against independent values, audits, and whole runs."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from helpers import Saying, history, run
from ptm.config.load import load_config
from ptm.config.spec import DistillSpec
from ptm.distill.audit import MetricEvidence, metric_problems
from ptm.distill.losses import compare, mean_teacher, number_loss, soft_labels_loss
from ptm.errors import ConfigError, ModelError
from tiny import prepare
from tiny.samples import save_tiny_gpt2


def logits(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


# Losses


def test_soft_label_sets_by_hand():
    """T = 2: the teacher says 3/4 and 1/2, the student 1/2 twice."""
    teacher = torch.tensor([[2 * math.log(3), 0.0]])
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert soft_labels_loss(torch.zeros(1, 2), teacher, 2.0).item() == pytest.approx(
        4 * divergence / 2, rel=1e-6
    )


def test_soft_label_sets_and_their_gradient_against_torch_distributions():
    student, teacher = logits(5, 3).double().requires_grad_(), logits(5, 3, seed=1).double()
    loss = soft_labels_loss(student, teacher, 4.0)
    divergence = kl_divergence(Bernoulli(logits=teacher / 4), Bernoulli(logits=student / 4))
    assert loss.item() == pytest.approx(16 * divergence.mean(1).sum().item(), rel=1e-9)
    (gradient,) = torch.autograd.grad(loss, student)
    by_hand = (
        4 * ((student / 4).sigmoid() - (teacher / 4).sigmoid()) / 3
    )  # T² · 1/T · (q - p), mean over classes
    torch.testing.assert_close(gradient, by_hand.detach())
    assert torch.autograd.gradcheck(lambda s: soft_labels_loss(s, teacher, 2.0), (student,))


def test_a_student_that_equals_its_teacher_has_no_loss_and_extremes_stay_finite():
    teacher = logits(4, 3)
    student = teacher.clone().requires_grad_()
    loss = soft_labels_loss(student, teacher, 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert student.grad.abs().max().item() < 1e-6
    assert math.isfinite(
        soft_labels_loss(torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]]), 1.0).item()
    )


def test_numbers_by_hand_gradient_included():
    student = torch.tensor([[1.0], [2.0]], requires_grad=True)
    loss = number_loss(student, torch.tensor([[0.0], [4.0]]))
    loss.backward()
    assert loss.item() == 5
    assert student.grad.tolist() == [[2.0], [-4.0]]


def test_the_label_type_chooses_the_loss():
    spec, student, teacher = DistillSpec(temperature=3.0), logits(4, 1), logits(4, 1, seed=1)
    assert compare(student, teacher, None, spec, "number") == number_loss(student, teacher)
    assert compare(student, teacher, None, spec, "classes") == soft_labels_loss(student, teacher, 3.0)


def test_the_mean_of_teachers_is_one_of_probabilities_or_of_numbers():
    said = [logits(4, 3), logits(4, 3, seed=1)]
    mean = mean_teacher(said, [0.25, 0.75], 2.0, "classes")
    expected = 0.25 * (said[0] / 2).sigmoid() + 0.75 * (said[1] / 2).sigmoid()
    torch.testing.assert_close((mean / 2).sigmoid(), expected)
    assert torch.equal(mean_teacher(said, [0.25, 0.75], 2.0, "number"), 0.25 * said[0] + 0.75 * said[1])


# The audit


@pytest.mark.parametrize(("value", "passes"), [(0.9, True), (0.56, True), (0.52, False), (math.nan, False)])
def test_a_teacher_must_know_more_than_a_constant_answer(value, passes):
    teacher = MetricEvidence(
        name="t", metric="auroc_macro", value=value, constant=0.5, perfect=1.0, domain_warnings=()
    )
    problems = metric_problems(teacher)
    assert not problems if passes else "knows nothing" in problems[0].what


def test_the_error_of_a_number_is_held_against_the_variance():
    teacher = {"name": "t", "metric": "mean_squared_error", "constant": 4.0, "perfect": 0.0}
    assert metric_problems(MetricEvidence(**teacher, value=1.0, domain_warnings=())) == []
    (problem,) = metric_problems(MetricEvidence(**teacher, value=3.9, domain_warnings=()))
    assert "mean_squared_error 3.900, where a constant answer has 4.000" in problem.what
    (problem,) = metric_problems(
        MetricEvidence(**teacher, value=9.0, domain_warnings=("half of the words are unknown",))
    )
    assert "half of the words" in problem.what


# Whole runs


@pytest.fixture(
    params=["text-classification-multilabel", "text-classification-regression", "token-classification"]
)
def world(request, tmp_path):
    """A config, and a teacher trained by it."""
    config = prepare(request.param, tmp_path)
    run(load_config(config, [f"output={tmp_path / 'teacher'}"]))
    return config


def distilled(config, name, *changes):
    folder = config.parent
    teacher = [f"teacher.name={folder / 'teacher'}", f"output={folder / name}"]
    return load_config(config, [*teacher, "train.epochs=8", *changes])


def test_a_student_learns_from_its_teacher(world, tmp_path):
    said = Saying()
    results = run(distilled(world, "student", "distill.ce_weight=0", "distill.kd_weight=1"), reporter=said)
    lines = [line for line in history(tmp_path / "student") if line["kind"] == "train"]
    assert lines[-1]["parts"]["kd"] < lines[0]["parts"]["kd"]
    assert results["teacher"]["metrics"]["loss"] < math.inf
    tags = world.stem == "token-classification"
    assert results["distill"]["store"]["used"] is not tags
    assert (
        any(
            "outputs are not stored (a store keeps a row an example; these have one a word, token or pixel)"
            in line
            for line in said.lines
        )
        is tags
    )


def test_the_command_compares_by_a_metric_that_the_task_has(run_cli, tmp_path):
    config = prepare("text-classification-regression", tmp_path)
    run(load_config(config, [f"output={tmp_path / 'teacher'}"]))
    changes = ("--set", f"teacher.name={tmp_path / 'teacher'}", "--set", "distill={}")
    done = run_cli("distill", config, *changes, "--output", tmp_path / "student")
    assert done.returncode == 0, done.stderr
    assert "parameters, mean_squared_error " in done.stdout or "parameters, spearman " in done.stdout


def test_a_fresh_teacher_is_refused(world, tmp_path):
    run(load_config(world, [f"output={tmp_path / 'fresh'}", "train.learning_rate=1e-9"]))
    changes = [f"teacher.name={tmp_path / 'fresh'}", f"output={tmp_path / 'refused'}"]
    with pytest.raises(ModelError, match=r"knows nothing|in another order"):
        run(load_config(world, changes))


def test_what_means_nothing_to_a_label_type_is_refused(world):
    if world.stem == "token-classification":
        assert distilled(world, "r", "distill.method=dkd").distill.method == "dkd"
        return
    for change in ("distill.method=dkd", "distill.method=dist", "distill.top_k=2"):
        with pytest.raises(ConfigError, match=f"{change.split('.')[1].split('=')[0]}.*label_type"):
            distilled(world, "r", change)


def test_a_teacher_that_cuts_into_other_pieces_cannot_be_compared_word_by_word(tmp_path):
    config = prepare("token-classification", tmp_path)
    gpt2 = save_tiny_gpt2(tmp_path / "gpt2")
    run(load_config(config, [f"model.name={gpt2}", f"output={tmp_path / 'teacher'}", "train.epochs=1"]))
    with pytest.raises(ModelError, match="in other pieces than the student"):
        run(distilled(config, "student", "distill.audit=off"))


@pytest.mark.parametrize("name", ["masked-lm", "causal-lm"])
def test_a_language_model_learns_from_one_token_by_token(name, tmp_path):
    config = prepare(name, tmp_path)
    run(load_config(config, [f"output={tmp_path / 'teacher'}"]))
    results = run(distilled(config, "student", "distill.ce_weight=0", "distill.kd_weight=1"))
    lines = [line for line in history(tmp_path / "student") if line["kind"] == "train"]
    assert lines[-1]["parts"]["kd"] < lines[0]["parts"]["kd"]
    assert results["distill"]["store"] == results["distill"]["store"] | {
        "used": False,
        "reason": "a store keeps a row an example; these have one a word, token or pixel",
    }


def test_token_rows_weigh_alike_however_a_batch_is_cut(tmp_path):
    """The gradient of a distillation over words is that of the whole batch."""
    from ptm.distill.objective import Distilled
    from ptm.distill.teacher import Teacher
    from ptm.objective import TrainBatch, new_counts
    from ptm.pipeline import task_module
    from ptm.training.runtime import open_runtime

    config = prepare("token-classification", tmp_path)
    spec = load_config(config)
    module = task_module(spec.task)
    data = module.load_data(spec)
    with open_runtime(spec.runtime) as runtime:
        student, teacher = (
            module.build(spec, data, model=spec.model.ref(), complete=False) for _ in range(2)
        )
        settings, counts = DistillSpec(kd_weight=1.0, ce_weight=0.0, method="dkd"), new_counts()
        with torch.no_grad():
            teacher.model.classifier.weight.mul_(30)
        asked = Teacher(teacher, student, runtime, settings, requested=(), seed=1, counts=counts)
        objective = Distilled(student, [asked], settings, counts)
        student.model.eval()

        def gradient(pieces):
            student.model.zero_grad()
            total = 0
            for train_batch in objective.train_batches(pieces, 0):
                assert isinstance(train_batch, TrainBatch)
                output = objective.loss(student.model, train_batch)
                output.loss_sum.backward()
                total += output.count
            return student.model.classifier.weight.grad.clone(), total

        ids = np.array([3, 0, 7, 5])
        whole, count = gradient([ids])
        parts, counted = gradient([ids[:1], ids[1:]])
    assert count == counted == sum(len(data.train.targets[i]) for i in ids)
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-4)
