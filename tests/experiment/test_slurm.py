"""``ptm batch --on slurm`` with a stand-in for the cluster: scripts, arrays, dependencies, and queueing again."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ptm.cli.app import run
from ptm.errors import ConfigError
from ptm.experiment.slurm import parse_parameters

TEXT = """
version: 1
task: image-classification
model: {{name: resnet8, weights: none, width: 2}}
data:
  {{source: builtin:digits, train: train, eval: test, max_train_examples: 100, max_eval_examples: 50, image_size: 8}}
train: {{epochs: {epochs}, batch_size: 25, learning_rate: 1e-2}}
runtime: {{device: cpu, threads: 1}}
output: runs/{name}
{more}
"""
# Numbers count up; the script stays beside the log.
SBATCH = """#!/bin/bash
n=$(($(cat {0}/count 2>/dev/null || echo 99) + 1)); echo $n > {0}/count
cp "$1" {0}/script-$n.sh
echo "Submitted batch job $n"
"""
# As srun: the options, then the command.
SRUN = """#!/bin/bash
echo $$ > "$(dirname "$0")/pid-$SLURM_ARRAY_TASK_ID"
while [ "${1#-}" != "$1" ]; do case "$1" in --output|--error) shift 2;; *) shift;; esac; done
exec "$@"
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder with ``sbatch``, ``srun`` and ``scontrol`` in the path; ``script-100.sh`` is the first script in it."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    scontrol = f'#!/bin/bash\necho "$@" >> {folder}/scontrol.log\n'
    for name, text in (("sbatch", SBATCH.format(folder)), ("srun", SRUN), ("scontrol", scontrol)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return folder


def config(name, more="", epochs=1):
    Path(f"{name}.yaml").write_text(TEXT.format(name=name, more=more, epochs=epochs))
    return f"{name}.yaml"


def task(cluster, number, index):
    """A task of an array, as a node runs it."""
    env = {
        **os.environ,
        "SLURM_JOB_ID": f"{number}{index}",
        "SLURM_ARRAY_JOB_ID": str(number),
        "SLURM_ARRAY_TASK_ID": str(index),
        "SLURM_JOB_NODELIST": "here",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NTASKS": "1",
        "SLURM_NODEID": "0",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
    }
    script = cluster / f"script-{number}.sh"
    return subprocess.Popen(["bash", "-c", f"exec bash {script}"], env=env, start_new_session=True)


def test_12_03_the_scripts_are_printed_and_nothing_is_queued(cluster, capsys):
    words = [
        config("a"),
        "--seeds",
        "1,2,3",
        "--on",
        "slurm",
        "--slurm",
        "partition=gpu",
        "--slurm",
        "time=30",
    ]
    assert run(["batch", *words, "--dry-run"]) == 0
    script = capsys.readouterr().out
    for line in ("--array=0-2%3", "--partition=gpu", "--time=30", "--signal=USR2@90", "--job-name=ptm"):
        assert f"#SBATCH {line}\n" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert not list(cluster.glob("script-*"))


def test_12_03_runs_are_an_array_and_students_wait_for_their_teachers(cluster, capsys):
    student = config("student", more="teacher: {name: runs/teacher}")
    words = ["batch", student, config("teacher"), "--seeds", "1,2", "--on", "slurm", "--json"]
    assert run([*words, "--output", "all"]) == 0
    capsys.readouterr()
    assert run(words) == 0
    record = json.loads(capsys.readouterr().out)
    names = [row["name"].partition("/")[0] for row in record["submitted"]]
    jobs = [row["job"] for row in record["submitted"]]
    assert names == ["teacher", "teacher", "student", "student"]
    first = jobs[0].partition("_")[0]
    assert jobs == [f"{first}_0", f"{first}_1", f"{int(first) + 1}_0", f"{int(first) + 1}_1"]
    assert f"--dependency=afterok:{first}\n" in (cluster / f"script-{int(first) + 1}.sh").read_text()


@pytest.mark.slow
@pytest.mark.processes
def test_12_03_a_preempted_run_saves_is_queued_again_and_goes_on(cluster, tmp_path, capsys):
    words = ["batch", config("long", epochs=40), config("short"), "--on", "slurm", "--json"]
    assert run(words) == 0
    assert [row["job"] for row in json.loads(capsys.readouterr().out)["submitted"]] == ["100_0", "100_1"]
    short = task(cluster, 100, 1)
    job = task(cluster, 100, 0)
    log = tmp_path / "runs/long/metrics.jsonl"
    deadline = time.monotonic() + 150
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(int((cluster / "pid-0").read_text()), signal.SIGUSR2)
    job.wait(timeout=150)
    results = json.loads((tmp_path / "runs/long/results.json").read_text())
    assert results["status"] == "interrupted"
    assert (cluster / "scontrol.log").read_text().strip() == "requeue 100_0"
    again = task(cluster, 100, 0)
    assert (short.wait(timeout=150), again.wait(timeout=200)) == (0, 0)
    for name in ("long", "short"):
        assert json.loads((tmp_path / f"runs/{name}/results.json").read_text())["status"] == "done"
    assert run(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["submitted"] == [] and record["finished"] == ["long", "short"]


@pytest.mark.parametrize("words", [["partition"], ["nonsense=1"], ["time="]])
def test_12_03_parameters_that_submitit_does_not_take(words):
    with pytest.raises(ConfigError, match="no parameter of a job"):
        parse_parameters(words)


@pytest.mark.parametrize(
    "words",
    [
        ["--on", "pbs"],
        ["--dry-run"],
        ["--slurm", "time=1"],
        ["--on", "slurm", "--search", "train.epochs=1,2"],
    ],
)
def test_12_03_what_goes_not_together_is_refused(cluster, words, capsys):
    assert run(["batch", config("a"), *words]) == 2
    assert not list(cluster.glob("script-*"))


def test_12_03_without_a_cluster_it_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert run(["batch", config("a"), "--on", "slurm"]) == 2
    assert "srun" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["o;touch PWNED;x", "o$(touch PWNED)", "o`touch PWNED`", "o p", "o'p\"q"])
def test_15_02_a_script_runs_nothing_that_a_name_holds(folder, cluster, capsys, tmp_path):
    assert run(["batch", config("a"), "--on", "slurm", "--dry-run", "--output", folder]) == 0
    (cluster / "srun").write_text(
        f'#!/bin/sh\nprintf "%s\\0" "$@" > {cluster}/arguments\nenv > {cluster}/variables\n'
    )
    subprocess.run(["bash", "-c", capsys.readouterr().out], check=True, cwd=tmp_path)
    arguments = (cluster / "arguments").read_text().split("\0")[:-1]
    assert arguments[-1] == str(tmp_path / folder / "slurm")
    assert not list(tmp_path.rglob("PWNED"))
    # No random.py of the working directory is imported by what unpickles the job.
    assert "PYTHONSAFEPATH=1\n" in (cluster / "variables").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ["--output", "o\ntouch PWNED\n"],
        ["--slurm", "comment=x\ntouch PWNED"],
        ["--slurm", "job_name=a\x1b[2J"],
        ["--slurm", "additional_parameters=x"],
    ],
)
def test_15_02_a_line_end_in_a_script_is_refused(words, cluster, capsys):
    assert run(["batch", config("a"), "--on", "slurm", "--dry-run", *words]) == 2
    assert "PWNED" not in capsys.readouterr().out


def test_15_17_lists_of_parameters_are_taken_as_words():
    values = parse_parameters(["setup=module load cuda", "srun_args=--mpi=none -l", "time=5"])
    assert values == {"setup": ["module load cuda"], "srun_args": ["--mpi=none", "-l"], "time": 5}


def test_15_01_a_folder_of_jobs_that_is_a_link_or_in_a_run_is_refused(cluster, capsys, finished):
    Path("victim").mkdir()
    Path("runs").mkdir()
    Path("runs/slurm").symlink_to(Path("victim").absolute())
    assert run(["batch", config("a"), "--on", "slurm"]) == 3
    assert run(["batch", config("a"), "--on", "slurm", "--output", str(finished)]) == 2
    assert not list(Path("victim").iterdir()) and not (finished / "slurm").exists()


def test_15_16_what_sbatch_says_is_printed_without_its_escapes(cluster, capfd):
    (cluster / "sbatch").write_text("#!/bin/sh\nprintf '\\033[2Jno' >&2; exit 1\n")
    assert run(["batch", config("a"), "--on", "slurm"]) == 2
    told = capfd.readouterr()
    assert "\x1b" not in told.out + told.err and "[2Jno" in told.err
