"""Several processes on one machine: what they run, how they end together, and what is said when one is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import run, text_spec
from ptm.base.launch import follow_launcher, launch
from ptm.config.load import dump_config
from ptm.run.opening import open_run

pytestmark = pytest.mark.processes

pytestmark = pytest.mark.processes
FOREIGN = """
from pathlib import Path
Path({marker!r}).write_text("this ran")
"""


def write_config(tiny_bert, reviews, tmp_path, **changes):
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(text_spec(tiny_bert, reviews, tmp_path / "r", **changes)))
    return path


@pytest.fixture
def foreign(tmp_path):
    """A working directory with a ``random.py``, a ``torch.py`` and a ``ptm.py``; ``ran`` appears when one runs."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    for name in ("random", "torch", "ptm", "sitecustomize"):
        (folder / f"{name}.py").write_text(FOREIGN.format(marker=str(tmp_path / "ran")))
    return folder


def ptm(*words: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """As the installed command starts: without the working directory on the path."""
    command = [sys.executable, "-P", "-m", "ptm", *map(str, words)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **env}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, timeout=240)


def test_15_02_python_files_in_the_working_directory_do_not_run(tiny_bert, reviews, tmp_path, foreign):
    config = write_config(tiny_bert, reviews, tmp_path, epochs=1)
    done = ptm("finetune", config, "--nproc", 2, cwd=foreign)
    assert done.returncode == 0, done.stderr
    done = ptm("reproduce", tmp_path / "r", "--nproc", 2, cwd=foreign)
    assert (done.returncode, done.stdout[:13]) == (0, "bit-identical"), done.stderr
    done = ptm("models", "--names", "resnet8", "--measure", "--threads", 1, "--json", cwd=foreign)
    assert json.loads(done.stdout)["models"][0]["cost"]["problem"] == ""
    assert not (tmp_path / "ran").exists()


def test_15_02_python_m_ptm_takes_the_working_directory_off_the_path(tmp_path, foreign):
    (foreign / "ptm.py").unlink()  # this one Python itself would take
    (foreign / "sitecustomize.py").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "ptm", "models", "--names", "resnet8"],
        cwd=foreign,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


def test_15_02_a_record_starts_no_processes_unasked(tiny_bert, reviews, tmp_path):
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1))
    path = tmp_path / "r" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["runtime"]["processes"] = 64
    path.write_text(json.dumps(manifest))
    done = ptm("reproduce", tmp_path / "r", cwd=tmp_path)
    assert done.returncode == 2
    assert "was trained in 64 processes" in done.stderr
    assert f"ptm reproduce {tmp_path / 'r'} --nproc 64" in done.stderr
    done = ptm("reproduce", tmp_path / "r", "--nproc", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "changed: runtime.processes: 64 → 1" in done.stdout


# --- what becomes of the others


LONG = {"epochs": 500, "save_every_steps": 1, "keep_checkpoints": 2}


@pytest.fixture
def launched(tiny_bert, reviews, tmp_path):
    """``launched(**env)``: two processes that train for long, when they have saved twice; all are ended at the end."""
    started: list[subprocess.Popen[str]] = []
    config = write_config(tiny_bert, reviews, tmp_path, **LONG)

    def start(*words: str, **env: str) -> tuple[subprocess.Popen[str], list[int]]:
        command = [sys.executable, "-m", "ptm", "finetune", str(config), "--nproc", "2", *words]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **env}
        )
        started.append(process)
        until(lambda: len(list((tmp_path / "r" / "checkpoints").glob("step-*"))) > 1)
        ranks = sorted(children_of(process.pid), key=lambda pid: environment(pid)["RANK"])
        assert len(ranks) == 2
        started_ranks.extend(ranks)
        return process, ranks

    started_ranks: list[int] = []
    yield start
    for process in started:
        process.kill()
        process.communicate()
    for pid in started_ranks:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def until(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def environment(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_15_11_what_measures_or_checks_ends_with_who_asked(number):
    """As ``ptm export``, ``report`` and ``card --check`` start it: in a process of its own."""
    code = "import subprocess; from ptm.base.launch import guarded\n"
    code += "subprocess.run(guarded('import os, time; print(os.getpid(), flush=True); time.sleep(60)'))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(number)
        parent.wait()
        end = time.monotonic() + 10
        while alive(child) and time.monotonic() < end:
            time.sleep(0.05)
        assert not alive(child)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_15_11_no_process_outlives_its_launcher(number, launched, tmp_path):
    process, ranks = launched()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 75)
    until(lambda: not any(alive(pid) for pid in ranks), 45)
    assert "Traceback" not in said
    # Nobody holds the run, and what was done is saved.
    assert json.loads((tmp_path / "r" / "results.json").read_text())["status"] == "interrupted"
    config = tmp_path / "run.yaml"
    with open_run(tmp_path / "r", config.read_text(), "resume") as there:
        assert there.resuming


@pytest.mark.parametrize(
    ("number", "seconds"), [(signal.SIGHUP, 0.5), (signal.SIGINT, 2.5), (signal.SIGTERM, 5.0)]
)
def test_15_11_a_signal_while_the_processes_start_stops_them_all(
    number, seconds, tiny_bert, reviews, tmp_path
):
    config = write_config(tiny_bert, reviews, tmp_path, **LONG)
    command = [sys.executable, "-m", "ptm", "finetune", str(config), "--nproc", "2", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: len(children_of(process.pid)) == 2)
    time.sleep(seconds)
    process.send_signal(number)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert said.count("error: stopped by") == 1
    assert "Traceback" not in said
    assert json.loads(printed)["error"]["exit_code"] == 75


def test_15_11_asked_twice_all_processes_stop_at_once(launched):
    process, ranks = launched()
    for rank in ranks:
        os.kill(rank, signal.SIGSTOP)  # so that they cannot do what they are asked to
    process.send_signal(signal.SIGINT)
    time.sleep(1.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert not any(alive(pid) for pid in ranks)
    assert said.count("error: stopped by SIGINT") == 1


@pytest.mark.parametrize("victim", [0, 1])
def test_15_11_a_process_killed_by_the_system_is_one_sentence(victim, launched, tmp_path):
    process, ranks = launched("--json")
    os.kill(ranks[victim], signal.SIGKILL)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 137
    assert not any(alive(pid) for pid in ranks)
    errors = [line for line in said.splitlines() if line.startswith("error")]
    assert len(errors) == 1, said
    assert f"process {victim} of 2 was killed by SIGKILL" in errors[0]
    assert "--resume" in said
    for word in ("Traceback", "gloo", "GLHF"):
        assert word not in said
    assert json.loads(printed)["error"]["exit_code"] == 137


@pytest.mark.parametrize("victim", [0, 1])
def test_15_11_a_frozen_process_does_not_hang_the_run(victim, launched):
    process, ranks = launched(PTM_PEER_TIMEOUT="4")
    os.kill(ranks[victim], signal.SIGSTOP)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 137
    assert not any(alive(pid) for pid in ranks)
    errors = [line for line in said.splitlines() if line.startswith("error")]
    assert len(errors) == 1, said
    assert f"process {victim} of 2 did not answer for 4 s" in errors[0]
    assert "--resume" in said
    assert "Traceback" not in said


def test_15_11_a_time_limit_that_is_none_is_refused(tiny_bert, reviews, tmp_path):
    config = write_config(tiny_bert, reviews, tmp_path, epochs=1)
    done = ptm("finetune", config, "--nproc", 2, cwd=tmp_path, PTM_PEER_TIMEOUT="soon")
    assert done.returncode == 2
    assert "PTM_PEER_TIMEOUT" in done.stderr
    assert done.stderr.count("error") == 1


def test_15_11_what_one_process_alone_finds_wrong_is_told(tiny_bert, reviews, tmp_path):
    """Only the second process cannot use its device."""
    config = write_config(tiny_bert, reviews, tmp_path, epochs=1)
    program = (
        "import os, sys\n"
        "from ptm.errors import DataError\n"
        "from ptm.training import runtime\n"
        "if os.environ.get('RANK') == '1':\n"
        "    def fails(*words): raise DataError('only this one sees it', where='a.png')\n"
        "    runtime.Runtime.sum = fails\n"
    )
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        f"import sys\nsys.path.append({os.environ.get('PYTHONPATH', '')!r})\n{program}"
    )
    path = f"{tmp_path / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = ptm("finetune", config, "--nproc", 2, "--json", cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 3, done.stderr
    assert "error: a.png: only this one sees it" in done.stderr
    assert done.stderr.count("error") == 1
    assert json.loads(done.stdout)["error"]["problems"][0]["where"] == "a.png"


def test_12_10_each_process_reads_what_was_piped_in(tmp_path, capfd):
    """A config on standard input is there for all of them, though it can be read only once."""
    text = (
        "version: 1\ntask: image-classification\nmodel: {name: resnet8, weights: none}\n"
        "data: {source: 'builtin:digits', train: train, eval: test}\n"
        "train: {epochs: 1, learning_rate: 0.1}\noutput: r\n"
    )
    assert launch(["check", "-"], 2, stdin=text.encode()) == 0
    assert capfd.readouterr().out.count("1 config: no problem found") == 2


@pytest.mark.parametrize("text", ["abc", "1", "1:x", ":", "x:99999999999999999999"])
def test_15_17_a_launcher_that_is_none_is_left_alone(monkeypatch, text):
    monkeypatch.setenv("PTM_LAUNCHER", text)
    assert follow_launcher() is None
