"""``ptm card``: what it prints, and that its code runs."""

import errno
import json
import os
import re

import pytest

from helpers import copy_of, image_spec
from helpers import run as train
from ptm.base.files import seal
from ptm.cli.app import run

pytestmark = pytest.mark.slow  # trains


@pytest.mark.processes
def test_14_06_the_code_of_a_text_card_runs_and_says_what_predict_says(reviews_run, capsys):
    assert run(["card", str(reviews_run), "--check", "--json", "--quiet"]) == 0
    done = json.loads(capsys.readouterr().out)
    label = re.search(r"'label': '(\w+)'", done["printed"])[1]
    assert label == done["predicted"]["prediction"]


@pytest.mark.processes
def test_14_06_the_code_of_an_image_card_runs_and_what_it_says_otherwise_is_told(
    tmp_path, capsys, monkeypatch
):
    train(image_spec(tmp_path / "r", epochs=1))
    assert run(["card", str(tmp_path / "r"), "--check", "--quiet"]) == 0
    assert "says what ptm predict says" in capsys.readouterr().out

    def full(*_):  # what Pillow itself keeps to itself: the picture was then one that cannot be decoded
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    assert run(["card", str(tmp_path / "r"), "--check", "--quiet"]) == 3
    assert "No space left on device" in (said := capsys.readouterr().err) and "TMPDIR" in said


def test_14_06_the_code_of_somebody_is_never_run(reviews_run, tmp_path, capsys):
    copy_of(reviews_run, tmp_path / "r")
    card = tmp_path / "r" / "README.md"
    trap = tmp_path / "was-run"
    card.write_text(card.read_text().replace("```python\n", f"```python\nopen({str(trap)!r}, 'w')\n"))
    assert run(["card", str(tmp_path / "r"), "--check", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "was not run" in said and "ptm report" in said
    assert not trap.exists()


def test_14_06_a_card_is_printed_or_written(reviews_run, tmp_path, capsys):
    assert run(["card", str(reviews_run)]) == 0
    assert capsys.readouterr().out.rstrip("\n") == (reviews_run / "README.md").read_text().rstrip("\n")
    target = tmp_path / "card.md"
    assert run(["card", str(reviews_run), "--to", "me/reviews", "--output", str(target)]) == 0
    assert target.read_text().startswith("---\n") and 'model="me/reviews"' in target.read_text()
    assert run(["card", str(reviews_run), "--output", str(target)]) == 2
    assert run(["card", str(tmp_path)]) == 2
    for name in ("model/notes.json", "config.lock", "card.md"):
        assert run(["card", str(reviews_run), "--output", str(reviews_run / name)]) == 2
        assert not (reviews_run / name).exists(), "15.6: a file more in model/ would be damage"
    assert "would lie in another run" in capsys.readouterr().err


def test_15_02_a_model_that_ptm_refuses_is_read_by_nobody(reviews_run, tmp_path, monkeypatch, capsys):
    """The code of the card gives the folder to libraries that read files of code's names in their own way."""
    model = copy_of(reviews_run, tmp_path / "r") / "model"
    (model / "adapter_config.json").write_text('{"megatron_config": {}, "megatron_core": "mine"}')
    (model / "manifest.json").unlink()
    seal(model)
    monkeypatch.setattr("ptm.experiment.card.subprocess", None)
    assert run(["card", str(tmp_path / "r"), "--check", "--quiet"]) == 3
    assert "names code of another package" in capsys.readouterr().err
