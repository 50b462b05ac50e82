"""Rows of embeddings that no text of the training uses are not trained, and end as if they were."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from helpers import StopAt, history, last_state, run, weights
from ptm.config.load import load_config
from ptm.errors import Interrupted
from ptm.pipeline import task_module
from ptm.training import optim, used_rows
from ptm.training.runtime import open_runtime

QUICK = ("text-classification", "text-classification-gpt2")
READING = (*QUICK, *(f"text-classification-{n}" for n in ("pairs", "multilabel", "regression")))
READING += ("token-classification", "question-answering", "text-similarity")
OTHERS = ("masked-lm", "causal-lm", "translation", "translation-bert2bert", "image-classification")


@pytest.fixture
def make(worlds, tmp_path):
    def spec(name, *changes, output="r"):
        few = ["data.max_train_examples=6", "train.epochs=null", "train.steps=5", "train.batch_size=2"]
        few += ["train.eval_every_steps=2", f"output={json.dumps(str(tmp_path / output))}"]
        return load_config(worlds(name), [*few, *changes])

    return spec


@pytest.fixture
def leave_out(monkeypatch):
    """``leave_out(True)``: however few rows that saves; the rows that were left out are counted."""
    seen = []
    rows_model = used_rows.rows_model

    def call(some):
        monkeypatch.setattr(used_rows, "_FEWEST_NUMBERS", 1 if some else 10**12)
        seen.clear()

        def counting(*args):
            model = rows_model(*args)
            seen.append(0 if model is None else int(model._others.sum()))
            return model

        monkeypatch.setattr("ptm.engine.rows_model", counting)
        return seen

    return call


def of(spec):
    """The model that is trained in parts, or None."""
    module = task_module(spec.task)
    pipeline = module.build(spec, module.load_data(spec), model=spec.model.ref(), complete=False)
    optim.freeze(pipeline.model, spec.model, pipeline.head, pipeline.embeddings)
    with open_runtime(spec.runtime) as runtime:
        return used_rows.rows_model(pipeline.model, pipeline, spec, runtime), pipeline


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in READING]
)
def test_13_02_the_bits_are_those_of_training_all_rows(make, leave_out, tmp_path, name):
    leave_out(False)
    run(make(name, output="all"))
    rows = leave_out(True)
    run(make(name, output="some"))
    assert rows[0] > 0
    assert last_state(tmp_path / "all") == last_state(tmp_path / "some")
    assert weights(tmp_path / "all") == weights(tmp_path / "some")
    same = [
        [{k: v for k, v in line.items() if "second" not in k} for line in history(tmp_path / n)]
        for n in ("all", "some")
    ]
    assert same[0] == same[1]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_13_02_rows_that_are_left_out_decay_in_each_step(make, leave_out, tmp_path, optimizer):
    decay = 0.0 if optimizer == "sgd" else 0.3
    changes = (f"train.optimizer={optimizer}", f"train.weight_decay={decay}", "train.learning_rate=0.01")
    before = of(make(QUICK[0], *changes))[1].model.state_dict()
    leave_out(False)
    run(make(QUICK[0], *changes, output="all"))
    rows = leave_out(True)
    run(make(QUICK[0], *changes, output="some"))
    assert rows[0] > 0 and weights(tmp_path / "all") == weights(tmp_path / "some")
    after = load_file(tmp_path / "some" / "model" / "model.safetensors")
    name = next(name for name in after if name.endswith("word_embeddings.weight"))
    stayed = (after[name] == before[name]).all(1).sum().item()
    assert stayed >= rows[0] if optimizer == "sgd" else stayed < rows[0]


@pytest.mark.parametrize("kinds", [(True, True), (True, False), (False, True)])
def test_13_02_a_run_that_was_stopped_goes_on_either_way(make, leave_out, tmp_path, kinds):
    leave_out(False)
    run(make(QUICK[0], output="a"))
    leave_out(kinds[0])
    with pytest.raises(Interrupted):
        run(make(QUICK[0], output="b"), reporter=StopAt(3))
    leave_out(kinds[1])
    run(make(QUICK[0], output="b"), mode="resume")
    assert last_state(tmp_path / "a") == last_state(tmp_path / "b")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.slow
def test_13_02_where_any_row_may_learn_all_are_trained(make, leave_out, name):
    leave_out(True)
    assert of(make(name))[0] is None


@pytest.mark.parametrize(
    "changes",
    [
        ["train.optimizer=adafactor"],
        ["train.optimizer=sgd", "train.weight_decay=0.1"],
        ["train.ema=0.9"],
        ["train.average_checkpoints=2"],
        ["train.unfreeze_every=1"],
        ["model.freeze=embeddings"],
        ["model.freeze=backbone"],
    ],
    ids=str,
)
def test_13_02_where_other_rows_change_or_none_do_all_are_trained(make, leave_out, changes):
    leave_out(True)
    assert of(make(QUICK[0]))[0] is not None
    assert of(make(QUICK[0], *changes))[0] is None


def test_13_02_weights_that_stand_in_two_places_are_trained_whole(make, leave_out):
    leave_out(True)
    spec = make(QUICK[0])
    _, pipeline = of(spec)
    table = pipeline.model.get_input_embeddings()
    pipeline.model.tied = nn.Linear(table.embedding_dim, table.num_embeddings, bias=False)
    pipeline.model.tied.weight = table.weight
    with open_runtime(spec.runtime) as runtime:
        assert used_rows.rows_model(pipeline.model, pipeline, spec, runtime) is None


@pytest.mark.parametrize("fills", [None, "a row that is used", "another"])
def test_13_02_what_fills_up_learns_as_in_the_whole_embedding(make, leave_out, fills):
    leave_out(True)
    spec = make(QUICK[0])
    _, pipeline = of(spec)
    table, ids = pipeline.model.get_input_embeddings(), pipeline.read_rows().ids
    other = next(n for n in range(table.num_embeddings) if n not in ids)
    table.padding_idx = None if fills is None else other if fills == "another" else int(ids[1])
    with open_runtime(spec.runtime) as runtime:
        rows = used_rows.rows_model(pipeline.model, pipeline, spec, runtime)
    gradients = []
    for module in (table, rows.model.get_input_embeddings()):
        module(torch.from_numpy(ids)).square().sum().backward()
        gradients.append(module.weight.grad)
    assert torch.equal(gradients[0][ids], gradients[1])


def test_13_02_only_the_embedding_and_what_contains_it_are_others(make, leave_out):
    leave_out(True)
    rows, pipeline = of(make(QUICK[0]))
    own, trained = dict(pipeline.model.named_parameters()), dict(rows.model.named_parameters())
    assert list(own) == list(trained)
    (name,) = [name for name in own if own[name] is not trained[name]]
    assert name.endswith("word_embeddings.weight") and len(trained[name]) < len(own[name])
    ids, batch = pipeline.read_rows().ids, next(pipeline.batches("train", [torch.arange(3).numpy()], 0))
    assert torch.equal(trained[name], own[name][ids])
    rows.model.eval()
    pipeline.model.eval()
    outputs = [pipeline.forward(model, batch).logits for model in (pipeline.model, rows.model)]
    assert torch.equal(*outputs)
    strange = next(n for n in range(len(own[name])) if n not in ids)
    batch.inputs["input_ids"][0, 0] = strange
    with pytest.raises(IndexError):
        pipeline.forward(rows.model, batch)
