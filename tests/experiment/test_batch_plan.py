"""Runs of several configs, seeds and grid points: where each goes, what it starts from, which it is."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from ptm.errors import ConfigError
from ptm.experiment.batch_plan import grid_points, plan_batch
from ptm.run.directory import begin_run
from ptm.run.opening import open_run

TEXT = """
version: 1
task: image-classification
model: {{name: resnet8, weights: none}}
data: {{source: builtin:digits, train: train, eval: test}}
train: {{epochs: 1, batch_size: 8, learning_rate: 1e-3}}
{more}
output: runs/{name}
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name: str, more: str = "") -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(TEXT.format(name=name, more=more))
        return path

    return write


def names(plan):
    return [job.name for job in plan.jobs]


def test_each_seed_and_each_grid_point_has_its_place(config, tmp_path):
    plan = plan_batch([config("a")], seeds=[1, 2], grid=["train.learning_rate=1e-5,3e-5", "train.epochs=2"])
    assert names(plan) == [
        f"a/learning_rate={rate}/epochs=2/seed-{seed}" for rate in ("1e-5", "3e-5") for seed in (1, 2)
    ]
    job = plan.jobs[-1]
    assert (job.spec.train.learning_rate, job.spec.train.epochs, job.spec.train.seed) == (3e-5, 2, 2)
    assert job.output == tmp_path / "runs" / job.name
    assert plan_batch([config("a")]).jobs[0].output == tmp_path / "runs" / "a"
    other = plan_batch([config("a")], seeds=[1], output="elsewhere")
    assert other.jobs[0].output == tmp_path / "elsewhere" / "a" / "seed-1"


def test_runs_of_seeds_do_not_lie_in_a_run_that_is_there(config, tmp_path):
    """The way of the README: a config is trained, then over seeds."""
    first = tmp_path / "runs" / "a"
    with open_run(first, "task: a\n", "new") as directory:
        begin_run(directory, "task: a\n")
    for words in ({"seeds": [1, 2]}, {"grid": ["train.epochs=1,2"]}):
        plan = plan_batch([config("a"), config("b")], **words)
        (fault,) = plan.faults
        assert fault.exit_code == 2 and len(plan.jobs) == 2
        (problem,) = fault.problems
        assert problem.where == str(first) and "holds a run" in problem.what
        *_, folder = shlex.split(problem.cure)
        assert not plan_batch([config("a")], **words, output=folder).faults
    assert not plan_batch([config("a")]).faults


def test_a_grid_is_split_at_commas_outside_of_brackets():
    assert grid_points([]) == [{}]
    assert grid_points(["data.labels=[a, b],[b, a]", "x=1"]) == [
        {"data.labels": "[a, b]", "x": "1"},
        {"data.labels": "[b, a]", "x": "1"},
    ]
    for wrong in ("train.epochs", "train.epochs=", "=1", "train.epochs=1,1"):
        with pytest.raises(ConfigError, match="no axis of a grid"):
            grid_points([wrong])
    with pytest.raises(ConfigError, match="twice"):
        grid_points(["x=1", "x=2"])


def test_two_keys_with_one_last_part_keep_their_whole_names(config):
    plan = plan_batch([config("a")], grid=["runtime.threads=1", "train.epochs=2"])
    assert names(plan) == ["a/threads=1/epochs=2"]
    more = "teacher: {name: resnet20}"
    plan = plan_batch([config("a", more)], grid=["teacher.name=resnet32", "model.name=resnet14"])
    assert names(plan) == ["a/teacher.name=resnet32/model.name=resnet14"]


def test_a_faulty_config_does_not_hide_the_others(config):
    broken = config("broken", "best: {metric: accuracy, mode: sideways}")
    plan = plan_batch([broken, config("a"), Path("absent.yaml")])
    assert names(plan) == ["a"]
    assert [(fault.config.name, fault.exit_code) for fault in plan.faults] == [
        ("broken.yaml", 2),
        ("absent.yaml", 2),
    ]
    assert "broken.yaml:7:" in plan.faults[0].problems[0].where


def test_two_runs_may_not_share_a_directory(config):
    a, b = config("a"), config("b")
    b.write_text(a.read_text())
    with pytest.raises(ConfigError, match="a and b would both write there"):
        plan_batch([a, b])
    assert len(plan_batch([a, b], output="all").jobs) == 2


@pytest.mark.parametrize("name", ["runs/teacher", "./runs/teacher", "runs/teacher/model"])
def test_a_student_comes_after_its_teacher(config, tmp_path, name):
    student, teacher = config("student", f"teacher: {{name: {name}}}"), config("teacher")
    plan = plan_batch([student, teacher])
    assert names(plan) == ["teacher", "student"]
    assert plan.jobs[1].needs == (tmp_path / "runs" / "teacher",)


def test_a_student_learns_from_the_teacher_of_its_own_seed(config, tmp_path):
    student, teacher = config("student", "teacher: {name: runs/teacher}"), config("teacher")
    plan = plan_batch([student, teacher], seeds=[1, 2])
    assert names(plan) == ["teacher/seed-1", "student/seed-1", "teacher/seed-2", "student/seed-2"]
    assert plan.jobs[3].spec.teacher.name == str(tmp_path / "runs/teacher/seed-2")
    # One that is there already, and no part of the batch, is what it is.
    assert plan_batch([student], seeds=[1]).jobs[0].needs == ()


def test_a_model_that_starts_from_another_run_of_the_batch(config):
    first, second = config("first"), config("second")
    second.write_text(second.read_text().replace("{name: resnet8, weights: none}", "{name: ./runs/first}"))
    assert names(plan_batch([second, first], seeds=[3])) == ["first/seed-3", "second/seed-3"]


def test_a_circle_is_refused(config):
    a, b = config("a", "teacher: {name: runs/b}"), config("b", "teacher: {name: runs/a}")
    with pytest.raises(ConfigError, match="wait for each other"):
        plan_batch([a, b])


def test_the_identity_is_of_config_lock_and_version_and_not_of_the_place(config, monkeypatch):
    path = config("a")
    (job,) = plan_batch([path]).jobs
    assert plan_batch([path], output="other").jobs[0].identity == job.identity
    assert plan_batch([path], changes=["train.epochs=2"]).jobs[0].identity != job.identity
    assert plan_batch([path], seeds=[7]).jobs[0].identity != job.identity
    without = job.identity
    path.with_suffix(".lock").write_text("{}")
    assert without != (locked := plan_batch([path]).jobs[0].identity)
    import ptm

    monkeypatch.setattr(ptm, "__version__", "99.0")
    assert plan_batch([path]).jobs[0].identity != locked


def test_15_04_a_name_that_leads_out_of_the_folder_of_all_runs(tmp_path):
    """The stem of ``...yaml`` is ``..``."""
    config = tmp_path / "...yaml"
    shutil.copy(Path(__file__).parents[2] / "configs/digits_resnet.yaml", config)
    plan = plan_batch([config], output=str(tmp_path / "runs"))
    assert not plan.jobs and "cannot name a folder" in str(plan.faults[0].problems[0])


def test_15_15_the_plan_of_many_seeds_takes_time_that_grows_with_their_number(config, monkeypatch):
    from ptm.experiment import batch_plan

    asked, places = [], batch_plan._places
    monkeypatch.setattr(batch_plan, "_places", lambda *name: asked.append(name) or places(*name))
    path = config("a")
    counts = []
    for number in (4, 8):
        asked.clear()
        plan_batch([path], seeds=range(number))
        counts.append(len(asked))
    assert 0 < counts[1] <= 2 * counts[0]


def test_15_15_a_grid_of_very_many_runs_is_refused_before_it_is_planned(config):
    values = ",".join(map(str, range(3000)))
    axes = [f"train.{key}={values}" for key in ("warmup", "seed", "weight_decay")]
    with pytest.raises(ConfigError, match="these are 27,000,000,000 runs") as caught:
        plan_batch([config("a")], grid=axes)
    assert "at most 10,000" in str(caught.value)
    with pytest.raises(ConfigError, match="these are 30,000 runs"):
        plan_batch([config("a")] * 3, grid=["train.warmup=1,2,3,4,5,6,7,8,9,10"], seeds=range(1000))


@pytest.mark.parametrize("link", ["o/a", "o/a/epochs=2", "o/a/epochs=2/seed-1"])
def test_15_04_no_folder_of_a_batch_is_a_link(config, tmp_path, link):
    """The attack: a batch that was received, whose run leads to one of the user's; --overwrite deleted that."""
    (tmp_path / "mine").mkdir()
    (tmp_path / link).parent.mkdir(parents=True)
    (tmp_path / link).symlink_to(tmp_path / "mine")
    plan = plan_batch([config("a")], seeds=[1], grid=["train.epochs=2"], output="o")
    assert not plan.jobs
    assert "symbolic link" in plan.faults[0].problems[0].what
    (tmp_path / "elsewhere").symlink_to(tmp_path / "mine")  # by a name that the user gave
    assert plan_batch([config("a")], seeds=[1], output="elsewhere").jobs
