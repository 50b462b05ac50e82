"""Issue 15, lines 6 and 7: predictions replace no input, and nothing is written where a received config says."""

import importlib
import json
import os

import pytest
from typer.testing import CliRunner

from helpers import copy_of, run, small_spec, text_spec
from ptm.cli.app import app
from ptm.errors import ConfigError, PtmError

pytestmark = pytest.mark.slow  # each trains


@pytest.fixture(scope="module")
def text_run(tiny_bert, reviews, tmp_path_factory):
    """A run on csv files of its own, and those files."""
    folder = tmp_path_factory.mktemp("text")
    for name in ("train.csv", "eval.csv"):
        (folder / name).write_bytes((reviews / name).read_bytes())
    run(text_spec(tiny_bert, folder, folder / "r", epochs=1, max_train_examples=16, max_eval_examples=8))
    (folder / "config.yaml").write_text((folder / "r" / "config.yaml").read_text())
    (folder / "config.lock").write_text("{}")
    return folder


def _ptm(*words):
    done = CliRunner().invoke(app, list(map(str, words)))
    if done.exception is not None:
        raise done.exception
    return done


def _contents(path):
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "name",
    [
        "eval.csv", "train.csv", "alias.jsonl", "hard.jsonl", "config.yaml", "config.lock", "r/config.yaml",
        "r/predictions.jsonl", "r/metrics.jsonl", "r/results.json", "r/model/new.jsonl", "r/checkpoints/new.jsonl",
        "folder.jsonl", "nowhere/p.jsonl", "p.txt", "pipe.jsonl",
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["eval", "eval of a config", "predict"])
def test_15_6_predictions_replace_no_input_and_no_file_of_a_run(text_run, tmp_path, command, name):
    place = text_run / name
    if name == "alias.jsonl":
        place.symlink_to(text_run / "eval.csv")
    elif name == "hard.jsonl":
        os.link(text_run / "eval.csv", place)
    elif name == "folder.jsonl":
        place.mkdir(exist_ok=True)
    elif name == "pipe.jsonl":
        os.mkfifo(place)
    before = _contents(text_run)
    words = {
        "eval": ["eval", text_run / "r", "--predictions", place],
        "eval of a config": ["eval", text_run / "config.yaml", "--predictions", place],
        "predict": ["predict", text_run / "r", text_run / "eval.csv", "--output", place],
    }[command]
    try:
        with pytest.raises(ConfigError) as caught:
            _ptm(*words)
        assert str(place) in str(caught.value) or str(place.parent) in str(caught.value)
        assert _contents(text_run) == before
    finally:
        if name in ("alias.jsonl", "hard.jsonl", "pipe.jsonl"):
            place.unlink()


def test_15_6_the_data_may_be_given_with_the_command(text_run, tmp_path):
    data = tmp_path / "other.jsonl"
    lines = (text_run / "eval.csv").read_text().splitlines()[1:5]
    rows = [dict(zip(("text", "label"), line.rsplit(",", 1), strict=True)) for line in lines]
    data.write_text("\n".join(map(json.dumps, rows)))
    before = data.read_bytes()
    with pytest.raises(ConfigError, match="would overwrite an input"):
        _ptm("eval", text_run / "r", "--data", f"json:{data}", "--predictions", data)
    assert data.read_bytes() == before


def test_15_6_other_files_are_written_and_written_again(text_run, tmp_path):
    for _ in range(2):
        _ptm("eval", text_run / "r", "--predictions", tmp_path / "p.jsonl")
        _ptm("predict", text_run / "r", text_run / "eval.csv", "--output", tmp_path / "p.jsonl")
        _ptm("eval", text_run / "r", "--predictions", tmp_path / "p.jsonl")
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 8


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.csv"])
def test_15_06_predictions_replace_nobody_elses_file(text_run, tmp_path, name):
    place = tmp_path / name
    words = ("predict", text_run / "r", text_run / "eval.csv", "--output", place)
    for content in (
        "text,label\nyears of work,x\n",
        '{"text": "years of work"}\n',
        "id,text\n1,a\n",
        "id,input,label\n1,years of work,x\n",
        '{"id": 1, "input": "years of work", "output": "x"}\n',
        '{"id": 1, "input": "years of work", "prediction": "x"}\n',
        '{"id": "a", "input": "years of work", "prediction": "x"}\n',
        '["id", "where", "prediction"]\n',
        "[[[[",
        "\0",
    ):
        place.write_text(content)
        with pytest.raises(ConfigError, match="holds no predictions of ptm"):
            _ptm(*words)
        if name == "mine.jsonl":
            with pytest.raises(ConfigError, match="holds no predictions of ptm"):
                _ptm("eval", text_run / "r", "--predictions", place)
        assert place.read_text() == content
    place.write_text("")
    for _ in range(2):
        _ptm(*words)
    assert len(place.read_text().splitlines()) >= 32


def meanwhile(monkeypatch, where, place, content="years of work\n"):
    """Somebody writes a file while the function ``where`` is at work."""
    module, _, name = where.rpartition(".")
    original = getattr(importlib.import_module(module), name)

    def written(*words, **more):
        place.write_text(content)
        return original(*words, **more)

    monkeypatch.setattr(where, written)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("ptm.experiment.evaluate.evaluate", ["eval", "r", "--predictions", "mine.jsonl"]),
        ("ptm.experiment.predict.predict_all", ["predict", "r", "eval.csv", "--output", "mine.jsonl"]),
        ("ptm.experiment.prepare.make_pins", ["lock", "config.yaml"]),
    ],
)
def test_15_06_what_somebody_wrote_while_it_was_computed_stays(text_run, tmp_path, monkeypatch, where, words):
    for name in ("config.yaml", "eval.csv"):
        (tmp_path / name).write_bytes((text_run / name).read_bytes())
    (tmp_path / "r").symlink_to(text_run / "r")
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / ("config.lock" if words[0] == "lock" else "mine.jsonl")
    meanwhile(monkeypatch, where, mine)
    with pytest.raises(ConfigError, match=r"holds no predictions of ptm|holds what ptm did not write there"):
        _ptm(*words)
    assert mine.read_text() == "years of work\n" and not list(tmp_path.glob(".writing*"))


def test_15_6_drawings_do_not_go_among_the_inputs_or_into_a_model(finished, tmp_path):
    from PIL import Image

    images = tmp_path / "images"
    images.mkdir()
    Image.new("L", (8, 8)).save(images / "a.png")
    for folder in (images, finished / "model", finished / "checkpoints" / "new"):
        with pytest.raises(ConfigError, match="--draw") as caught:
            _ptm("predict", finished, images, "--draw", folder)
        assert str(folder) in str(caught.value)
    assert [p.name for p in images.iterdir()] == ["a.png"]
    assert not (finished / "checkpoints" / "new").exists()


# --- line 7


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    """A distilled run whose config names a store."""
    from ptm.config.spec import DistillSpec, TeacherSpec

    folder = tmp_path_factory.mktemp("distilled")
    run(small_spec(folder / "teacher"))
    spec = small_spec(
        folder / "r",
        teacher=TeacherSpec(name=str(folder / "teacher")),
        distill=DistillSpec(store=str(folder / "store"), audit="off"),
    )
    run(spec)
    return folder


def test_15_7_nothing_is_written_where_a_received_config_says(distilled, tmp_path, monkeypatch):
    """Its output, its store of teacher outputs: eval, report and reproduce write to neither."""
    received = copy_of(distilled / "r", tmp_path / "received")
    config = (received / "config.yaml").read_text()
    elsewhere = tmp_path / "elsewhere"
    config = config.replace(str(received), str(elsewhere / "out"))
    config = config.replace(str(distilled / "store"), str(elsewhere / "store"))
    assert str(elsewhere / "store") in config and str(elsewhere / "out") in config
    (received / "config.yaml").write_text(config)
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    before = _contents(distilled)
    for words in (
        ["eval", received],
        ["report", received],
        ["reproduce", received, "--output", tmp_path / "again"],
        ["predict", received, _image(tmp_path)],
    ):
        _ptm(*words)
        assert not elsewhere.exists(), words
    assert _contents(distilled) == before
    assert (tmp_path / "again" / "results.json").is_file()


def _image(folder):
    from PIL import Image

    path = folder / "digit.png"
    Image.new("L", (8, 8)).save(path)
    return path


def test_15_7_a_store_that_was_off_stays_off(distilled, tmp_path, monkeypatch):
    received = copy_of(distilled / "r", tmp_path / "received")
    config = received / "config.yaml"
    config.write_text(config.read_text().replace(f"store: {distilled / 'store'}", 'store: "off"'))
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    _ptm("reproduce", received, "--output", tmp_path / "again")
    assert not (tmp_path / "cache").exists()
    with pytest.raises(PtmError):
        _ptm("reproduce", received, "--output", tmp_path / "again")
