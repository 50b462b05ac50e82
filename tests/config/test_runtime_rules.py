"""Keys of ``runtime`` that do not go together with others."""

import pytest

from ptm.config.load import load_config
from ptm.errors import ConfigError

CONFIG = """\
version: 1
task: text-classification
model: {name: bert-base-uncased}
data: {source: "csv:.", train: train.csv, eval: eval.csv}
train: {epochs: 1, learning_rate: 1e-3}
runtime: {shard: fsdp}
output: out
"""
IMAGES = """\
version: 1
task: image-classification
model: {name: resnet8, weights: none}
data: {source: "builtin:digits", train: train, eval: test}
train: {epochs: 1, learning_rate: 1e-3}
runtime: {shard: fsdp}
output: out
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG)
    return path


@pytest.mark.parametrize(
    "change",
    [
        "model.adapter={rank: 2}",
        "model.freeze=backbone",
        "train.ema=0.9",
        "train.average_checkpoints=2",
        "train.unfreeze_every=1",
        "train.optimizer=adafactor",
        "runtime.compile=true",
        "runtime.precision=fp16",
        "teacher={name: bert}",
    ],
)
def test_13_07_what_was_not_built_with_shards_is_refused_by_name(change, config):
    assert load_config(config, []).runtime.shard == "fsdp"
    with pytest.raises(ConfigError) as caught:
        load_config(config, [change])
    (said,) = (problem.what for problem in caught.value.problems)
    assert said.startswith(change.partition("=")[0]) and "runtime.shard: fsdp" in said
    assert load_config(config, [change, "runtime.shard=none"])


@pytest.mark.parametrize(
    "change",
    [
        "runtime.compile=true",
        "runtime.shard=fsdp",
        "train.gradient_checkpointing=true",
        "data.long_texts=windows",
    ],
)
def test_13_08_what_cannot_be_recorded_is_refused_by_name(change, config):
    recorded = ["runtime.shard=none", "runtime.cuda_graphs=true"]
    assert load_config(config, recorded).runtime.cuda_graphs
    with pytest.raises(ConfigError) as caught:
        load_config(config, [*recorded, change])
    (said,) = (problem.what for problem in caught.value.problems)
    assert said.startswith(change.partition("=")[0]) and "runtime.cuda_graphs" in said


def test_13_08_passes_of_other_tasks_are_not_recorded(config):
    with pytest.raises(ConfigError, match="cuda_graphs"):
        load_config(config, ["task=masked-lm", "runtime.shard=none", "runtime.cuda_graphs=true"])


def test_13_07_windows_weighed_by_a_learned_vector_are_not_sharded(config):
    """The vector that learned would not be the one that is read."""
    windows = ["data.long_texts=windows", "data.pool=learned"]
    with pytest.raises(ConfigError, match=r"data\.pool: learned and runtime\.shard: fsdp"):
        load_config(config, windows)
    assert load_config(config, [*windows, "runtime.shard=none"])


def test_13_07_of_images_the_key_itself_is_refused(config):
    config.write_text(IMAGES)
    with pytest.raises(ConfigError) as caught:
        load_config(config, [])
    (problem,) = caught.value.problems
    assert "runtime.shard is for" in problem.what


def test_fp16_needs_a_gpu(config):
    with pytest.raises(ConfigError, match="fp16 needs CUDA"):
        load_config(config, ["runtime.shard=none", "runtime.precision=fp16", "runtime.device=cpu"])
