"""The spec: frozen, with its defaults however it is made."""

import dataclasses
from dataclasses import replace

import pytest

from config_texts import IMAGE, TEXT, changed, only, parse
from helpers import image_spec
from ptm.config.spec import BestSpec, DataSpec, DistillSpec, TeacherSpec, TrainSpec


def test_a_spec_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse(TEXT).output = "x"


def test_a_teacher_without_distill_gets_its_defaults_written_out():
    assert parse(changed("distill:", "", IMAGE)).distill == DistillSpec()


@pytest.mark.parametrize(
    ("metric", "mode"), [("loss", "min"), ("accuracy", "max"), ("f1_macro", "max"), ("mcc", "max")]
)
def test_the_metric_decides_which_evaluation_is_the_best(metric, mode):
    """10.1: without a mode, a loss is minimised."""
    assert parse(TEXT, f"best={{metric: {metric}}}").best == BestSpec(metric=metric, mode=mode)


def test_a_spec_has_its_defaults_however_it_is_made(tmp_path):
    spec = image_spec(tmp_path / "r", augment="none")
    assert TrainSpec(learning_rate=0.1, epochs=1).eval_batch_size == 64
    assert DataSpec(source="builtin:digits").augment == "none"
    assert spec.distill is None
    taught = replace(spec, teacher=TeacherSpec(name="resnet56"))
    assert taught.distill == DistillSpec()
    assert replace(taught, teacher=None, distill=None).distill is None


def test_a_forward_pass_has_a_micro_batch_of_examples_or_the_whole_batch():
    assert TrainSpec(learning_rate=0.1, epochs=1).forward_size == 32
    assert TrainSpec(learning_rate=0.1, epochs=1, batch_size=8).forward_size == 8
    assert TrainSpec(learning_rate=0.1, epochs=1, batch_size=8, micro_batch_size=3).forward_size == 3


def test_a_run_knows_its_task_its_labels_and_what_is_measured():
    spec = parse(TEXT, "data.labels=null", "data.label_type=number", "best=null", "expect={}")
    assert (spec.descriptor.name, spec.label_type.name) == ("text-classification", "number")
    assert spec.evaluation.headline == "pearson"
    assert parse(IMAGE).evaluation.headline == "accuracy"


@pytest.mark.parametrize("version", ["true", "1.0", '"1"', "2"])
def test_the_version_is_the_whole_number_one(version):
    assert parse(TEXT).version == 1
    assert only(changed("version", f"version: {version}")).what.startswith("version is ")


@pytest.mark.parametrize(
    ("bound", "valid"),
    [
        (">= 0.9", True),
        ("<1e-3", True),
        (" == 5. ", True),
        ("=> 1", False),
        (">= 1%", False),
        ("> 1_0", False),
        (">= .", False),
    ],
)
def test_a_bound_is_a_comparison_and_a_number(bound, valid):
    if valid:
        assert parse(TEXT, f"expect={{loss: '{bound}'}}").expect == {"loss": bound}
    else:
        assert only(TEXT, f"expect={{loss: '{bound}'}}").what.startswith("expect.loss is ")


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:12"])
def test_a_device(device):
    assert parse(TEXT, f"runtime.device={device}").runtime.device == device


@pytest.mark.parametrize("device", ["cuda:", "cuda:-1", "gpu", "cpu:0", "mps", "CPU"])
def test_a_device_that_is_none(device):
    assert "runtime.device is " in only(TEXT, f"runtime.device={device}").what
