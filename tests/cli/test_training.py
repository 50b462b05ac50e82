"""Options of the commands that train: how the run directory is opened, what changes the config."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from ptm.base.standard_input import standard_input
from ptm.cli.app import app, run
from ptm.cli.options import count_processes, parse_processes
from ptm.cli.training import TrainingOptions
from ptm.config.load import load_config
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


@pytest.fixture
def piped(monkeypatch, tmp_path):
    """A config on the standard input of this process."""
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(CONFIG.format("data").encode())))
    monkeypatch.chdir(tmp_path)
    standard_input.cache_clear()
    yield
    standard_input.cache_clear()


def test_12_10_a_config_may_come_from_standard_input(piped, capsys, tmp_path):
    assert run(["finetune", "-", "--print-config", "--json", "--output", "here"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["config"]["data"]["source"] == f"csv:{tmp_path}/data"
    assert printed["origins"]["model.name"] == "standard input:3:15"
    assert printed["origins"]["output"] == "--output, resolved"
    assert run(["check", "-", "-"]) == 0  # which is read once
    assert run(["lock", "-"]) == 2
    assert run(["predict", "-", "-"]) == 2
    assert run(["eval", "-", "--data", "csv:-"]) == 2


def test_12_10_where_values_come_from_is_printed_as_a_config(capsys, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG.format(tmp_path))
    assert run(["finetune", str(config), "--print-config", "--set", "train.epochs=2"]) == 0
    text = capsys.readouterr().out
    assert "  epochs: 2  # --set train.epochs=2\n" in text and f"# {config}:2:7\n" in text
    (tmp_path / "again.yaml").write_text(text)
    assert load_config(tmp_path / "again.yaml") == load_config(config, ["train.epochs=2"])


@pytest.mark.parametrize(
    ("text", "change", "cores", "gpus", "count"),
    [
        ("3", "train.batch_size=1", 1, 0, 3),
        ("auto", "train.batch_size=32", 8, 0, 1),  # one micro-batch: nobody to share it with
        ("auto", "train.micro_batch_size=16", 8, 0, 2),
        ("auto", "train.micro_batch_size=1", 8, 0, 8),
        ("auto", "train.micro_batch_size=1", 8, 4, 4),
        ("auto", "runtime.device=cpu", 8, 4, 1),
    ],
)
def test_12_10_as_many_processes_as_have_something_to_do(
    tmp_path, monkeypatch, text, change, cores, gpus, count
):
    monkeypatch.setattr("ptm.base.processors.core_count", lambda: cores)
    monkeypatch.setattr("ptm.base.processors.gpu_count", lambda: gpus)
    (tmp_path / "run.yaml").write_text(CONFIG.format(tmp_path))
    assert count_processes(text, load_config(tmp_path / "run.yaml", [change])) == count


@pytest.mark.parametrize("text", ["0", "1025", "1000000000", "9" * 5000, "-1", "٣"])
def test_15_11_no_number_of_processes_is_without_end(text):
    with pytest.raises(ConfigError, match="from 1 to 1024, or auto"):
        parse_processes(text)


def test_12_10_quiet_and_verbose_contradict_each_other(tmp_path, capsys):
    (tmp_path / "run.yaml").write_text(CONFIG.format(tmp_path))
    for command in ("finetune", "batch", "lock"):
        assert run([command, str(tmp_path / "run.yaml"), "-q", "-v"]) == 2
        assert "contradict each other" in capsys.readouterr().err
