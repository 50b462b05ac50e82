"""Issue 15, line 17: whatever cannot be read or written is one message with its exit code, never a traceback."""

import builtins
import contextlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from helpers import copy_of, run, small_spec, text_spec
from ptm.base import files
from ptm.base.cache import room_for, root_directory
from ptm.cli import app as command_line
from ptm.config.spec import DistillSpec, TeacherSpec
from ptm.errors import PtmError, StorageError

pytestmark = pytest.mark.slow  # each trains

CODES = {0, 2, 3, 4, 6, 7, 75}


@pytest.fixture
def ptm(monkeypatch, capsys):
    """``ptm("eval", …)`` in this process: exit code and what stood on standard error."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["ptm", *map(str, words)])
        code = command_line.run(sys.argv[1:])
        return code, capsys.readouterr().err

    return call


@contextlib.contextmanager
def denied(path):
    """Opening or listing it is refused, as to somebody who is not root."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (builtins, "open"),
            (io, "open"),
            (os, "open"),
            (os, "scandir"),
            (os, "listdir"),
        ):
            patch.setattr(module, name, _denying(getattr(module, name), str(path)))
        yield


def _denying(original, place):
    def call(target=".", *words, **more):
        if isinstance(target, str | os.PathLike) and os.path.abspath(target) == place:  # noqa: PTH100 - it would open
            raise PermissionError(13, "Permission denied", place)
        return original(target, *words, **more)

    return call


def _spoil(path, kind):
    raw = path.read_bytes() if path.is_file() else b"x"
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"x")
    elif kind == "link":
        path.symlink_to("/etc/hostname")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "torn":
        path.write_bytes(raw[: len(raw) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "random":
        path.write_bytes(bytes(range(128, 192)))


def _names(made):
    return sorted(p.relative_to(made).as_posix() for p in made.rglob("*"))


def _commands(target, place):
    config = place / "again.yaml"
    image = place / "digit.png"
    Image.new("L", (8, 8)).save(image)
    return {
        "eval": ["eval", target],
        "locked": ["eval", target, "--locked"],
        "predict": ["predict", target, image, "--output", place / "p.jsonl"],
        "report": ["report", target],
        "resume": ["finetune", config, "--output", target, "--resume"],
        "overwrite": ["finetune", config, "--output", target, "--overwrite"],
        "reproduce": ["reproduce", target, "--output", place / "again"],
    }


KINDS = ("missing", "directory", "file", "link", "pipe", "torn", "empty", "random", "denied")
READING = ("eval", "locked", "predict", "report")
TRAINING = ("resume", "overwrite", "reproduce")


def _cases(made, kind):
    """(name, command): every command for what stands at the top of a run, fewer for what is below, and training
    only where that is no second time for the same code."""
    finished = (made / "README.md").exists()
    newest = max(p.name for p in (made / "checkpoints").iterdir())
    for name in _names(made):
        top = "/" not in name
        if name.startswith("checkpoints/step-") and newest not in name:
            continue
        if finished or name in ("config.yaml", "results.json"):
            yield from ((name, command) for command in (READING if top else ("eval", "report")))
        if top and kind in ("missing", "torn"):
            yield from ((name, command) for command in (TRAINING if finished else TRAINING[:2]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("made", ["finished", "stopped"])
def test_15_17_every_file_of_a_run_in_every_bad_state(request, tmp_path, ptm, kind, made):
    """Each file and folder in turn. A pipe would hang, a traceback would be exit code 1 or an exception here."""
    source = request.getfixturevalue(f"{made}_run")
    (tmp_path / "again.yaml").write_text((source / "config.yaml").read_text())
    wrong = []
    for name, command in _cases(source, kind):
        target = copy_of(source, tmp_path / "r")
        if kind == "denied":
            guard = denied(target / name)
        else:
            _spoil(target / name, kind)
            guard = contextlib.nullcontext()
        with guard:
            try:
                code, said = ptm(*_commands(target, tmp_path)[command])
            except Exception as error:
                code, said = 1, repr(error)
        if code not in CODES or not (code == 0 or "error: " in said):
            wrong.append((name, command, code, said))
        shutil.rmtree(target)
        shutil.rmtree(tmp_path / "again", ignore_errors=True)
    assert wrong == []


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_15_17_all_files_of_a_run_follow_the_umask(tiny_bert, reviews, tmp_path, mask):
    before = os.umask(mask)
    try:
        run(
            text_spec(
                tiny_bert, reviews, tmp_path / "r", epochs=1, max_train_examples=16, max_eval_examples=8
            )
        )
    finally:
        os.umask(before)
    modes = {p: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "r").rglob("*")}
    wrong = {p: oct(m) for p, m in modes.items() if m != (0o777 if p.is_dir() else 0o666) & ~mask}
    assert wrong == {}


def test_15_17_a_file_that_a_library_made_private_is_as_open_as_its_folder(tmp_path):
    with files.new_directory(tmp_path / "model") as aside:
        (aside / "deep").mkdir()
        for path in (aside / "a", aside / "deep" / "b"):
            path.write_text("x")
            path.chmod(0o600)
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "model").rglob("*") if p.is_file()} == {
        stat.S_IMODE((tmp_path / "model").stat().st_mode) & 0o666
    }


# --- the surroundings


def test_15_17_a_working_directory_that_is_gone(tmp_path):
    (tmp_path / "gone").mkdir()
    script = "import os, sys; os.chdir(sys.argv[1]); os.rmdir(sys.argv[1]); sys.argv = ['ptm', 'check', 'a.yaml']\n"
    script += "from ptm.cli.app import main; main()"
    root = Path(files.__file__).parent.parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "gone"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: the working directory")


def test_15_17_no_home_directory(monkeypatch, ptm):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.delenv("PTM_CACHE", raising=False)
    with pytest.raises(StorageError, match="PTM_CACHE"):
        root_directory("auto")
    code, said = ptm("cache", "list")
    assert code == 3 and "PTM_CACHE" in said
    code, said = ptm("eval", "nowhere.yaml", "--data", "csv:~nobody-of-that-name/a.csv")
    assert code == 2


def test_15_17_without_a_home_or_a_readable_cache_the_teacher_is_asked_live(
    finished_run, tmp_path, monkeypatch
):
    spec = small_spec(
        tmp_path / "r", teacher=TeacherSpec(name=str(finished_run)), distill=DistillSpec(audit="off")
    )
    cache = tmp_path / "cache"
    (cache / ("0" * 32)).mkdir(parents=True)
    monkeypatch.setenv("PTM_CACHE", str(cache))
    with denied(cache):
        results = run(spec)
    assert results["distill"]["store"]["used"] is False
    monkeypatch.delenv("PTM_CACHE")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert (
        run(small_spec(tmp_path / "s", teacher=spec.teacher, distill=spec.distill))["distill"]["store"][
            "used"
        ]
        is False
    )


@pytest.mark.parametrize("words", [("list",), ("verify",), ("prune", "--all")], ids=lambda words: words[0])
def test_15_17_a_cache_that_cannot_be_read(tmp_path, ptm, words):
    (tmp_path / "cache").mkdir()
    with denied(tmp_path / "cache"):
        code, said = ptm("cache", *words, "--store", tmp_path / "cache")
        with pytest.raises(StorageError):
            room_for(tmp_path / "cache", 1)
    assert code == 3 and "Permission denied" in said


LONG = "n" * 300


@pytest.mark.parametrize(
    "words",
    [
        ("eval", LONG), ("eval", f"{LONG}/config.yaml"), ("report", LONG), ("reproduce", LONG), ("predict", LONG, "-"),
        ("lock", LONG), ("check", LONG), ("finetune", LONG), ("cache", "list", "--store", LONG),
        ("eval", "RUN", "--data", f"csv:{LONG}"), ("eval", "RUN", "--split", LONG),
        ("eval", "RUN", "--predictions", f"{LONG}.jsonl"), ("predict", "RUN", LONG), ("predict", "RUN", f"{LONG}.png"),
        ("predict", "RUN", "IMAGE", "--output", f"{LONG}.jsonl"), ("predict", "RUN", "IMAGE", "--draw", LONG),
        ("finetune", "CONFIG", "--output", LONG), ("finetune", "CONFIG", "--set", f"model.name=./{LONG}"),
        ("finetune", "CONFIG", "--set", f"model.name={LONG}"),
        ("finetune", "CONFIG", "--set", f"data.source=csv:{LONG}"),
        ("finetune", "CONFIG", "--set", f"model.weights={LONG}.pth"),
        ("finetune", "CONFIG", "--set", f"data.source=imagefolder:{LONG}"),
        ("distill", "CONFIG", "--set", f"teacher.name=./{LONG}"), ("reproduce", "RUN", "--output", LONG),
    ],
)  # fmt: skip
@pytest.mark.parametrize("bad", ["long", "not UTF-8", "NUL"])
def test_15_17_names_that_no_file_can_have(finished_run, tmp_path, ptm, monkeypatch, words, bad):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text((finished_run / "config.yaml").read_text())
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    names = {"RUN": str(finished_run), "CONFIG": "config.yaml", "IMAGE": "a.png"}
    name = {"long": LONG, "not UTF-8": "n\udcff", "NUL": "n\0n"}[bad]
    words = [names.get(word, word).replace(LONG, name) for word in words]
    if "CONFIG" not in words and words[0] == "check":
        monkeypatch.chdir(tmp_path)
    code, said = ptm(*words)
    assert code in (2, 3, 6) or (bad == "not UTF-8" and code == 0), said
    assert "Traceback" not in said


def test_15_17_images_whose_names_are_not_utf_8(finished_run, tmp_path, ptm):
    """They are trained on, evaluated and predicted: found at the end of a training, it would be lost."""
    for split in ("train", "eval"):
        for label in (b"cat", b"d\xffg"):
            folder = tmp_path / "data" / split / os.fsdecode(label)
            folder.mkdir(parents=True)
            for n in range(4):
                with (folder / f"\udcfe{n}.png").open("wb") as file:
                    Image.new("RGB", (16, 16), (n * 60, 0, 0)).save(file, "PNG")
    spec = small_spec(tmp_path / "r", source=f"imagefolder:{tmp_path / 'data'}", eval="eval")
    run(spec)
    lines = (tmp_path / "r" / "predictions.jsonl").read_text().splitlines()
    assert len(lines) == 8 and "\\udcfe" in lines[0]
    assert "d\udcffg" in json.loads((tmp_path / "r" / "results.json").read_text())["labels"]
    for words in (["eval", tmp_path / "r"], ["report", tmp_path / "r"]):
        code, said = ptm(*words)
        assert code == 0, said
    for suffix in ("jsonl", "csv"):
        code, said = ptm("predict", tmp_path / "r", tmp_path / "data", "--output", tmp_path / f"p.{suffix}")
        assert code == 0, said
        assert "udcfe" in (tmp_path / f"p.{suffix}").read_text()


def test_15_17_a_closed_standard_input(finished_run, tmp_path):
    root = Path(files.__file__).parent.parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = f'"{sys.executable}" -m ptm predict "{finished_run}" - <&-'
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode in (2, 3), done.stderr
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize("number", [13, 1, 2, 20, 21, 36, 40, 30, 5, 28])
def test_15_17_what_the_system_refuses_is_one_message(ptm, monkeypatch, number):
    """The last net: an error of the system that names a file is no bug of ptm's."""

    def refuse(*words, **more):
        raise OSError(number, os.strerror(number), "/some/file")

    monkeypatch.setattr(command_line, "app", refuse)
    code, said = ptm("eval", "x")
    assert code == 3
    assert said.startswith(f"error: /some/file: {os.strerror(number)}")


@pytest.mark.parametrize("number", [28, 27, 122])
def test_15_13_a_disk_that_is_full_for_a_temporary_file_is_one_message(ptm, monkeypatch, number):
    """A write has no name to tell."""

    def refuse(*words, **more):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(command_line, "app", refuse)
    code, said = ptm("export", "x")
    assert code == 3
    assert said.startswith(f"error: a file cannot be written: {os.strerror(number)}\n") and "TMPDIR" in said


def test_15_17_other_errors_of_the_system_are_bugs(ptm, monkeypatch):
    def refuse(*words, **more):
        raise OSError(5, "without a file")

    monkeypatch.setattr(command_line, "app", refuse)
    with pytest.raises(OSError, match="without a file"):
        ptm("eval", "x")


def test_15_17_a_permission_that_is_missing_for_the_output(tmp_path, ptm, finished_run, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "config.yaml").write_text((finished_run / "config.yaml").read_text())

    def refuse(self, *words, **more):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    code, said = ptm("finetune", tmp_path / "config.yaml", "--output", tmp_path / "closed" / "r")
    assert code == 3 and "Permission denied" in said
    with pytest.raises(PtmError), files.new_directory(tmp_path / "x"):
        pass
