"""Two processes train what one trains: same order, same dropout, same statistics, same sums."""

import json
import os
import socket
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file

from helpers import history, run, text_spec

pytestmark = pytest.mark.processes

TEXT = """
version: 1
task: text-classification
model: {{name: {model}}}
data: {{source: "csv:{data}", train: train.csv, eval: eval.csv, labels: [negative, positive]}}
train: {{epochs: 1, batch_size: 10, micro_batch_size: 5, learning_rate: 1e-3, log_every_steps: 1}}
runtime: {{device: cpu, threads: 1}}
output: {output}
"""

IMAGE = """
version: 1
task: image-classification
model: {{name: resnet8, weights: none, width: 4}}
data: {{source: "builtin:digits", train: train, eval: test, image_size: 16,
  max_train_examples: 80, max_eval_examples: 32}}
train: {{steps: 8, batch_size: 16, micro_batch_size: 4, learning_rate: 1e-2, log_every_steps: 1}}
runtime: {{device: cpu, threads: 1}}
output: {output}
"""


def train(config: str, tmp_path, name: str, *how: str) -> str:
    """Train in processes as ``how`` says; returns what was said."""
    path = tmp_path / f"{name}.yaml"
    path.write_text(config)
    command = ["-m", "ptm"] if not how or how[0] == "--nproc" else list(how)
    rest = list(how) if how and how[0] == "--nproc" else []
    done = subprocess.run(
        [sys.executable, *command, "finetune", str(path), *rest], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "how",
    [("--nproc", "2"), ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "ptm")],
)
def test_two_processes_equal_one_on_text(how, tiny_bert, reviews, tmp_path):
    for name, way in (("one", ()), ("two", how)):
        config = TEXT.format(model=tiny_bert, data=reviews, output=tmp_path / name)
        train(config, tmp_path, f"config_{name}", *way)
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    assert [line["kind"] for line in one] == [line["kind"] for line in two]
    for a, b in zip(one, two, strict=True):
        if a["kind"] == "train":
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
            assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
        else:
            assert a["metrics"] == pytest.approx(b["metrics"], rel=1e-4)


def test_two_processes_equal_one_on_images_with_batch_norm(tmp_path):
    for name, way in (("one", ()), ("two", ("--nproc", "2"))):
        train(IMAGE.format(output=tmp_path / name), tmp_path, f"config_{name}", *way)
    states = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two")]
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=1e-3, atol=1e-4)


def test_11_04_two_processes_equal_one_with_methods_of_all_kinds(tmp_path):
    """Weights, mixtures, an average of the weights and a temperature."""
    methods = "focal_gamma: 1, class_weights: balanced, ema: 0.9, log_every_steps: 1"
    for name, way in (("one", ()), ("two", ("--nproc", "2"))):
        config = IMAGE.format(output=tmp_path / name).replace("log_every_steps: 1", methods)
        config = config.replace(
            "image_size: 16,", "image_size: 16, mixup: 0.2, cutmix: 1, random_erasing: 0.3,"
        )
        train(config + "decisions: {temperature: true}\n", tmp_path, f"config_{name}", *way)
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    for a, b in zip(one, two, strict=True):
        if a["kind"] == "train":
            assert a["loss"] == pytest.approx(b["loss"], rel=2e-3)
        else:
            assert a["metrics"]["loss"] == pytest.approx(b["metrics"]["loss"], rel=1e-2)
            assert a["trained_metrics"]["loss"] == pytest.approx(b["trained_metrics"]["loss"], rel=1e-2)
    stored = [
        json.loads((tmp_path / name / "model" / "decisions.json").read_text()) for name in ("one", "two")
    ]
    assert stored[0]["temperature"] == pytest.approx(stored[1]["temperature"], rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["", "micro_batch_size: 2, "])
def test_10_14_one_two_and_four_processes_train_the_same(settings, tiny_bert, reviews, tmp_path):
    """Without a micro-batch size, too: dropout depends on it, so that the number of processes must not decide it."""
    by_count = {}
    for count in (1, 2, 4):
        config = TEXT.replace("micro_batch_size: 5, ", settings)
        config = config.format(model=tiny_bert, data=reviews, output=tmp_path / str(count))
        said = train(config, tmp_path, f"config_{count}", *(("--nproc", str(count)) if count > 1 else ()))
        by_count[count] = history(tmp_path / str(count))
        pieces = 1 if not settings else 5
        idle = f"{count - pieces} of {count} processes only evaluate: a batch of 10 is 1 micro-batch of 10"
        assert (idle in said) == (pieces < count)
    for count in (2, 4):
        for a, b in zip(by_count[1], by_count[count], strict=True):
            if a["kind"] == "train":
                assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
                assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4)
            else:
                assert b["metrics"] == pytest.approx(a["metrics"], rel=1e-5)


DISTILLED = """
version: 1
task: text-classification
teacher: {{name: {teacher}}}
model: {{name: {model}}}
distill: {{audit: "off", store: "off"}}
data: {{source: "csv:{data}", train: train.csv, eval: eval.csv, labels: [negative, positive], max_train_examples: 6}}
train: {{epochs: 2, batch_size: 6, micro_batch_size: 6, learning_rate: 1e-3, log_every_steps: 1, save_every_steps: 1}}
runtime: {{device: cpu, threads: 1}}
output: {output}
"""


def test_a_process_without_a_micro_batch_does_not_wait_for_ever(tiny_bert, reviews, tmp_path):
    """6 examples are one micro-batch: the second process has none in any step, and the loss has parts."""
    run(text_spec(tiny_bert, reviews, tmp_path / "teacher", epochs=1))
    for name, way in (("one", ()), ("two", ("--nproc", "2"))):
        config = tmp_path / f"{name}.yaml"
        config.write_text(
            DISTILLED.format(
                teacher=tmp_path / "teacher", model=tiny_bert, data=reviews, output=tmp_path / name
            )
        )
        done = subprocess.run(
            [sys.executable, "-m", "ptm", "distill", str(config), *way],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    one, two = (
        [line for line in history(tmp_path / name) if line["kind"] == "train"] for name in ("one", "two")
    )
    assert [list(line["parts"]) for line in two] == [["ce", "kd"]] * 2
    for a, b in zip(one, two, strict=True):
        assert a["parts"] == pytest.approx(b["parts"], rel=1e-5)


_EIGHT_PARTS = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {tests!r})
from helpers import run, text_spec
from ptm.objective import Supervised
loss = Supervised.loss
def in_parts(self, model, batch):
    output = loss(self, model, batch)
    parts = {{f"part{{i}}": i * output.loss_sum.detach() for i in range(8)}}
    return replace(output, parts=parts)
Supervised.loss = in_parts
run(text_spec(Path({model!r}), Path({data!r}), Path({output!r}), epochs=1, batch_size=6, micro_batch_size=6,
    max_train_examples=6, log_every_steps=1))
"""


def test_a_loss_of_eight_parts_is_logged_whole(tiny_bert, reviews, tmp_path, request):
    code = _EIGHT_PARTS.format(
        tests=str(request.config.rootpath / "tests"),
        model=str(tiny_bert),
        data=str(reviews),
        output=str(tmp_path / "r"),
    )
    in_processes(textwrap.dedent(code), 2)
    (line,) = (line for line in history(tmp_path / "r") if line["kind"] == "train")
    assert len(line["parts"]) == 8
    assert line["parts"] == pytest.approx({f"part{i}": i * line["loss"] for i in range(8)})


def in_processes(code: str, count: int) -> None:
    """Run Python code in ``count`` processes that find each other; all must end well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {**os.environ, "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        for child in children:
            _, said = child.communicate(timeout=60)
            assert child.returncode == 0, said
    finally:
        for child in children:
            child.kill()


def two_machines(config, tmp_path) -> list[str]:
    """What torchrun says that was started on each of two machines, here the same one, with two processes each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    nodes = [
        subprocess.Popen(
            [*command, "--node-rank", str(number), "-m", "ptm", *map(str, config)],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for number in range(2)
    ]
    try:
        texts = [node.communicate(timeout=240)[1] for node in nodes]
        assert [node.returncode for node in nodes] == [0, 0], texts
        return texts
    finally:
        for node in nodes:
            node.kill()


@pytest.mark.slow
def test_13_07_a_run_of_one_process_goes_on_in_four_on_two_machines(tiny_bert, reviews, tmp_path):
    """Uneven shards, resumed with --allow-drift; the record says in how many processes, and of how large batches."""
    from helpers import StopAt
    from ptm.config.load import load_config
    from ptm.errors import Interrupted, RunDirectoryError

    config = {}
    for name in ("whole", "parts"):
        config[name] = tmp_path / f"{name}.yaml"
        text = TEXT.replace("micro_batch_size: 5", "micro_batch_size: 4").replace(", threads: 1", "")
        config[name].write_text(text.format(model=tiny_bert, data=reviews, output=tmp_path / name))
    run(load_config(config["whole"], []))
    with pytest.raises(Interrupted):
        run(load_config(config["parts"], []), "new", StopAt(3))
    texts = two_machines(["finetune", config["parts"], "--resume", "--allow-drift"], tmp_path)
    assert "resumed at step 3" in texts[0] and "resumed" not in texts[1]
    whole, parts = history(tmp_path / "whole"), history(tmp_path / "parts")
    assert [line["kind"] for line in whole] == [line["kind"] for line in parts]
    for a, b in zip(whole, parts, strict=True):
        if a["kind"] == "train":
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
        else:
            assert b["metrics"] == pytest.approx(a["metrics"], rel=1e-4)
    results = json.loads((tmp_path / "parts" / "results.json").read_text())
    manifest = json.loads((tmp_path / "parts" / "manifest.json").read_text())
    assert {name: results["train"][name] for name in ("processes", "batch_size", "micro_batch_size")} == {
        "processes": 4,
        "batch_size": 10,
        "micro_batch_size": 4,
    }
    assert "runtime.processes: 1 → 4" in results["drift"] and manifest["runtime"]["processes"] == 4
    # Half of the cores for each of the two processes of a machine, not a quarter for each of all four.
    assert manifest["runtime"]["threads"] == max(1, (os.cpu_count() or 1) // 2)
    with pytest.raises(RunDirectoryError, match=r"runtime\.processes"):
        (tmp_path / "parts" / "results.json").unlink()
        run(load_config(config["parts"], []), "resume")
