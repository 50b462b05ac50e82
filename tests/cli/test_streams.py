"""Standard output that is closed early, full, or in another encoding."""

import os
import subprocess
import sys

import pytest

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
