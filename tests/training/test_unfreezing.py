"""Gradual unfreezing through real runs: which weights move in which epoch, and that a stop changes nothing."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny
from helpers import Saying, StopAt, history, image_spec, last_state, run, text_spec, weights
from ptm.config.load import load_config, parse_config
from ptm.config.spec import DistillSpec, TeacherSpec
from ptm.errors import ConfigError, Interrupted
from ptm.experiment.train import run_training

STEPS_PER_EPOCH = 4


@pytest.fixture
def spec(tiny_bert, reviews, tmp_path):
    def make(output="r", **changes):
        return text_spec(
            tiny_bert,
            reviews,
            tmp_path / output,
            **{
                "epochs": 4,
                "max_train_examples": 8 * STEPS_PER_EPOCH,
                "unfreeze_every": 1,
                "keep_checkpoints": 20,
                "save_every_steps": 1,
                "weight_decay": 0.1,
                "best": None,
                **changes,
            },
        )

    return make


def checkpoint(run_directory, step, name="model"):
    return load_file(run_directory / "checkpoints" / f"step-{step:06d}" / f"{name}.safetensors")


def layer(name):
    if name.startswith("classifier"):
        return "head"
    return "top" if "layer.1." in name or "pooler" in name else "middle" if "layer.0." in name else "bottom"


@pytest.mark.slow
def test_a_layer_joins_after_each_epoch_and_until_then_not_one_bit_of_it_moves(spec, tmp_path):
    run(spec())
    moved = []
    for epoch in range(4):
        last = [checkpoint(tmp_path / "r", STEPS_PER_EPOCH * epoch + k) for k in (1, STEPS_PER_EPOCH)]
        moved.append({layer(n) for n in last[0] if not torch.equal(last[0][n], last[1][n])})
    assert moved == [
        {"head"},
        {"head", "top"},
        {"head", "top", "middle"},
        {"head", "top", "middle", "bottom"},
    ]


@pytest.mark.slow
def test_the_first_epoch_leaves_the_weights_as_they_were_loaded(spec, tiny_bert, tmp_path):
    run(spec())
    loaded = load_file(tiny_bert / "model.safetensors")
    after = checkpoint(tmp_path / "r", STEPS_PER_EPOCH)
    assert all(torch.equal(after[f"bert.{name}"], tensor) for name, tensor in loaded.items())


@pytest.mark.slow
def test_the_optimizer_knows_of_a_layer_when_it_joins(spec, tmp_path):
    run(spec())
    known = [len(checkpoint(tmp_path / "r", step, "optimizer")) for step in (1, 4, 5, 8, 9, 12, 13, 16)]
    assert known[0] == known[1] == 3 * 2  # AdamW: two moments and a count for the head's weight and bias
    assert known[1] < known[2] == known[3] < known[4] == known[5] < known[6] == known[7]


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 4, 5])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adafactor"])
def test_a_stop_around_a_thaw_changes_no_bit(step, optimizer, spec, tmp_path):
    whole, parts = (spec(name, epochs=2, save_every_steps=None, optimizer=optimizer) for name in ("a", "b"))
    run(whole)
    with pytest.raises(Interrupted):
        run(parts, reporter=StopAt(step))
    run(parts, mode="resume")
    assert last_state(tmp_path / "a") == last_state(tmp_path / "b")
    assert history(tmp_path / "a") == history(tmp_path / "b")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


@pytest.mark.slow
def test_statistics_of_a_frozen_stage_stand_still(tmp_path):
    """As in evaluation: a batch norm that does not learn does not drift with the data either."""
    changes = {"epochs": 2, "unfreeze_every": 1, "keep_checkpoints": 20, "save_every_steps": 1}
    run(image_spec(tmp_path / "r", **changes, best=None))
    first, last = (checkpoint(tmp_path / "r", step) for step in (7, 12))
    still = "layer2.0.bn1.running_mean", "bn1.running_var"
    assert all(torch.equal(first[name], last[name]) for name in still)
    assert not torch.equal(first["layer3.0.bn1.running_mean"], last["layer3.0.bn1.running_mean"])


@pytest.mark.slow
def test_what_a_model_never_trains_does_not_join(tmp_path):
    """The positions of Marian's encoder and decoder are sinusoids: parameters that ask for no gradient."""
    small = ["train.epochs=3", "data.max_train_examples=8", "data.max_eval_examples=2", "train.batch_size=8"]
    few = ["train.eval_every_steps=100", "generate.max_length=4", f"output={tmp_path / 'r'}"]
    spec = load_config(
        tiny.prepare("translation", tmp_path), [*small, *few, "train.steps=null", "train.unfreeze_every=1"]
    )
    model = run(spec)["model"]
    state = checkpoint(tmp_path / "r", 3)
    fixed = sum(tensor.numel() for name, tensor in state.items() if "embed_positions" in name)
    assert model["parameters"] - model["trainable_parameters"] == fixed > 0


@pytest.mark.slow
def test_it_is_said_how_many_layers_learn(spec):
    said = Saying()
    run_training(spec(), mode="new", reporter=said)
    assert [line for line in said.lines if "layers learn" in line] == [
        f"epoch {epoch}: {epoch + 1} of 4 layers learn" for epoch in range(4)
    ]


@pytest.mark.slow
def test_the_log_tells_the_rate_of_the_schedule(spec, tmp_path):
    run(spec(layer_decay=0.5, head_learning_rate=0.1, scheduler="constant", log_every_steps=1, epochs=1))
    assert {line["learning_rate"] for line in history(tmp_path / "r") if line["kind"] == "train"} == {1e-3}


@pytest.mark.slow
def test_a_student_can_be_unfrozen(spec, tiny_bert, reviews, tmp_path):
    run(text_spec(tiny_bert, reviews, tmp_path / "teacher", epochs=1))
    taught = {"teacher": TeacherSpec(name=str(tmp_path / "teacher")), "distill": DistillSpec(audit="off")}
    run(spec(epochs=2, **taught))
    first, last = (checkpoint(tmp_path / "r", step) for step in (1, 4))
    assert {layer(n) for n in first if not torch.equal(first[n], last[n])} == {"head"}


def test_two_processes_leave_what_is_frozen_alone(tiny_bert, reviews, tmp_path, write_config, run_cli):
    """The sum of gradients over processes must not make zeros of those that are not there."""
    config = write_config(
        tmp_path,
        f"""\
version: 1
task: text-classification
model: {{name: {tiny_bert}}}
data: {{source: "csv:{reviews}", train: train.csv, eval: eval.csv, max_train_examples: 32}}
train: {{epochs: 2, batch_size: 8, micro_batch_size: 4, learning_rate: 1.0e-3, weight_decay: 0.5, unfreeze_every: 1}}
runtime: {{device: cpu, threads: 1}}
output: {tmp_path / "r"}
""",
    )
    done = run_cli("finetune", config, "--nproc", "2")
    assert done.returncode == 0, done.stderr
    loaded, after = (
        load_file(tiny_bert / "model.safetensors"),
        checkpoint(tmp_path / "r", 2 * STEPS_PER_EPOCH),
    )
    still = [name for name in loaded if layer(name) in ("middle", "bottom")]
    assert still
    assert all(torch.equal(after[f"bert.{name}"], loaded[name]) for name in still)
    assert len(checkpoint(tmp_path / "r", STEPS_PER_EPOCH, "optimizer")) == 3 * 2


CONFIG = """\
version: 1
task: text-classification
model: {{name: bert-base-uncased{model}}}
data: {{source: "csv:x", train: train.csv, eval: eval.csv}}
train: {{epochs: 3, learning_rate: 1.0e-3, unfreeze_every: 1}}
output: r
{more}
"""


@pytest.mark.parametrize(
    ("model", "more", "named"),
    [
        (", freeze: backbone", "", "freezes and thaws by itself"),
        (", adapter: {rank: 2}", "", "an adapter and the head learn from the first step on"),
        ("", "runtime: {compile: true}", "compiled anew"),
        (
            "",
            "teacher: {name: t}\ndistill: {features: minilm}",
            "features: minilm teach layers that do not learn",
        ),
    ],
)
def test_what_does_not_go_with_it_is_refused_by_name(model, more, named):
    with pytest.raises(ConfigError, match=named):
        parse_config(CONFIG.format(model=model, more=more), "run.yaml", base=Path(), cwd=Path())


@pytest.mark.slow
def test_a_model_without_layers_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(ConfigError, match="no layers are recognised in a GoogLeNet"):
        run(image_spec(tmp_path / "r", name="googlenet", width=None, unfreeze_every=1, image_size=32))
    assert not (tmp_path / "r" / "config.yaml").exists()
