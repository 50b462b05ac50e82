"""What every task must hold, with a row a task: the engine relies on it and on nothing else."""

import numpy as np
import pytest
import torch

from helpers import image_spec, run, text_spec
from ptm import order
from ptm.experiment import run_evaluation
from ptm.runlog import Silent
from ptm.spec import ModelSpec
from ptm.tasks import TASKS, task_module


@pytest.fixture
def make(tiny_bert, reviews, tmp_path):
    makers = {
        "text-classification": lambda **changes: text_spec(tiny_bert, reviews, tmp_path / "r", **changes),
        "image-classification": lambda **changes: image_spec(tmp_path / "r", **changes),
    }
    assert set(makers) == set(TASKS)
    return makers


def build(spec, **how):
    module = task_module(spec.task)
    return module.build(
        spec, module.load_data(spec), model=how.pop("model", spec.model), trained=how.pop("trained", False)
    )


@pytest.mark.parametrize("task", TASKS)
def test_losses_are_sums_that_do_not_depend_on_the_batch(task, make):
    pipeline = build(make[task]())
    pipeline.model.eval()
    ids = np.array([3, 0, 7, 5, 1])
    with torch.no_grad():
        (whole,) = [pipeline.forward(pipeline.model, b) for b in pipeline.batches("train", [ids], 1)]
        singles = [
            pipeline.forward(pipeline.model, b)
            for b in pipeline.batches("train", [ids[i : i + 1] for i in range(5)], 1)
        ]
    assert whole.count == sum(single.count for single in singles)
    assert float(whole.loss_sum) == pytest.approx(sum(float(s.loss_sum) for s in singles), rel=1e-4)
    torch.testing.assert_close(whole.logits, torch.cat([s.logits for s in singles]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_batches_are_a_function_of_the_plan_and_the_epoch(task, make):
    plan = [np.array([4, 2]), np.array([9, 0, 1])]
    first, again, other = (
        [b.inputs for b in build(make[task]()).batches("train", plan, e)] for e in (3, 3, 4)
    )
    for a, b in zip(first, again, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert len(other) == 2


@pytest.mark.parametrize("task", TASKS)
def test_heads_are_named_and_new_heads_are_a_function_of_the_seed(task, make):
    models = [build(make[task](seed=seed)).model for seed in (1, 1, 2)]
    head = build(make[task]()).head
    states = [
        {n: p for n, p in model.named_parameters() if n.startswith(head) and p.ndim == 2} for model in models
    ]
    assert states[0]
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    assert not any(torch.equal(states[0][n], states[2][n]) for n in states[0])


@pytest.mark.parametrize("task", TASKS)
def test_a_saved_model_evaluates_to_the_same_numbers(task, make, tmp_path):
    spec = make[task](epochs=1)
    results = run(spec)
    again = run_evaluation(tmp_path / "r", reporter=Silent())
    assert again["metrics"] == pytest.approx(results["metrics"], abs=1e-7)
    saved = build(spec, model=ModelSpec(name=str(tmp_path / "r")), trained=True)
    assert saved.labels == tuple(results["labels"])


@pytest.mark.parametrize("task", TASKS)
def test_features_are_given_by_name_and_change_nothing_else(task, make):
    pipeline = build(make[task]())
    pipeline.model.eval()
    (batch,) = pipeline.batches("train", [np.array([3, 0, 7])], 0)
    with torch.no_grad():
        plain = pipeline.forward(pipeline.model, batch)
        rich = pipeline.forward(pipeline.model, batch, pipeline.feature_names)
    assert torch.equal(plain.logits, rich.logits)
    assert plain.features == {}
    assert set(rich.features) == set(pipeline.feature_names)
    assert "pooled" in rich.features
    assert rich.features["pooled"].ndim == 2
    assert all(len(tensor) == 3 for tensor in rich.features.values())
    assert isinstance(pipeline.reading, str)
    assert isinstance(pipeline.random_views, bool)
    assert pipeline.misfits() == []


@pytest.mark.parametrize("task", TASKS)
def test_every_example_is_evaluated_once(task, make):
    pipeline = build(make[task]())
    plan = order.eval_plan(pipeline.size("eval"), 7, pipeline.lengths("eval"))
    seen = np.concatenate([batch.ids for batch in pipeline.batches("eval", plan, 0)])
    assert sorted(seen) == list(range(pipeline.size("eval")))
    assert all("where" in pipeline.example("eval", int(i)) for i in seen[:3])
