"""Distillation of label sets, numbers and tags: whole runs."""

import math

import numpy as np
import pytest
import torch

from helpers import Saying, history, run
from ptm.config.load import load_config
from ptm.config.spec import DistillSpec
from ptm.errors import ConfigError, ModelError
from tiny import prepare
from tiny.samples import save_tiny_gpt2


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


@pytest.mark.slow
def test_a_student_learns_from_its_teacher(world, tmp_path):
    reporter = Saying()
    only = ("distill.ce_weight=0", "distill.kd_weight=1", "train.epochs=24")
    results = run(distilled(world, "student", *only), reporter=reporter)
    losses = [line["parts"]["kd"] for line in history(tmp_path / "student") if line["kind"] == "train"]
    quarter = len(losses) // 4  # of single batches some are harder than others
    assert np.mean(losses[-quarter:]) < 0.8 * np.mean(losses[:quarter])
    assert results["teacher"]["metrics"]["loss"] < math.inf
    tags = world.stem == "token-classification"
    assert results["distill"]["store"]["used"] is not tags
    assert (
        any(
            "outputs are not stored (a store keeps a row an example; these have one a word, token or pixel)"
            in line
            for line in reporter.lines
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


@pytest.mark.slow
def test_a_fresh_teacher_is_refused(world, tmp_path):
    run(load_config(world, [f"output={tmp_path / 'fresh'}", "train.learning_rate=1e-9"]))
    changes = [f"teacher.name={tmp_path / 'fresh'}", f"output={tmp_path / 'refused'}"]
    with pytest.raises(ModelError, match=r"knows nothing|in another order"):
        run(load_config(world, changes))


@pytest.mark.slow
def test_what_means_nothing_to_a_label_type_is_refused(world):
    if world.stem == "token-classification":
        assert distilled(world, "r", "distill.method=dkd").distill.method == "dkd"
        return
    for change in ("distill.method=dkd", "distill.method=dist", "distill.top_k=2"):
        with pytest.raises(ConfigError, match=f"{change.split('.')[1].split('=')[0]}.*label_type"):
            distilled(world, "r", change)


@pytest.mark.slow
def test_a_teacher_that_cuts_into_other_pieces_cannot_be_compared_word_by_word(tmp_path):
    config = prepare("token-classification", tmp_path)
    gpt2 = save_tiny_gpt2(tmp_path / "gpt2")
    run(load_config(config, [f"model.name={gpt2}", f"output={tmp_path / 'teacher'}", "train.epochs=1"]))
    with pytest.raises(ModelError, match="in other pieces than the student"):
        run(distilled(config, "student", "distill.audit=off"))


@pytest.mark.slow
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
        teacher_outputs = Teacher(teacher, student, runtime, settings, requested=(), seed=1, counts=counts)
        objective = Distilled(student, [teacher_outputs], settings, counts)
        student.model.eval()

        def gradient(pieces):
            student.model.zero_grad()
            total = 0
            for train_batch in objective.train_batches(pieces, 0):
                assert isinstance(train_batch, TrainBatch)
                output = objective.loss(student.model, objective.ask_teachers(train_batch))
                output.loss_sum.backward()
                total += output.count
            return student.model.classifier.weight.grad.clone(), total

        ids = np.array([3, 0, 7, 5])
        whole, count = gradient([ids])
        parts, counted = gradient([ids[:1], ids[1:]])
    assert count == counted == sum(len(data.train.targets[i]) for i in ids)
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-4)
