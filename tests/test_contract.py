"""What every task must hold, for each config in configs/tiny/: the engine relies on it and on nothing else.

A module in tests/tiny/ may say ``CHECK = {"rtol": …, "training": True}`` where its sums round more than most, or its
loss is there only in training mode.
"""

import json
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tiny
from helpers import StopAt, evaluation, history, last_state, run, weights
from ptm.config.load import load_config
from ptm.config.model_ref import ModelRef
from ptm.config.tasks import TASKS
from ptm.engine import evaluate
from ptm.errors import Interrupted
from ptm.pipeline import Pipeline, task_module
from ptm.training import order
from ptm.training.runtime import Runtime, batch_norms

QUICK = ("text-classification", "text-classification-pairs", "text-classification-gpt2")  # a second each


@pytest.fixture(params=[n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in tiny.NAMES])
def name(request):
    return request.param


@pytest.fixture
def make(worlds, name, tmp_path):
    """``make("train.steps=1", …, output="a")``: the config's spec with changes, its run in tmp_path / output."""

    def spec(*changes, output="r"):
        return load_config(worlds(name), [*changes, f"output={json.dumps(str(tmp_path / output))}"])

    return spec


def build(spec, **how) -> Pipeline:
    module = task_module(spec.task)
    return module.build(
        spec,
        module.load_data(spec),
        model=how.pop("model", spec.model.ref()),
        complete=how.pop("complete", False),
    )


def tolerance(name, **default):
    return {**default, **getattr(tiny.module_of(name), "CHECK", {})}


def gradients(pipeline, pieces, *, training):
    """Sums of gradients over batches of these ids, and the count of what they are sums over."""
    pipeline.model.train(training)
    for module in batch_norms(pipeline.model.modules()):
        module.eval()  # what a batch norm does depends on what is computed together
    pipeline.model.zero_grad()
    count = 0
    for batch in pipeline.batches("train", pieces, 0):
        torch.manual_seed(1)
        output = pipeline.forward(pipeline.model, batch)
        output.loss_sum.backward()
        count += output.count
    return {n: p.grad.clone() for n, p in pipeline.model.named_parameters() if p.grad is not None}, count


def test_every_task_has_a_tiny_config():
    assert {load_config(tiny.CONFIGS / f"{name}.yaml").task for name in tiny.NAMES} == set(TASKS)


@pytest.mark.slow
def test_micro_batches_give_the_gradient_of_the_whole_batch(name, make):
    pipeline = build(make())
    ids = np.array([3, 0, 7, 5])
    close = tolerance(name, rtol=1e-3, atol=1e-4, training=False)  # evaluating, there is no dropout
    whole, count = gradients(pipeline, [ids], training=close["training"])
    pieces, counted = gradients(pipeline, [ids[:1], ids[1:]], training=close["training"])
    assert count == counted > 0
    largest = max(float(g.abs().max()) for g in whole.values())
    for key, gradient in whole.items():
        torch.testing.assert_close(pieces[key], gradient, rtol=close["rtol"], atol=close["atol"] * largest)


@pytest.mark.slow
def test_batches_are_a_function_of_the_plan_and_the_epoch(make):
    plan = [np.array([4, 2]), np.array([7, 0, 1])]
    first, again = (list(build(make()).batches("train", plan, e)) for e in (3, 3))
    for a, b in zip(first, again, strict=True):
        assert same(a.inputs, b.inputs)
        assert same(a.targets, b.targets)
    if build(make()).random_views:
        other = list(build(make()).batches("train", plan, 4))
        assert not all(same(a.inputs, b.inputs) for a, b in zip(first, other, strict=True))


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.slow
def test_new_weights_are_a_function_of_the_seed(make):
    models = [build(make(f"train.seed={seed}")) for seed in (1, 1, 2)]
    new = models[0].load_report.new or ("",)  # nothing is new by name where nothing was loaded
    states = [
        {n: p for n, p in m.model.named_parameters() if n.startswith(new) and p.ndim >= 2} for m in models
    ]
    assert states[0], "a tiny config trains something new"
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    assert not all(torch.equal(states[0][n], states[2][n]) for n in states[0])
    head = models[0].head
    assert not head or any(n.startswith(head) for n, _ in models[0].model.named_parameters())


@pytest.mark.slow
def test_one_step_changes_the_weights(make):
    spec = make("train.epochs=null", "train.steps=1")
    before = {n: t.clone() for n, t in build(spec).model.state_dict().items()}
    pipeline = build(spec)
    results = run(spec)
    assert results["train"]["steps"] == 1
    after = build(spec, model=ModelRef(name=spec.output), complete=True).model.state_dict()
    changed = [n for n in before if n in after and not torch.equal(before[n], after[n])]
    assert changed
    assert all(bool(torch.isfinite(t).all()) for t in after.values() if t.is_floating_point())
    assert len(pipeline.labels) == len(results["labels"])


@pytest.mark.slow
def test_stopped_and_resumed_equals_uninterrupted(make):
    changes = ("train.epochs=null", "train.steps=5", "train.save_every_steps=2")
    whole, parts = make(*changes, output="whole"), make(*changes, output="parts")
    run(whole)
    with pytest.raises(Interrupted):
        run(parts, reporter=StopAt(3))
    run(parts, mode="resume")
    assert last_state(_path(whole)) == last_state(_path(parts))
    assert history(_path(whole)) == history(_path(parts))
    assert weights(_path(whole)) == weights(_path(parts))


def _path(spec):
    return Path(spec.output)


@pytest.mark.processes
def test_two_processes_equal_one(name, make, worlds, tmp_path, forked):
    changes = ("train.epochs=null", "train.steps=3", "train.log_every_steps=1")
    run(make(*changes, f"train.micro_batch_size={_micro(make())}", output="one"))
    words = [_command(make()), str(worlds(name)), "--output", str(tmp_path / "two")]
    for change in (*changes, f"train.micro_batch_size={_micro(make())}"):
        words += ["--set", change]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # As torchrun starts them.
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    done = forked(*((words, {**group, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"))
    assert [process.returncode for process in done] == [0, 0], done
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    close = tolerance(name, rtol=1e-4)["rtol"]
    for a, b in zip(one, two, strict=True):
        if a["kind"] == "train":
            assert a["loss"] == pytest.approx(b["loss"], rel=close)


def _micro(spec):
    return max(1, spec.train.batch_size // 4)


def _command(spec):
    return "pretrain" if spec.descriptor.language_model else "finetune"


def test_it_learns_and_the_saved_model_evaluates_to_the_same_numbers(name, make, tmp_path):
    results = run(make())
    losses = [line["loss"] for line in history(tmp_path / "r") if line["kind"] == "train"]
    assert losses[-1] < losses[0]
    again = evaluation(tmp_path / "r")
    assert again["metrics"] == pytest.approx(results["metrics"], abs=1e-6)
    spec = make()
    known = spec.evaluation.names(again["labels"])
    assert not [metric for metric in results["metrics"] if spec.evaluation.objection(metric, again["labels"])]
    assert spec.evaluation.headline in results["metrics"]
    assert {metric for metric in known if "/" not in metric} <= set(results["metrics"])
    pipeline = build(make(), model=ModelRef(name=str(tmp_path / "r")), complete=True)
    assert pipeline.labels == tuple(results["labels"])
    ours = pipeline.model.state_dict()
    theirs = tiny.module_of(name).strangers_state(tmp_path / "r" / "model")
    assert theirs
    for key, tensor in theirs.items():
        assert torch.equal(ours[key].cpu(), tensor), key
    assert load_file(tmp_path / "r" / "model" / "model.safetensors")
    what_is_said_of_an_example_does_not_depend_on_those_beside_it(pipeline)


def what_is_said_of_an_example_does_not_depend_on_those_beside_it(pipeline):
    """10.2: metrics and predictions of batches of 1, 4 and 64, and of 3 in a drawn order; the numbers of one matrix
    product may round otherwise than those of another."""
    runtime = Runtime(device=torch.device("cpu"), precision="fp32", threads=1)
    measured = [evaluate(pipeline, runtime, batch_size=size) for size in (1, 4, 64)]
    measured.append(evaluated_in_a_drawn_order(pipeline, batch_size=3))
    alone, *others = ((metrics.compute(), list(metrics.predictions())) for metrics in measured)
    for metrics, predictions in others:
        assert alike(alone[0], metrics)
        assert all(map(alike, alone[1], predictions)) and len(alone[1]) == len(predictions)


def evaluated_in_a_drawn_order(pipeline, *, batch_size):
    drawn = np.random.default_rng(0).permutation(pipeline.size("eval"))
    plan = [drawn[start : start + batch_size] for start in range(0, len(drawn), batch_size)]
    metrics = pipeline.new_metrics()
    pipeline.model.eval()
    with torch.inference_mode():
        for batch in pipeline.batches("eval", plan, 0):
            metrics.update(batch, pipeline.evaluate_batch(pipeline.model, batch))
    return metrics


def alike(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return a == pytest.approx(b, rel=1e-3, abs=1e-4)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    return len(a) == len(b) and all(map(alike, a, b)) if isinstance(a, list) else a == b


def test_every_example_is_evaluated_once_and_predicted_without_its_label(name, make):
    pipeline = build(make())
    plan = order.eval_plan(pipeline.size("eval"), 7, pipeline.lengths("eval"))
    seen = np.concatenate([batch.ids for batch in pipeline.batches("eval", plan, 0)])
    assert sorted(seen) == list(range(pipeline.size("eval")))
    assert all("where" in pipeline.example("eval", int(i)) for i in seen[:3])


def test_features_are_given_by_name_and_change_nothing_else(make):
    pipeline = build(make())
    if not pipeline.feature_names:
        pytest.skip("gives no features")
    pipeline.model.eval()
    (batch,) = pipeline.batches("train", [np.array([3, 0, 7])], 0)
    with torch.no_grad():
        plain = pipeline.forward(pipeline.model, batch)
        rich = pipeline.forward(pipeline.model, batch, pipeline.feature_names)
    assert torch.equal(plain.logits, rich.logits)
    assert plain.features == {}
    assert set(rich.features) == set(pipeline.feature_names)
    assert rich.features["pooled"].ndim == 2
    assert all(len(tensor) == 3 for tensor in rich.features.values())
    assert isinstance(pipeline.output_fingerprint, str)
    assert pipeline.domain_warnings() == []


# One config a task and label type: what is asked of the test split and of slices is not a matter of the model.
SPLIT = (
    "text-classification",
    "text-classification-multilabel",
    "text-classification-regression",
    "token-classification",
    "question-answering",
    "causal-lm",
    "masked-lm",
    "translation",
    "text-similarity",
    "image-classification",
    "object-detection",
    "instance-segmentation",
    "semantic-segmentation",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPLIT)
def test_12_01_a_test_split_is_measured_as_if_it_were_the_evaluation_split(make):
    spec = make("data.test=25%")
    module, runtime = task_module(spec.task), Runtime(device=torch.device("cpu"), precision="fp32", threads=1)
    data, without = module.load_data(spec), module.load_data(make())
    assert len(data.train) + len(data.test) == len(without.train) and len(data.test) > 0
    assert [data.eval.where(i) for i in range(len(data.eval))] == [
        without.eval.where(i) for i in range(len(without.eval))
    ]
    pipeline = module.build(spec, data, model=spec.model.ref(), complete=False)
    as_eval = module.build(spec, replace(data, eval=data.test), model=spec.model.ref(), complete=False)
    as_eval.model.load_state_dict(
        pipeline.model.state_dict()
    )  # of a tokenizer that is learned nothing differs
    measured = [evaluate(each, runtime, batch_size=8) for each in (pipeline.evaluating(data.test), as_eval)]
    assert measured[0].compute() == measured[1].compute()
    assert list(measured[0].predictions()) == list(measured[1].predictions())
    assert pipeline.size("eval") == build(make()).size("eval")


@pytest.mark.slow
@pytest.mark.parametrize("name", SPLIT)
def test_12_06_metrics_of_a_slice_are_those_of_its_examples_alone(name, make):
    image = name.split("-")[0] in ("image", "object", "instance", "semantic")
    pack = ["data.pack=false"] if name.endswith("-lm") else []
    spec = make(f"data.slices=[{'size' if image else 'length'}]", *pack)
    module, runtime = task_module(spec.task), Runtime(device=torch.device("cpu"), precision="fp32", threads=1)
    data = module.load_data(spec)
    if len(set(data.eval.attributes[spec.data.slices[0]])) == 1:  # then they are told apart by their numbers
        halves = ["even", "odd"] * len(data.eval)
        data = replace(
            data, eval=replace(data.eval, attributes={spec.data.slices[0]: halves[: len(data.eval)]})
        )
    pipeline = module.build(spec, data, model=spec.model.ref(), complete=False)
    metrics = evaluate(pipeline, runtime, batch_size=1)
    values = pipeline.attribute(spec.data.slices[0])
    assert len(set(values)) > 1 and len(values) == pipeline.size("eval")
    for value in set(values):
        ids = np.flatnonzero(np.array(values) == value)
        told = metrics.subset(ids).compute()
        assert set(told) <= {n for n in metrics.compute() if n not in spec.evaluation.unsliced}
        assert spec.evaluation.headline in told
        if spec.task == "masked-lm":  # what is masked depends on the number of an example
            rows = [row for row in metrics.predictions() if row["id"] in ids]
            right, tokens = (sum(row[key] for row in rows) for key in ("right", "tokens"))
            assert told["masked_accuracy"] == pytest.approx(right / tokens)
            continue
        rows = [i for i, own in enumerate(data.eval.attributes[spec.data.slices[0]]) if own == value]
        alone = evaluate(pipeline.evaluating(data.eval.select(np.array(rows))), runtime, batch_size=1)
        assert told == pytest.approx(
            {n: v for n, v in alone.compute().items() if n not in spec.evaluation.unsliced}, abs=1e-6
        )
