"""Runs that learn from stored outputs: the same bits warm, cold and after a stop; no teacher where none is needed."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import Saying, StopAt, history, image_spec, run, text_spec, weights
from ptm.base import cache, files
from ptm.base.console import Silent
from ptm.config.load import dump_config, parse_config
from ptm.config.spec import DistillSpec, TeacherSpec
from ptm.distill import teacher as teachers
from ptm.errors import Interrupted, ModelError
from ptm.experiment.control import arm_spec
from ptm.objective import Supervised
from ptm.pipeline import task_module
from ptm.run.checkpoint import CheckpointStore

pytestmark = pytest.mark.slow  # each trains


@pytest.fixture(scope="module")
def text_teacher(tiny_bert, reviews, tmp_path_factory):
    folder = tmp_path_factory.mktemp("text_teacher") / "r"
    run(text_spec(tiny_bert, reviews, folder, epochs=1))
    return folder


@pytest.fixture(scope="module")
def image_teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image_teacher") / "r"
    run(image_spec(folder, epochs=1))
    return folder


@pytest.fixture
def make(request, tiny_bert, reviews, tmp_path, text_teacher, image_teacher):
    def make(kind, name, *, cache="cache", changes=None, **distill):
        settings = {"audit": "off", "store": str(tmp_path / cache), **distill}
        teacher = text_teacher if kind == "text" else image_teacher
        rest = {
            "teacher": TeacherSpec(name=str(teacher)),
            "distill": DistillSpec(**settings),
            **(changes or {}),
        }
        if kind == "text":
            return text_spec(tiny_bert, reviews, tmp_path / name, **rest)
        return image_spec(tmp_path / name, **rest)

    return make


@pytest.fixture
def computed(monkeypatch):
    """How many examples teachers were run on, sample and shapes included."""
    seen: list[int] = []
    original = teachers.Teacher._forward

    def forward(self, batch):
        seen.append(len(batch))
        return original(self, batch)

    monkeypatch.setattr(teachers.Teacher, "_forward", forward)
    return seen


@pytest.mark.parametrize("kind", ["text", "image"])
def test_cold_warm_and_stopped_runs_end_with_the_same_bits(kind, make, computed, tmp_path):
    cold = run(make(kind, "cold"))
    first = sum(computed)
    warm = run(make(kind, "warm"))
    assert weights(tmp_path / "cold") == weights(tmp_path / "warm")
    assert history(tmp_path / "cold") == history(tmp_path / "warm")
    size = cold["train"]["examples"] // 2
    assert first >= size * (1 if kind == "text" else 2)
    assert sum(computed) - first <= 1 + teachers.SAMPLE
    assert cold["distill"]["store"]["misses"] == size * (1 if kind == "text" else 2)
    assert warm["distill"]["store"]["misses"] == 0
    assert warm["distill"]["store"]["hit_rate"] == 1.0
    spec = make(kind, "parts", cache="another")
    with pytest.raises(Interrupted):
        run(spec, reporter=StopAt(5))
    run(spec, "resume")
    assert weights(tmp_path / "parts") == weights(tmp_path / "cold")


def test_live_outputs_give_the_same_training_up_to_rounding(make, tmp_path):
    run(make("text", "stored")), run(make("text", "live", store="off"))
    for a, b in zip(history(tmp_path / "stored"), history(tmp_path / "live"), strict=True):
        if a["kind"] == "train":
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


def test_what_was_stored_before_a_stop_is_not_computed_again(make, computed, tmp_path):
    """The signal comes within the first filling, after its second block; what was filled is not computed again."""
    spec = make("text", "r", changes={"eval_batch_size": 8})
    with pytest.raises(Interrupted, match="after step 0"):
        run(spec, reporter=StopAt(2))
    before = sum(computed)
    assert before == 1 + 2 * 8
    results = run(spec, "resume")
    assert sum(computed) - before == 1 + teachers.SAMPLE + 6 * 8
    assert results["distill"]["store"]["misses"] == 64
    run(make("text", "whole", cache="another", changes={"eval_batch_size": 8}))
    assert weights(tmp_path / "r") == weights(tmp_path / "whole")


def test_seeds_sizes_and_temperatures_share_what_is_stored(make, tmp_path):
    run(make("text", "a"))
    for name, changes, distill in (
        ("seed", {"seed": 7}, {}),
        ("batch", {"batch_size": 16}, {}),
        ("temperature", {}, {"temperature": 5.0, "kd_weight": 0.9}),
    ):
        results = run(make("text", name, changes=changes, **distill))
        assert results["distill"]["store"]["misses"] == 0


def test_views_in_rotation_need_no_teacher_later(make, computed, tmp_path):
    """Views of epochs 0 and 1; epochs 2 and 3 see the same pixels and run no teacher."""
    epochs = {"epochs": 4}
    results = run(make("image", "r", changes=epochs, views=2))
    assert results["distill"]["store"]["misses"] == 2 * 96
    assert results["distill"]["store"]["hits"] == 2 * 96
    assert results["distill"]["views"] == {"random": True, "in_rotation": 2}
    live = run(make("image", "live", changes=epochs, views=2, store="off"))
    assert live["distill"]["store"]["used"] is False
    for a, b in zip(history(tmp_path / "r"), history(tmp_path / "live"), strict=True):
        if a["kind"] == "train":
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-2)


def test_a_teacher_whose_answers_are_stored_stays_on_the_cpu_and_is_not_evaluated(make, monkeypatch):
    run(make("text", "cold"))
    monkeypatch.setattr(
        teachers.Teacher, "_to_device", lambda self: pytest.fail("the teacher was brought to the device")
    )
    import ptm.distill.evaluation

    monkeypatch.setattr(
        ptm.distill.evaluation.engine, "evaluate", _only_students(ptm.distill.evaluation.engine.evaluate)
    )
    assert run(make("text", "warm"))["teacher"]["metrics"]["accuracy"] >= 0


def _only_students(evaluate):
    def checked(pipeline, *args, **kwargs):
        assert any(p.requires_grad for p in pipeline.model.parameters())
        return evaluate(pipeline, *args, **kwargs)

    return checked


def test_a_store_that_says_something_else_is_filled_anew(make, tmp_path):
    run(make("text", "a"))
    entry = next(e for e in cache.entries(tmp_path / "cache") if e.split == "train")
    shard_file = entry.path / "fixed.logits.fp32.bin"
    numbers = np.fromfile(shard_file, dtype="<f4")
    numbers[:] = numbers[::-1] + 5
    numbers.tofile(shard_file)
    _reseal(entry.path)
    reporter = Saying()
    run(make("text", "b"), reporter=reporter)
    assert any("computed anew" in line for line in reporter.lines)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def _reseal(path):
    """Checksums that fit what stands there now, as if another program had filled it."""
    import json
    import zlib

    ends = json.loads((path / "fixed.logits.fp32.json").read_bytes())["ends"]
    content = (path / "fixed.logits.fp32.bin").read_bytes()
    sums = [zlib.crc32(content[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    np.array(sums, dtype="<u4").tofile(path / "fixed.logits.fp32.crc")


@pytest.mark.parametrize("settings", [{"store_precision": "fp16"}, {"top_k": 4}])
def test_less_exact_outputs_teach_nearly_the_same(settings, make, tmp_path):
    exact, rough = run(make("image", "exact")), run(make("image", "rough", cache="rough_cache", **settings))
    assert rough["distill"]["store"]["bytes"] < exact["distill"]["store"]["bytes"]
    a, b = (
        next(line for line in history(tmp_path / n) if line["kind"] == "train") for n in ("exact", "rough")
    )
    if "top_k" not in settings:  # a teacher one epoch old says much in the rest, which top_k spreads evenly
        assert a["parts"]["kd"] == pytest.approx(b["parts"]["kd"], rel=1e-2)
    assert a["parts"]["ce"] == pytest.approx(b["parts"]["ce"], rel=2e-2)


def test_a_control_sees_the_views_of_its_student(image_teacher, tmp_path):
    spec = image_spec(
        tmp_path / "pair",
        epochs=3,
        teacher=TeacherSpec(name=str(image_teacher)),
        distill=DistillSpec(views=2, control=True),
    )
    control = arm_spec(spec, "control", 1)
    assert (control.teacher, control.distill, control.data.views) == (None, None, 2)
    assert arm_spec(spec, "distilled", 1).data.views is None
    assert load_config_text(dump_config(control)) == control
    pipeline = task_module(control.task).build(
        control, task_module(control.task).load_data(control), model=control.model.ref(), complete=False
    )
    plan = [np.arange(4)]
    first, third = (
        next(iter(Supervised(pipeline, control.data.views).train_batches(plan, epoch))).batch.inputs["pixels"]
        for epoch in (0, 2)
    )
    other = next(iter(Supervised(pipeline, control.data.views).train_batches(plan, 1))).batch.inputs["pixels"]
    assert torch.equal(first, third)
    assert not torch.equal(first, other)


def load_config_text(text):
    return parse_config(text, "config.yaml", base=Path.cwd(), cwd=Path.cwd())


def test_several_teachers_are_averaged(make, text_teacher, tiny_bert, reviews, tmp_path):
    run(text_spec(tiny_bert, reviews, tmp_path / "other", epochs=1, seed=5))
    both = TeacherSpec(name=str(text_teacher), others=(str(tmp_path / "other"),), shares=(1.0, 3.0))
    results = run(make("text", "r", changes={"teacher": both}))
    assert results["teacher"]["others"][0]["name"] == str(tmp_path / "other")
    assert len(results["distill"]["store"]["names"]) == 2
    assert torch.isfinite(torch.tensor(results["metrics"]["loss"]))


def stores_left(root):
    """Stores below ``root`` after removing all that nobody uses; a lock of this process counts like any other's."""
    assert cache.entries(root)
    cache.prune(root, 0)
    return cache.entries(root)


def test_a_finished_run_leaves_no_store_locked(make, tmp_path):
    run(make("text", "r"))
    assert stores_left(tmp_path / "cache") == []


class FailAt(Silent):
    """Raises when a line begins so."""

    def __init__(self, start):
        self._start = start

    def say(self, line):
        if line.startswith(self._start):
            raise ModelError("refused", where=line)


def test_an_interrupted_or_refused_run_leaves_no_store_locked(make, text_teacher, tmp_path):
    with pytest.raises(Interrupted):
        run(make("text", "stopped"), reporter=StopAt(5))
    assert stores_left(tmp_path / "cache") == []
    second = shutil.copytree(text_teacher / "model", tmp_path / "second")
    pair = TeacherSpec(name=str(text_teacher), others=(str(second),))
    with pytest.raises(ModelError, match="refused"):
        run(make("text", "refused", changes={"teacher": pair}), reporter=FailAt(f"teacher: {second}"))
    assert stores_left(tmp_path / "cache") == []


@pytest.fixture
def failing(monkeypatch):
    """Let a function of os fail from its n-th call on that is for a file whose name ends so."""

    def install(name, ending, at):
        original, seen = getattr(os, name), []

        def call(descriptor, *words):
            if str(Path(f"/proc/self/fd/{descriptor}").readlink()).endswith(ending):
                seen.append(descriptor)
                if len(seen) >= at:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(descriptor, *words)

        monkeypatch.setattr(os, name, call)

    return install


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "function", "ending", "at"),
    [
        ("text", "posix_fallocate", ".bin", 1),
        ("text", "posix_fallocate", ".crc", 1),
        ("text", "pwrite", ".bin", 2),
        ("text", "pwrite", ".crc", 3),
        ("image", "posix_fallocate", ".bin", 2),  # in the second epoch
        ("image", "pwrite", ".bin", 8),
    ],
)
def test_15_13_on_a_full_disk_the_teacher_is_asked_live(kind, function, ending, at, make, failing, tmp_path):
    live, changes = Saying(), {"eval_batch_size": 16}
    run(make(kind, "live", store="off", changes=changes), reporter=live)
    failing(function, ending, at)
    reporter = Saying()
    results = run(make(kind, "r", changes=changes), reporter=reporter)
    (warning,) = [line for line in reporter.lines if line.startswith("warning: outputs are stored no longer")]
    assert "No space left" in warning
    store = results["distill"]["store"]
    assert not store["used"] and "No space left" in store["reason"]
    for a, b in zip(history(tmp_path / "r"), history(tmp_path / "live"), strict=True):
        if a["kind"] == "train":
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


@pytest.mark.slow
def test_15_13_on_a_full_disk_a_frozen_backbone_is_run_live(
    tiny_bert, reviews, failing, monkeypatch, tmp_path
):
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    frozen = {"freeze": "backbone", "epochs": 1}
    run(text_spec(tiny_bert, reviews, tmp_path / "stored", **frozen))
    failing("posix_fallocate", ".bin", 1)
    reporter = Saying()
    run(text_spec(tiny_bert, reviews, tmp_path / "r", **frozen), reporter=reporter)
    assert len([line for line in reporter.lines if "stored no longer" in line]) == 1
    for a, b in zip(history(tmp_path / "r"), history(tmp_path / "stored"), strict=True):
        if a["kind"] == "train":
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


def test_15_13_a_store_leaves_room_for_the_run_itself(make, monkeypatch, tmp_path):
    """Its 64 logits take 512 bytes, and that much is free, but not besides checkpoints and model."""
    changes = {"epochs": 3}
    asked: list[int] = []
    require = CheckpointStore.require_space
    monkeypatch.setattr(
        CheckpointStore, "require_space", lambda *words: asked.append(words[1].bytes) or require(*words)
    )
    run(make("text", "r", changes=changes))
    for free, used in ((round(asked[0] * 1.05), False), (asked[0] * 2, True)):
        monkeypatch.setattr(files, "free_bytes", lambda path, free=free: free)
        reporter = Saying()
        results = run(make("text", f"r{used}", cache=f"cache{used}", changes=changes), reporter=reporter)
        assert results["distill"]["store"]["used"] is used
        assert any("do not fit in" in line for line in reporter.lines) is not used
