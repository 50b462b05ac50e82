"""Issue 13, line 6: ``micro_batch_size: auto`` is found before the first step and written down."""

import json

import numpy as np
import pytest
import torch
import yaml

from helpers import Saying, StopAt, image_spec, run, text_spec, weights
from ptm.base.console import Silent
from ptm.config.load import parse_config
from ptm.errors import ConfigError, Interrupted
from ptm.experiment import micro_batch
from ptm.experiment.micro_batch import Costs, halves, largest_foreseen, largest_tried
from ptm.experiment.reproduce import reproduce
from ptm.experiment.trial import try_run


def test_13_06_sizes_are_a_batch_in_halves():
    assert halves(32) == [32, 16, 8, 4, 2, 1] and halves(1) == [1]
    assert halves(25) == [25, 13, 7, 4, 2, 1] and halves(24, least=2) == [24, 12, 6, 3, 2]


@pytest.mark.parametrize("room", [5, 100, 130, 199, 1000, 10_000])
def test_13_06_no_size_is_tried_that_is_foreseen_not_to_fit(room):
    """Ten bytes an example beside 50 of gradients, and 30 that the optimizer adds later."""
    tried = []
    found = largest_foreseen(
        halves(32), lambda size: tried.append(size) or 50 + 10 * size, Costs(fixed=50, later=30, room=room)
    )
    most = max([size for size in halves(32) if 80 + 10 * size <= room], default=1)
    assert found == most and tried == [size for size in halves(32)[::-1] if size <= most]


def test_13_06_a_size_that_takes_more_than_foreseen_is_not_taken():
    growth = {1: 10, 2: 20, 4: float("inf"), 8: 80}
    assert largest_foreseen([8, 4, 2, 1], growth.__getitem__, Costs(0, 0, 1000)) == 2


def test_13_06_on_a_gpu_falling_sizes_are_tried_until_one_fits():
    tried = []
    assert largest_tried([8, 4, 2, 1], lambda size: tried.append(size) or size <= 2) == 2 and tried == [
        8,
        4,
        2,
    ]
    assert largest_tried([8, 4, 2, 1], lambda size: False) == 1


@pytest.fixture
def memory(monkeypatch):
    """``memory(n)``: so much that n examples fit at once, of what a pass is said to take."""
    passes = []
    growth = micro_batch._growth

    def measured(session, pipeline, objective, size):
        passes.append(size)
        growth(session, pipeline, objective, size)  # it is tried all the same
        return 1000.0 * size

    def grant(examples):
        monkeypatch.setattr(micro_batch, "_growth", measured)
        monkeypatch.setattr(micro_batch, "_costs", lambda *_: Costs(fixed=0, later=0, room=1000.0 * examples))
        return passes

    return grant


@pytest.mark.slow
def test_13_06_a_run_learns_as_with_the_number_that_auto_came_to(memory, tiny_bert, reviews, tmp_path):
    passes = memory(5)
    said = Saying()
    open_ = text_spec(tiny_bert, reviews, tmp_path / "auto", micro_batch_size="auto")
    with pytest.raises(Interrupted):
        run(open_, reporter=StopAt(3))
    assert passes == [1, 2, 4]
    assert yaml.safe_load((tmp_path / "auto/config.yaml").read_text())["train"]["micro_batch_size"] == 4
    memory(100)  # another machine
    assert run(open_, "resume", said)["drift"] == []
    assert passes == [1, 2, 4] and not any("micro-batch" in line for line in said.lines)
    run(text_spec(tiny_bert, reviews, tmp_path / "four", micro_batch_size=4))
    run(text_spec(tiny_bert, reviews, tmp_path / "whole"))
    assert weights(tmp_path / "auto") == weights(tmp_path / "four") != weights(tmp_path / "whole")
    records = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("auto", "four")]
    assert records[0]["digests"]["weights"] == records[1]["digests"]["weights"]


@pytest.mark.slow
def test_13_06_what_fits_is_computed_at_once_and_the_trial_leaves_a_batch_norm_as_it_was(memory, tmp_path):
    memory(1000)
    said = Saying()
    run(image_spec(tmp_path / "auto", epochs=1, micro_batch_size="auto"), reporter=said)
    assert "micro-batch: 16 of 16 examples, which fit at once" in said.lines
    run(image_spec(tmp_path / "whole", epochs=1))
    assert weights(tmp_path / "auto") == weights(tmp_path / "whole")


@pytest.mark.slow
def test_13_06_a_distillation_counts_no_example_of_the_trial(memory, tiny_bert, reviews, tmp_path):
    from ptm.config.spec import DistillSpec, TeacherSpec

    memory(3)
    run(text_spec(tiny_bert, reviews, tmp_path / "teacher", epochs=1))
    teacher = TeacherSpec(name=str(tmp_path / "teacher"))
    results = [
        run(
            text_spec(
                tiny_bert, reviews, tmp_path / str(size), epochs=1, micro_batch_size=size,
                teacher=teacher, distill=DistillSpec(audit="warn"),
            )
        )
        for size in ("auto", 2)
    ]  # fmt: skip
    assert weights(tmp_path / "auto") == weights(tmp_path / "2")
    teacher_spec = text_spec(
        tiny_bert, reviews, tmp_path / "n", epochs=1, teacher=teacher, distill=DistillSpec(audit="warn")
    )
    assert try_run(teacher_spec).steps == 8  # whose steps are tried without a prepared store, too
    stores = [result["distill"]["store"] for result in results]
    assert [store["hits"] + store["misses"] for store in stores] == [64, 64]


@pytest.mark.slow
def test_13_06_the_pass_measures_what_a_batch_takes(tiny_bert, reviews, tmp_path, monkeypatch):
    """Without a stand-in: with all of this machine's memory the tiny batch fits; with none, one example is left."""
    said = Saying()
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1, micro_batch_size="auto"), reporter=said)
    assert "micro-batch: 8 of 8 examples, which fit at once" in said.lines
    monkeypatch.setattr(micro_batch, "free_memory", lambda: 0.0)
    said = Saying()
    run(text_spec(tiny_bert, reviews, tmp_path / "n", epochs=1, micro_batch_size="auto"), reporter=said)
    assert any(line.startswith("micro-batch: 1 of 8 examples") for line in said.lines)


def test_13_06_growth_is_what_a_large_tensor_takes(tiny_bert):
    from types import SimpleNamespace

    from ptm.training.runtime import Runtime

    class Objective:
        module, counts = None, {"used": 1.0}

        def train_batches(self, plan, epoch):
            self.counts["used"] += 1
            return iter([SimpleNamespace(to=lambda device: len(plan[0]))])

        def ask_teachers(self, size):
            return size

        def loss(self, model, size):
            return SimpleNamespace(loss_sum=(model.weight * torch.ones(size * 5_000_000)).sum())

    model = torch.nn.Linear(1, 1, bias=False)
    pipeline = SimpleNamespace(model=model, lengths=lambda split: np.array([3, 1, 2]))
    session = SimpleNamespace(runtime=Runtime(torch.device("cpu"), "fp32", 1))
    growth = micro_batch._growth(session, pipeline, Objective(), 2)
    assert 40e6 * 0.9 < growth < 40e6 * 6 and model.weight.grad is None
    assert Objective.counts == {"used": 1.0}


def test_13_06_another_word_is_refused(tmp_path):
    text = "task: text-classification\nmodel: {name: x}\ndata: {source: csv:d}\ntrain: {epochs: 1, learning_rate: 1, micro_batch_size: most}\noutput: o\nversion: 1\n"  # noqa: E501
    with pytest.raises(ConfigError, match=r"micro_batch_size"):
        parse_config(text, "c.yaml", base=tmp_path, cwd=tmp_path)


@pytest.mark.slow
def test_13_06_a_run_with_auto_is_reproduced(memory, tiny_bert, reviews, tmp_path):
    memory(3)
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1, micro_batch_size="auto"))
    memory(1000)
    again = reproduce(tmp_path / "r", tmp_path / "again", 0.0, Silent())
    assert again.verdict == "bit-identical" and weights(tmp_path / "again") == weights(tmp_path / "r")
