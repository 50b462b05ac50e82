"""Standard output that is closed early, full, or in another encoding."""

import json
import os
import subprocess
import sys

import pytest

from helpers import text_spec
from ptm.config.load import dump_config

pytestmark = pytest.mark.processes

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
PRINTS = [["models"], ["schema"]]


@pytest.mark.parametrize("words", PRINTS)
def test_a_reader_that_goes_away_is_exit_141_and_no_word(words):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "ptm", *words], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("words", PRINTS)
def test_a_full_disk_behind_standard_output_is_one_message_and_exit_3(words):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "ptm", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 3
    assert done.stderr.startswith("error: standard output: cannot be written: No space left on device\n")
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr


def test_15_12_a_pipe_that_does_not_wait_gets_everything():
    """As programs in Node hand it over: a write into it fails while the reader is behind."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    printed = "import ptm.cli.streams as s, sys; s.open_streams(); print('x' * 1000000); sys.stdout.flush()"
    with subprocess.Popen([sys.executable, "-c", printed], stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        with os.fdopen(reading, "rb") as reader:
            arrived = reader.read()
        assert process.stderr is not None
        assert (process.wait(), process.stderr.read(), len(arrived)) == (0, b"", 1_000_001)


def test_what_is_printed_and_named_is_utf8_in_every_locale(run_cli, tmp_path):
    folder = tmp_path / "Über mich"
    folder.mkdir()
    config = folder / "läuft.yaml"
    config.write_text("version: 1\ntask: grün\n", encoding="utf-8")
    done = run_cli("check", config, env=C_LOCALE)
    assert done.returncode == 2
    assert f"{config}:2:7: task is the text 'grün'" in done.stderr
    config = folder / "ok.yaml"
    config.write_text(
        "version: 1\ntask: text-classification\nmodel: {name: x}\ndata: {source: 'csv:x', eval: e}\n"
        "train: {epochs: 1, learning_rate: 1}\noutput: r\n"
    )
    done = run_cli("finetune", config, "--output", folder / "läuft 1", env=C_LOCALE)
    assert "control character" not in done.stderr
    printed = "import ptm.cli.streams as s; s.open_streams(); print('gr\\u00fcn \\udcc3')"
    done = subprocess.run(
        [sys.executable, "-c", printed], capture_output=True, env={**os.environ, **C_LOCALE}, check=True
    )
    assert done.stdout.decode() == "grün \\udcc3\n"


@pytest.fixture
def config(tiny_bert, reviews, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1)))
    return path


# How a shell would write it, and whether the standard output still arrives.
LOST = {
    "a reader of both that goes": ("2>&1 | head -c 1 >/dev/null", False),
    "a reader of standard error that goes": ("2> >(head -c 1 >/dev/null)", True),
    "a closed standard error": ("2>&-", True),
    "all streams closed": ("<&- >&- 2>&-", False),
    "a full disk behind standard error": ("2>/dev/full", True),
}


@pytest.mark.parametrize("how", LOST)
def test_15_12_a_training_goes_on_without_its_standard_error(how, config, tmp_path):
    redirected, arrives = LOST[how]
    script = f"set -o pipefail; {sys.executable} -m ptm finetune {config} --json {redirected}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "r" / "results.json").read_text())
    assert results["status"] == "done"
    assert (json.loads(done.stdout) == results) if arrives else done.stdout == ""
    weights = (tmp_path / "r" / "model" / "model.safetensors").read_bytes()
    assert b"ptm" not in weights[-2000:]


def test_15_12_a_training_of_two_processes_goes_on_without_its_standard_error(config, tmp_path):
    script = (
        f"set -o pipefail; {sys.executable} -m ptm finetune {config} --nproc 2 2>&1 | head -c 1 >/dev/null"
    )
    assert subprocess.run(["bash", "-c", script], timeout=120, check=False).returncode == 0
    assert json.loads((tmp_path / "r" / "results.json").read_text())["status"] == "done"
