"""``ptm env``, ``ptm completion``, ``ptm --version``."""

import json
import shutil
import subprocess

import pytest

import ptm
from ptm.cli.app import run


def test_12_10_the_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"ptm {ptm.__version__}\n"


def test_12_10_env_is_told_to_people_and_programs(capsys, monkeypatch):
    monkeypatch.setenv("PTM_OFFLINE", "1")
    assert run(["env"]) == 0
    text = capsys.readouterr().out
    assert f"ptm: {ptm.__version__}\n" in text and "\n  PTM_OFFLINE: 1\n" in text
    assert run(["env", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["variables"]["PTM_OFFLINE"] == "1"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_12_10_completion_is_a_script_for_the_shell(capsys, shell):
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_PTM_COMPLETE=complete_{shell}" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_12_10_a_shell_that_is_none(capsys):
    assert run(["completion", "tcsh"]) == 2
    assert "expected: one of bash, zsh, fish" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("ptm fin", ["finetune"]),
        ("ptm cache pr", ["prune"]),
        ("ptm finetune --print", ["--print-config"]),
        ("ptm eval x --set train.batch", ["train.batch_size="]),
    ],
)
def test_12_10_a_shell_is_told_what_could_follow(capsys, monkeypatch, words, offers):
    monkeypatch.setenv("_PTM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit) as ended:
        run([])
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == offers
