"""Issue 15, line 1: nothing is written through a link, and reading a run follows none out of it."""

import os
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from helpers import run, small_spec
from ptm.base import files
from ptm.base.console import Silent
from ptm.base.regular import kind_of
from ptm.cli.app import app
from ptm.distill.store import Field, Store
from ptm.errors import PtmError, StorageError
from ptm.experiment.evaluate import run_evaluation
from ptm.experiment.predict import run_prediction
from ptm.report.page import write_report
from ptm.run.log import MetricsLog

PRECIOUS = "years of work\n"
NAMES = (
    "config.yaml", "manifest.json", "metrics.jsonl", "results.json", "predictions.jsonl", "checkpoints", "model",
)  # fmt: skip


@pytest.fixture
def precious(tmp_path):
    path = tmp_path / "precious"
    path.write_text(PRECIOUS)
    return path


def _write_file(path):
    files.write_file(path, b"new")


def _new_file(path):
    with files.new_file(path) as file:
        file.write("new")


def _write_pieces(path):
    files.write_pieces(path, [b"new"])


def _append(path):
    log = MetricsLog(path)
    log.write({"step": 1})


def _cut(path):
    MetricsLog(path).cut(0)


@pytest.mark.parametrize("write", [_write_file, _new_file, _write_pieces, _append, _cut])
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "device"])
def test_15_1_no_writer_writes_through_what_is_no_file(tmp_path, precious, write, kind):
    target = tmp_path / "folder" / "target.jsonl"
    target.parent.mkdir()
    if kind == "link":
        target.symlink_to(precious)
    elif kind == "dangling link":
        target.symlink_to(tmp_path / "made")
    elif kind == "pipe":
        os.mkfifo(target)
    else:
        _device(target)
    if write is _cut and kind == "dangling link":
        write(target)  # there is nothing to cut
    elif write is _write_pieces:
        with pytest.raises(OSError, match="not a regular file"):
            write(target)
    else:
        with pytest.raises(StorageError, match="not a regular file") as caught:
            write(target)
        assert str(target) in str(caught.value)
    assert precious.read_text() == PRECIOUS
    assert not (tmp_path / "made").exists()
    assert target.is_symlink() or not target.is_file()
    assert [p.name for p in target.parent.iterdir()] == ["target.jsonl"]


def test_15_1_a_directory_does_not_replace_a_link(tmp_path, precious):
    (tmp_path / "outside").mkdir()
    (tmp_path / "model").symlink_to(tmp_path / "outside")
    with pytest.raises(StorageError, match="is a symbolic link"), files.new_directory(tmp_path / "model"):
        pass
    assert (tmp_path / "model").is_symlink()


def test_15_1_names_of_writes_under_way_cannot_be_known_before(tmp_path):
    """The attack: a link by the name that ptm would write to before it renames."""
    precious = tmp_path / "bashrc"
    precious.write_text(PRECIOUS)
    for name in ("README.md", "report.html", "results.json"):
        (tmp_path / f".writing-{name}").symlink_to(precious)
        files.write_file(tmp_path / name, b"`touch executed`")
    names = {files.beside(tmp_path / "a").name for _ in range(100)}
    assert len(names) == 100
    assert precious.read_text() == PRECIOUS


def test_15_1_only_debris_in_ptm_s_own_form_is_removed(tmp_path):
    theirs = (".writing-thesis.tex", ".replaced-thesis", ".writing-123", ".writing-0123456789ABCDEF")
    for name in theirs:
        (tmp_path / name).write_text(PRECIOUS)
    ours = files.beside(tmp_path / "results.json")
    ours.write_text("{")
    files.clear_debris(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(theirs)


@pytest.mark.parametrize("name", ["checkpoints", "model", "metrics.jsonl"])
def test_15_01_a_link_among_debris_gets_no_name_of_a_run(tmp_path, name):
    """The attack: ``checkpoints`` is missing, and what --resume takes for the old one leads out of the run."""
    (tmp_path / "outside").mkdir()
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / f".replaced-0123456789abcdef-{name}").symlink_to(tmp_path / "outside")
    (folder / ".replaced-0123456789abcde0-config.yaml").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / ".replaced-0123456789abcde1-manifest.json")
    files.clear_debris(folder)
    assert list(folder.iterdir()) == []
    assert (tmp_path / "outside").is_dir()


@pytest.mark.parametrize("name", [".", ".."])
def test_15_17_debris_is_never_called_by_a_name_of_a_folder_itself(tmp_path, name):
    theirs = tmp_path / f".replaced-0123456789abcdef-{name}"
    theirs.write_text(PRECIOUS)
    files.clear_debris(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [theirs.name]


@pytest.mark.slow
def test_15_01_a_resumed_run_writes_no_checkpoint_through_debris(finished, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.rmtree(finished / "checkpoints")
    (finished / "README.md").unlink()
    (finished / ".replaced-0123456789abcdef-checkpoints").symlink_to(outside)
    done = CliRunner().invoke(app, ["finetune", str(finished / "config.yaml"), "--resume", "--quiet"])
    assert done.exit_code == 0, done.output
    assert not list(outside.iterdir())
    assert kind_of(finished / "checkpoints") == "a directory"


@pytest.mark.slow
def test_15_1_the_report_of_a_received_run_writes_into_it_alone(finished, precious):
    (finished / ".writing-README.md").symlink_to(precious)
    write_report(finished)
    assert precious.read_text() == PRECIOUS
    for name in ("README.md", "report.html"):
        (finished / name).unlink()
        (finished / name).symlink_to(precious)
        with pytest.raises(PtmError, match=f"{name}.*symbolic link"):
            write_report(finished)
        assert precious.read_text() == PRECIOUS
        (finished / name).unlink()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["resume", "eval", "report", "reproduce", "predict", "locked"])
@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
@pytest.mark.parametrize("name", NAMES)
def test_15_1_no_command_follows_a_link_pipe_or_device_in_a_run(finished, tmp_path, name, kind, command):
    part, outside = finished / name, tmp_path / "outside"
    shutil.move(part, outside)
    if kind == "link":
        part.symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(part)
    else:
        _device(part)
    before = _contents(outside)
    with pytest.raises(PtmError) as caught:
        _do(command, finished, tmp_path)
    assert caught.value.exit_code in (2, 3)
    assert (
        f"{name}: is a {'symbolic link' if kind == 'link' else 'named pipe' if kind == 'pipe' else 'device'}"
        in (str(caught.value))
    )
    assert _contents(outside) == before


@pytest.mark.parametrize(
    "name", ["model/model.safetensors", "model/extra.json", "checkpoints/step-000006/state.json"]
)
def test_15_1_nor_one_deep_in_it(finished, tmp_path, precious, name):
    (finished / name).unlink(missing_ok=True)
    (finished / name).symlink_to(precious)
    for command in ("eval", "predict", "report", "reproduce", "resume"):
        with pytest.raises(PtmError, match="is a symbolic link"):
            _do(command, finished, tmp_path)
    assert precious.read_text() == PRECIOUS


def test_15_1_an_output_that_is_a_link_is_refused_with_a_cure(finished, tmp_path, precious):
    """Whoever made the link meant what it leads to: ptm neither replaces the one nor overwrites the other."""
    output = tmp_path / "out.jsonl"
    output.symlink_to(precious)
    image = _image(tmp_path)
    with pytest.raises(PtmError, match="symbolic link") as caught:
        run_prediction(finished, [image], output=output, reporter=Silent())
    assert "name" in caught.value.problems[0].cure
    with pytest.raises(PtmError, match="symbolic link"):
        run_evaluation(finished, predictions=output, reporter=Silent())
    assert precious.read_text() == PRECIOUS
    assert output.is_symlink()


def test_15_1_a_lock_file_that_is_a_link_is_not_written_through(tmp_path, precious, write_config, run_cli):
    config = write_config(
        tmp_path,
        "version: 1\ntask: image-classification\nmodel: {name: resnet8, width: 4, weights: none}\n"
        "data: {source: 'builtin:digits', train: train, eval: test, image_size: 16, max_train_examples: 96,\n"
        "  max_eval_examples: 48}\ntrain: {epochs: 1, learning_rate: 0.1}\noutput: r\n",
    )
    config.with_suffix(".lock").symlink_to(precious)
    done = run_cli("lock", config)
    assert done.returncode == 3, done.stderr
    assert "is a symbolic link" in done.stderr
    assert precious.read_text() == PRECIOUS


@pytest.mark.parametrize(
    "name",
    ["lock", "fixed.logits.fp32.bin", "fixed.logits.fp32.crc", "fixed.logits.fp32.json", "identity.json", ""],
)
def test_15_1_a_link_in_the_store_of_teacher_outputs_is_not_written_through(tmp_path, name):
    field, blocks = Field(name="logits", shape=(3,)), (np.array([0, 1]),)
    made = Store(tmp_path / "made", {"weights": "a"}, blocks, {})
    place = tmp_path / "stores" / made.path.name / name
    place.parent.mkdir(parents=True, exist_ok=True)
    outside = tmp_path / "precious"
    outside.write_text(PRECIOUS) if name else outside.mkdir()
    place.symlink_to(outside)
    try:
        shard = Store(tmp_path / "stores", {"weights": "a"}, blocks, {}).shard("fixed", field)
        shard.write(0, list(np.ones((2, 3))))
    except StorageError as error:
        assert "is a symbolic link" in str(error)
    assert _contents(outside) == (PRECIOUS.encode() if name else {})


def test_15_1_a_drawing_is_not_written_through_a_link(tmp_path, precious):
    from ptm.experiment.predict import _draw

    class Draws:
        def render_prediction(self, index, prediction):
            return b"PNG"

    (tmp_path / "000000_a.png").symlink_to(precious)
    with pytest.raises(StorageError, match="is a symbolic link"):
        _draw(Draws(), {"id": 0}, tmp_path / "000000_a.png")
    assert precious.read_text() == PRECIOUS


def _do(command, target, tmp_path):
    if command == "resume":
        run(small_spec(target), "resume")
        return
    words = {
        "eval": ["eval", target],
        "locked": ["eval", target, "--locked"],
        "report": ["report", target],
        "reproduce": ["reproduce", target, "--output", tmp_path / "again"],
        "predict": ["predict", target, _image(tmp_path), "--output", tmp_path / "predicted.jsonl"],
    }[command]
    done = CliRunner().invoke(app, list(map(str, words)))
    if done.exception is not None:
        raise done.exception


def _image(tmp_path):
    from PIL import Image

    path = tmp_path / "digit.png"
    Image.new("L", (8, 8)).save(path)
    return path


def _device(path):
    try:
        os.mknod(path, 0o666 | 0o020000, os.makedev(1, 3))  # /dev/null
    except PermissionError:
        pytest.skip("only root makes devices")


def _contents(path):
    if path.is_file():
        return path.read_bytes()
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}
