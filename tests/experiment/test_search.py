"""A search through the command line: spaces, trials that are runs, a study that goes on."""

import json
import math
import os
from pathlib import Path

import pytest

from ptm.cli.app import run
from ptm.errors import ConfigError, PtmError
from ptm.experiment.batch import Outcome
from ptm.experiment.search import STUDY, Space, _open, parse_space
from ptm.run.ownership import put_mark

TEXT = """
version: 1
task: image-classification
model: {name: resnet8, weights: none, width: 2}
data: {source: "builtin:digits", train: train, eval: test, image_size: 8}
train: {epochs: 1, batch_size: 25, learning_rate: 1e-2}
output: runs/s
"""


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("train.learning_rate=1e-5..1e-3:log", {"low": 1e-5, "high": 1e-3, "log": True}),
        ("train.weight_decay = 0 .. 0.1", {"low": 0, "high": 0.1}),
        ("train.epochs=1..5", {"low": 1, "high": 5, "whole": True}),
        ("train.batch_size=8..64:log", {"low": 8, "high": 64, "whole": True, "log": True}),
        ("train.scheduler=linear,cosine", {"choices": ("linear", "cosine")}),
        ("data.labels=[a,b],[b,a]", {"choices": ("[a,b]", "[b,a]")}),
    ],
)
def test_12_03_spaces(text, space):
    assert parse_space(text) == Space(key=text.partition("=")[0].strip(), **space)


@pytest.mark.parametrize(
    "text", ["x", "=1..2", "x=1", "x=2..1", "x=0..1:log", "x=a..b", "x=1..2:lin", "x=1,1", "x=1..inf"]
)
def test_12_03_what_is_no_space_is_refused(text):
    with pytest.raises(ConfigError, match="no space to search"):
        parse_space(text)


@pytest.mark.parametrize(
    "kind",
    ["link", "loose link", "pipe", "second name", "notes", "bytes", "torn", "study of my own", "list", "run"],
)
def test_15_01_a_study_is_written_over_nothing_of_somebody_s(tmp_path, monkeypatch, capsys, kind):
    """optuna opens the file by its name, and would write through a link."""
    monkeypatch.chdir(tmp_path)
    config, folder, mine = tmp_path / "run.yaml", tmp_path / "runs/s", tmp_path / "mine"
    config.write_text(TEXT)
    folder.mkdir(parents=True)
    mine.write_text("mine\n")
    study = folder / "study.jsonl"
    if kind == "run":
        put_mark(folder)
        (folder / "config.yaml").write_text("a: 1\n")
    elif kind == "pipe":
        os.mkfifo(study)
    elif kind == "second name":
        os.link(mine, study)
    elif "link" in kind:
        study.symlink_to(mine if kind == "link" else tmp_path / "nothing")
    else:
        study.write_bytes(
            {
                "notes": b'{"mine": 1}\n',
                "bytes": b"\xff\x00",
                "torn": b'{"op_code": 0, "study_name": "ptm"}\n[\n{}\n',
                "study of my own": b'{"op_code": 0, "study_name": "mine"}\n{"op_code": 2, "half of a l',
                "list": b"[]\n",
            }[kind]
        )
    before = sorted(path.name for path in folder.iterdir())
    content = study.read_bytes() if study.is_file() else b""
    assert run(["batch", str(config), "--search", "train.learning_rate=1e-4..1e-2:log", "--trials", "1"]) in (
        2,
        3,
    )
    assert "study.jsonl" in capsys.readouterr().err
    assert mine.read_text() == "mine\n" and not (tmp_path / "nothing").exists()
    assert sorted(path.name for path in folder.iterdir()) == before
    assert content == (study.read_bytes() if study.is_file() else b"")


@pytest.fixture
def batch(tmp_path, monkeypatch, capsys):
    """``batch(*words)``: exit code, what is printed, and the jobs that were run. A run takes no time: its accuracy is
    best at a learning rate of 1e-3; ``broken``: those whose learning rate is above it fail, ``stop_at`` one stops."""
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(TEXT)
    finished = {}

    def run_batch(plan, watcher, **how):
        ran, outcomes = [], []
        for job in plan.jobs:
            rate = job.spec.train.learning_rate
            if job.output not in finished and len(finished) == call.stop_at:
                outcomes.append(Outcome(job=job, status="stopped", exit_code=75))
                continue
            if rate > call.broken:
                outcomes.append(Outcome(job=job, status="failed", exit_code=7))
                continue
            if job.output not in finished:
                ran.append(job)
            value = 1 - abs(math.log10(rate) + 3) / 10 + job.spec.train.seed / 1e9
            finished[job.output] = value
            outcomes.append(
                Outcome(
                    job=job,
                    status="done",
                    exit_code=0,
                    metrics={"accuracy": value},
                    eval_metrics={"accuracy": value},
                )
            )
        call.ran += ran
        return tuple(outcomes)

    monkeypatch.setattr("ptm.experiment.search.run_batch", run_batch)

    def call(*words, space="train.learning_rate=1e-6..1e-1:log"):
        call.ran = []
        code = run(["batch", "run.yaml", "--search", space, *words, "--json"])
        return code, json.loads(capsys.readouterr().out), call.ran

    call.broken, call.stop_at = math.inf, -1
    return call


def proposals(record):
    return [row["grid"]["train.learning_rate"] for row in record["runs"]]


@pytest.mark.slow
def test_12_03_tpe_finds_what_is_good_and_a_stopped_search_goes_on_as_it_would_have(batch):
    code, whole, ran = batch("--trials", "24", "--output", "whole")
    assert code == 0 and len(ran) == 24
    best = whole["search"]["best"]
    assert best["value"] == max(run["metrics"]["accuracy"] for run in whole["runs"])
    assert 3e-4 < float(best["changes"]["train.learning_rate"]) < 3e-3
    # Later proposals lie closer to the best value than those at random did.
    distance = [abs(math.log10(float(rate)) + 3) for rate in proposals(whole)]
    assert sum(distance[12:]) < sum(distance[:10])

    # (24 are finished in the other folder.)
    batch.stop_at = 24 + 13
    code, part, _ = batch("--trials", "24", "--output", "part")
    assert code == 75 and len(part["runs"]) == 14 and part["search"]["complete"] == 13
    batch.stop_at = -1
    code, rest, ran = batch("--trials", "24", "--output", "part")
    assert code == 0 and len(ran) == 11 and proposals(rest) == proposals(whole)
    code, more, ran = batch("--trials", "25", "--output", "part")
    assert len(ran) == 1 and proposals(more)[:24] == proposals(whole)


def test_15_11_a_study_whose_last_line_is_torn_goes_on(batch):
    _, whole, _ = batch("--trials", "3", "--sampler", "random", "--output", "whole")
    batch("--trials", "2", "--sampler", "random", "--output", "torn")
    (study,) = Path("torn").rglob("study.jsonl")
    study.write_bytes(study.read_bytes()[:-20])
    code, record, ran = batch("--trials", "3", "--sampler", "random", "--output", "torn")
    assert code == 0 and len(ran) == 1 and record["search"]["complete"] == 3
    assert proposals(record) == proposals(whole)


@pytest.mark.parametrize("values", ['["x"]', "[0.5,2.0]"])
def test_15_17_a_study_with_a_value_that_is_none_is_damaged(tmp_path, monkeypatch, values):
    from ptm.errors import ConfigError
    from ptm.experiment.search import _open

    _open(tmp_path, "identity", "max").tell(_open(tmp_path, "identity", "max").ask(), 0.5)
    study = tmp_path / "study.jsonl"
    study.write_text(study.read_text().replace("[0.5]", values))
    with pytest.raises(ConfigError, match="is damaged: ValueError: trial 0 has"):
        _open(tmp_path, "identity", "max")


def test_12_03_a_trial_that_fails_has_no_value_and_others_go_on(batch, capsys):
    batch.broken = 1e-3
    code, record, _ = batch("--trials", "6", "--sampler", "random", "--jobs", "2")
    failed = [row for row in record["runs"] if row["exit_code"]]
    assert code == 7 and failed and record["search"]["complete"] == 6 - len(failed)
    assert len({*proposals(record)}) == 6
    assert record["search"]["best"]["output"].startswith(str(Path("runs/s/trial-0").absolute()))


def test_12_03_a_trial_with_seeds_is_judged_by_their_mean(batch):
    code, record, ran = batch("--trials", "2", "--seeds", "1,2,3", space="train.learning_rate=1e-3,1e-2")
    assert code == 0 and [job.output.name for job in ran] == ["seed-1", "seed-2", "seed-3"] * 2
    by_trial = [[run["metrics"]["accuracy"] for run in record["runs"][i : i + 3]] for i in (0, 3)]
    assert record["search"]["best"]["value"] == pytest.approx(max(sum(each) / 3 for each in by_trial))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--grid", "train.epochs=1,2"], "without --grid, --overwrite and --on"),
        (["run.yaml"], "of one config"),
        (["--sampler", "grid"], "no sampler"),
        (["--search", "train.learning_rate=1,2"], "stands twice"),
        (["--set", "train.learning_rate=1"], "set and searched"),
        (["--search", "train.no_such=1,2"], "no_such"),
    ],
)
def test_12_03_searches_that_are_none_are_refused(batch, words, said):
    code, record, ran = batch("--trials", "2", *words)
    assert code == 2 and said in str(record["error"]["problems"]) and not ran


def test_12_03_a_study_of_another_search_is_refused(batch):
    assert batch("--trials", "1")[0] == 0
    code, record, _ = batch("--trials", "1", space="train.learning_rate=1e-6..1e-2:log")
    assert code == 2 and "another search" in record["error"]["problems"][0]["what"]


@pytest.mark.processes
@pytest.mark.slow
def test_12_03_a_search_that_really_trains(tmp_path, run_cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = TEXT.replace("image_size: 8", "image_size: 8, max_train_examples: 50, max_eval_examples: 20")
    Path("run.yaml").write_text(small + "runtime: {device: cpu, threads: 1}\n")
    words = ("batch", "run.yaml", "--search", "train.learning_rate=1e-4..1e-1:log", "--trials")
    assert run_cli(*words, "1", "--json").returncode == 0
    record = json.loads(run_cli(*words, "2", "--json").stdout)
    assert [row["status"] for row in record["runs"]] == ["finished", "done"]
    results = json.loads((tmp_path / "runs/s/trial-0002/results.json").read_text())
    assert results["metrics"] == record["runs"][1]["metrics"]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["link", "dangling link", "folder"])
def test_15_11_a_lock_of_a_study_that_is_no_file_is_refused(tmp_path, kind):
    """optuna asked for ever after one that leads nowhere."""
    lock = tmp_path / f"{STUDY}.lock"
    if kind == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(tmp_path if kind == "link" else "nowhere")
    with pytest.raises(PtmError, match="cannot be written: is a"):
        _open(tmp_path, "identity", "max")
    assert not (tmp_path / STUDY).exists() and os.path.lexists(lock)


def test_15_04_a_lock_of_a_study_with_something_in_it_stays(tmp_path):
    """optuna removed it after half a minute: its own are empty."""
    lock = tmp_path / f"{STUDY}.lock"
    lock.write_text("mine")
    with pytest.raises(PtmError, match="holds what ptm did not write there"):
        _open(tmp_path, "identity", "max")
    assert lock.read_text() == "mine" and not (tmp_path / STUDY).exists()


def test_15_04_no_trial_is_a_link(batch, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "o" / "run").mkdir(parents=True)
    (tmp_path / "o" / "run" / "trial-0002").symlink_to(tmp_path / "mine")
    code, content, ran = batch("--trials", "2", "--output", "o")
    assert code == 2
    assert "symbolic link" in content["error"]["problems"][0]["what"]
    assert [job.name for job in ran] == ["trial-0001"]
