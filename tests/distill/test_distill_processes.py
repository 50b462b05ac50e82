"""Two processes fill one store together and learn from it what one process learns."""

import json
import os
import socket
import subprocess
import sys

import pytest

from helpers import history, image_spec, run

pytestmark = pytest.mark.processes

CONFIG = """
version: 1
task: image-classification
teacher: {{name: {teacher}}}
model: {{name: resnet8, width: 2, weights: none}}
distill: {{audit: "off", store: {store}, features: hidden}}
data: {{source: "builtin:digits", train: train, eval: test, image_size: 16, augment: crop,
  max_train_examples: 160, max_eval_examples: 32}}
train: {{steps: 12, batch_size: 16, micro_batch_size: 4, eval_batch_size: 16, learning_rate: 0.02, log_every_steps: 1}}
runtime: {{device: cpu, threads: 1}}
output: {output}
"""


def test_two_processes_equal_one(run_cli, tmp_path):
    run(image_spec(tmp_path / "teacher", epochs=1))
    for name, words in (("one", ()), ("two", ("--nproc", "2"))):
        config = tmp_path / f"{name}.yaml"
        store = tmp_path / f"store_{name}"
        config.write_text(CONFIG.format(teacher=tmp_path / "teacher", store=store, output=tmp_path / name))
        done = run_cli("distill", config, *words)
        assert done.returncode == 0, done.stderr
        results = json.loads((tmp_path / name / "results.json").read_text())
        assert results["distill"]["store"]["used"]
    for a, b in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        if a["kind"] == "train":
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    stores = [sorted((tmp_path / f"store_{n}").rglob("*.bin")) for n in ("one", "two")]
    assert [p.read_bytes() for p in stores[0]] == [p.read_bytes() for p in stores[1]]


TORN = """
import sys, time
from ptm.distill import store, teacher
from ptm.training.runtime import environment_ranks
from ptm.cli.app import main

rank = environment_ranks()[0]
missing, matches = store.Shard.missing, teacher.Teacher._matches


def late(self):
    # By now the first process has filled blocks, unless it waits for what this one finds.
    time.sleep(3 * rank)
    return missing(self)


store.Shard.missing = late
teacher.Teacher._matches = lambda *words: rank != {other} and matches(*words)
main()
"""


@pytest.mark.parametrize("other", [0, 1])
def test_15_13_processes_that_see_different_things_in_a_store_do_not_wait_for_ever(other, tmp_path):
    """One of them finds that what is stored is not what the teacher says: both compute all, or neither."""
    run(image_spec(tmp_path / "teacher", epochs=1))
    script = tmp_path / "train.py"
    script.write_text(TORN.format(other=other))
    config = tmp_path / "run.yaml"
    for name in ("first", "second"):
        config.write_text(
            CONFIG.format(teacher=tmp_path / "teacher", store=tmp_path / "store", output=tmp_path / name)
        )
        done = _in_two_processes([script, "distill", config])
        assert [process.returncode for process in done] == [0, 0], done[0].stderr
    assert history(tmp_path / "first") == history(tmp_path / "second")
    assert ("all are computed anew" in done[0].stderr) == (other == 0)


@pytest.mark.parametrize("rank", [0, 1])
def test_15_13_a_disk_that_is_full_for_one_process_is_full_for_both(rank, tmp_path):
    run(image_spec(tmp_path / "teacher", epochs=1))
    script = tmp_path / "train.py"
    script.write_text(FULL.format(rank=rank))
    config = tmp_path / "run.yaml"
    config.write_text(
        CONFIG.format(teacher=tmp_path / "teacher", store=tmp_path / "store", output=tmp_path / "r")
    )
    done = _in_two_processes([script, "distill", config])
    assert [process.returncode for process in done] == [0, 0], done[0].stderr
    assert done[0].stderr.count("warning: outputs are stored no longer") == 1
    results = json.loads((tmp_path / "r" / "results.json").read_text())
    assert "No space left" in results["distill"]["store"]["reason"]


FULL = """
import os
from ptm.distill import store
from ptm.errors import StorageError
from ptm.training.runtime import environment_ranks
from ptm.cli.app import main

write = store.Shard.write


def full(self, block, rows):
    if environment_ranks()[0] == {rank} and block > 2:
        raise StorageError(os.strerror(28))
    write(self, block, rows)


store.Shard.write = full
main()
"""


def _in_two_processes(words):
    """The completed processes, of rank 0 and 1, as torchrun would start them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, *map(str, words)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                **place,
                "RANK": rank,
                "LOCAL_RANK": rank,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        said = [process.communicate(timeout=120)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    return [
        subprocess.CompletedProcess(words, process.returncode, "", text)
        for process, text in zip(started, said, strict=True)
    ]
