"""Trackers: what they are given of a log, live and afterwards; what goes wrong with one ends nothing."""

import json
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from helpers import Saying, history, run, small_spec, weights
from ptm.cli.app import run as command
from ptm.config.load import load_config
from ptm.run import trackers
from ptm.run.trackers import LiveTrackers, numbers, replay


def test_12_09_what_of_a_line_is_tracked():
    line = {"kind": "train", "step": 3, "loss": 0.5, "grad_norm": "nan", "parts": {"a": 1}, "ids": [1]}
    values = numbers(line)
    assert values["train/loss"] == 0.5 and values["train/grad_norm"] != values["train/grad_norm"]
    assert set(values) == {"train/loss", "train/grad_norm"}
    assert numbers({"kind": "eval", "step": 3, "metrics": {"f1": 1.0}, "seconds": 2}) == {"eval/f1": 1.0}
    assert numbers({"kind": "error", "step": 3, "loss": "inf"}) == {}


def scalars(folder):
    """(name, step) → value, as TensorBoard reads the event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {(name, e.step): e.value for name in events.Tags()["scalars"] for e in events.Scalars(name)}


def expected(output):
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return {(name, line["step"]): value for line in lines for name, value in numbers(line).items()}


@pytest.mark.slow
def test_12_09_tensorboard_gets_the_numbers_of_the_log(finished, capsys):
    assert command(["track", str(finished), "--to", "tensorboard", "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)["lines"]
    assert lines == len((finished / "metrics.jsonl").read_text().splitlines())
    folder = finished.parent / "tensorboard" / finished.name
    assert scalars(folder) == pytest.approx(expected(finished))
    assert not (finished / "tensorboard").exists()  # a run holds nothing but its own


@pytest.mark.slow
def test_12_09_a_tracked_run_has_the_same_bits_and_its_numbers_are_there_live(tmp_path, finished_run):
    run(replace(small_spec(tmp_path / "r"), track=("tensorboard",)))
    assert weights(tmp_path / "r") == weights(finished_run)
    assert history(tmp_path / "r") == history(finished_run)
    assert scalars(tmp_path / "tensorboard" / "r") == pytest.approx(expected(tmp_path / "r"))
    # What is tracked is not what is computed: the finished run is this very one without it, too.
    said = Saying()
    run(small_spec(tmp_path / "r"), "resume", said)
    assert any("is finished already" in line for line in said.lines)
    assert load_config(tmp_path / "r" / "config.yaml").track == ("tensorboard",)


@pytest.mark.parametrize("when", ["open", "write", "close", "exit", "missing"])
def test_12_09_a_tracker_that_fails_is_left_out_and_nothing_ends(when, monkeypatch, tmp_path):
    written = []

    @contextmanager
    def broken(run):
        if when == "open":
            raise OSError("no space")
        yield fail if when in ("write", "exit") else lambda step, values: written.append(step)
        if when == "close":
            raise RuntimeError("lost")

    def fail(step, values):
        raise SystemExit(1) if when == "exit" else ValueError("no such server")

    package = "no_such_package" if when == "missing" else "json"
    monkeypatch.setitem(trackers.TRACKERS, "wandb", (package, broken))
    good = []
    monkeypatch.setitem(trackers.TRACKERS, "mlflow", ("json", lambda run: kept(good)))
    said = []
    with ExitStack() as stack:
        live = LiveTrackers(["wandb", "mlflow"], tmp_path, stack, said.append)
        live.write({"kind": "train", "step": 1, "loss": 0.5})
        live.write({"kind": "train", "step": 2, "loss": 0.4})
    assert len(said) == 1 and said[0].startswith("warning: wandb is left out: ")
    assert good == [1, 2]


@contextmanager
def kept(steps):
    yield lambda step, values: steps.append(step)


@pytest.mark.parametrize(
    ("log", "to", "code"),
    [("", "no-such", 2), ("no json\n", "tensorboard", 3), ('{"kind": "train"}\n', "tensorboard", 3)],
)
def test_12_09_what_cannot_be_replayed_is_told(finished, capsys, log, to, code):
    (finished / "metrics.jsonl").write_text(log)
    assert command(["track", str(finished), "--to", to, "--json"]) == code
    assert json.loads(capsys.readouterr().out)["error"]["problems"][0]["where"]


def test_12_09_mlflow_wandb_and_trackio_are_given_what_their_packages_take(finished, monkeypatch):
    """Fakes of the three: the calls that each tracker documents."""
    calls = []

    class Fake:
        def __init__(self, name):
            self.name = name

        def __getattr__(self, what):
            return lambda *values, **how: calls.append((self.name, what, values, how)) or self

        def __enter__(self):
            return self

        def __exit__(self, *error): ...

    monkeypatch.setattr(trackers.importlib, "import_module", Fake)
    monkeypatch.setattr(trackers, "require_package", lambda package, extra: None)
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE", "WANDB_MODE", "TRACKIO_DIR"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    for name in ("mlflow", "wandb", "trackio"):
        calls.clear()
        count = replay(finished, name)
        logged = [call for call in calls if call[1] in ("log", "log_metrics")]
        assert len(logged) == count > 0
        assert "train/loss" in logged[0][2][0]
        if name == "wandb":
            assert next(call for call in calls if call[1] == "init")[3]["mode"] == "offline"


@pytest.mark.parametrize(
    ("to", "link"),
    [
        ("tensorboard", "tensorboard"),
        ("tensorboard", "tensorboard/r"),
        ("mlflow", "mlruns"),
        ("mlflow", "mlruns/0"),
        ("wandb", "wandb"),
        ("trackio", "trackio"),
    ],
)
def test_15_01_a_tracker_writes_through_no_link(to, link, finished, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "require_package", lambda *_: None)
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    received, victim = tmp_path / "received", tmp_path / "victim"
    victim.mkdir()
    shutil.copytree(finished, received / "r")
    (received / link).parent.mkdir(exist_ok=True)
    (received / link).symlink_to(victim)
    assert command(["track", str(received / "r"), "--to", to]) == 2
    assert "is a symbolic link" in capsys.readouterr().err
    assert not list(victim.iterdir())


def test_15_07_the_place_of_a_tracker_is_beside_the_run_however_it_is_named(finished, monkeypatch):
    places = []

    @contextmanager
    def tracker(run):
        places.append(run)
        yield lambda step, values: None

    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", ("torch", tracker))
    replay(finished / "model" / "..", "tensorboard")
    assert places == [finished.resolve()]


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "eval", "step": 1, "metrics": [1]}',
        '{"kind": "eval", "step": 1, "metrics": null}',
        '{"kind": "train", "step": 1, "loss": 1%s}' % ("0" * 400),
        '{"kind": [], "step": 1}',
    ],
)
def test_15_17_a_line_without_numbers_is_nothing_to_track(line):
    assert numbers(json.loads(line)) == {}


@pytest.mark.parametrize(
    ("step", "name"), [("9" * 400, "loss"), ("true", "loss"), ("1", "../../x"), ("1", "\\ud800")]
)
def test_15_17_what_a_tracker_refuses_is_told(step, name, finished, capsys, monkeypatch):
    @contextmanager
    def tracker(run):
        def write(step, values):
            for name in values:
                name.encode()
                if ".." in name:
                    raise RuntimeError(f"no\x1b[2J name {name}")

        yield write

    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", ("torch", tracker))
    (finished / "metrics.jsonl").write_text(f'{{"kind": "train", "step": {step}, "{name}": 1}}\n')
    assert command(["track", str(finished), "--to", "tensorboard"]) == 3
    told = capsys.readouterr().err
    assert "metrics.jsonl" in told and "\x1b" not in told
