"""Two processes train what one trains: same order, same dropout, same statistics, same sums."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from helpers import history

TEXT = """
version: 1
task: text-classification
model: {{name: {model}}}
data: {{source: "csv:{data}", train: train.csv, eval: eval.csv, labels: [negative, positive]}}
train: {{epochs: 1, batch_size: 10, micro_batch_size: 5, learning_rate: 1e-3, log_every_steps: 1}}
runtime: {{device: cpu, threads: 1}}
output: {output}
"""

IMAGE = """
version: 1
task: image-classification
model: {{name: resnet8, weights: none, width: 4}}
data: {{source: "builtin:digits", train: train, eval: test, image_size: 16,
  max_train_examples: 80, max_eval_examples: 32}}
train: {{steps: 8, batch_size: 16, micro_batch_size: 4, learning_rate: 1e-2, log_every_steps: 1}}
runtime: {{device: cpu, threads: 1}}
output: {output}
"""


def train(config: str, tmp_path, name: str, *how: str) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(config)
    command = ["-m", "ptm"] if not how or how[0] == "--nproc" else list(how)
    rest = list(how) if how and how[0] == "--nproc" else []
    done = subprocess.run(
        [sys.executable, *command, "finetune", str(path), *rest], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "how",
    [("--nproc", "2"), ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "ptm")],
)
def test_two_processes_equal_one_on_text(how, tiny_bert, reviews, tmp_path):
    for name, way in (("one", ()), ("two", how)):
        config = TEXT.format(model=tiny_bert, data=reviews, output=tmp_path / name)
        train(config, tmp_path, f"config_{name}", *way)
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    assert [line["kind"] for line in one] == [line["kind"] for line in two]
    for a, b in zip(one, two, strict=True):
        if a["kind"] == "train":
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
            assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
        else:
            assert a["metrics"] == pytest.approx(b["metrics"], rel=1e-4)


def test_two_processes_equal_one_on_images_with_batch_norm(tmp_path):
    for name, way in (("one", ()), ("two", ("--nproc", "2"))):
        train(IMAGE.format(output=tmp_path / name), tmp_path, f"config_{name}", *way)
    states = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two")]
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=1e-3, atol=1e-4)
