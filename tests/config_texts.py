"""Two valid configs as text, and what becomes of them when something in them is changed."""

from pathlib import Path

import pytest

from ptm.config.load import parse_config
from ptm.config.spec import RunSpec
from ptm.errors import ConfigError, Problem

BASE, CWD = Path("/base"), Path("/cwd")


TEXT = """\
version: 1
task: text-classification
model: {name: bert-base-uncased}
data:
  source: csv:reviews
  train: train.csv
  eval: dev.csv
  labels: [negative, positive]
train:
  epochs: 3
  learning_rate: 2e-5
best: {metric: accuracy}
output: runs/a
expect: {accuracy: ">= 0.9"}
"""


IMAGE = """\
version: 1
task: image-classification
teacher: {name: ../runs/big}
model: {name: resnet18}
distill: {temperature: 4, kd_weight: 0.7}
data: {source: imagefolder:flowers, eval: 20%, image_size: 64, mean: [0.5, 0.5, 0.5]}
train: {steps: 1_000, optimizer: sgd, learning_rate: 0.1, warmup: .5, max_grad_norm: null}
output: ~/runs/b
"""


def parse(text: str, *overrides: str, base: Path = BASE, cwd: Path = CWD) -> RunSpec:
    return parse_config(text, "run.yaml", overrides, base=base, cwd=cwd)


def refused(text: str, *overrides: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        parse(text, *overrides)
    assert caught.value.exit_code == 2
    return list(caught.value.problems)


def only(text: str, *overrides: str) -> Problem:
    problems = refused(text, *overrides)
    assert len(problems) == 1, "\n".join(map(str, problems))
    return problems[0]


def changed(line: str, new: str, text: str = TEXT) -> str:
    """``text`` with a line, found by its beginning, replaced."""
    lines = text.splitlines()
    assert any(old.strip().startswith(line) for old in lines)
    return "".join(f"{new if old.strip().startswith(line) else old}\n" for old in lines)
