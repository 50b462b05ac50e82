"""Options of the commands that train: how the run directory is opened, what changes the config."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ptm.cli.app import app
from ptm.cli.training import TrainingOptions
from ptm.errors import ConfigError, PtmError


def options(**how):
    return TrainingOptions(config=Path("run.yaml"), **how)


@pytest.mark.parametrize(
    ("how", "mode"), [({}, "new"), ({"resume": True}, "resume"), ({"overwrite": True}, "overwrite")]
)
def test_how_the_run_directory_is_opened(how, mode):
    assert options(**how).mode == mode


def test_two_ways_at_once_are_refused():
    with pytest.raises(ConfigError, match="contradict"):
        _ = options(resume=True, overwrite=True).mode


def test_the_output_is_the_last_change_and_written_as_yaml_reads_it():
    changes = ["train.epochs=1", "output=a"]
    assert options(changes=changes).overrides == changes
    assert options(changes=changes, output='b "c": d').overrides == [*changes, 'output="b \\"c\\": d"']
    assert options(output="").overrides == ['output=""']


CONFIG = """version: 1
task: text-classification
model: {{name: m}}
data: {{source: "csv:{0}", train: a, eval: b}}
train: {{epochs: 1, learning_rate: 1}}
output: {0}/r
"""


def refused(tmp_path, *words):
    (tmp_path / "run.yaml").write_text(CONFIG.format(tmp_path))
    result = CliRunner().invoke(app, [words[0], str(tmp_path / "run.yaml"), *words[1:]])
    assert isinstance(result.exception, PtmError), result.exception
    assert not (tmp_path / "r").exists()
    return str(result.exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pretrain"], "ptm finetune"),
        (["distill"], "no teacher"),
        (["finetune", "--set", "teacher.name=t"], "ptm distill"),
        (["finetune", "--set", "train.epochs=x"], "--set train.epochs=x"),
        (["finetune", "--locked"], "ptm lock"),
        (["finetune", "--output", ""], "output is an empty text"),
        (["finetune", "--resume"], "r"),
        (["finetune", "--seeds", "1,x"], "1,x"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path, words, said):
    assert said in refused(tmp_path, *words)
