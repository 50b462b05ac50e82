"""What loaders are told of the model and of its teachers."""

import dataclasses

import pytest
from pydantic import ValidationError

from ptm.config.model_ref import ModelRef
from ptm.config.model_sections import AdapterSpec, DistillSpec, ModelSpec, ShapeSpec, TeacherSpec

MODEL = ModelSpec(
    name="m",
    shape=ShapeSpec(layers=2),
    tokenizer="t",
    vocabulary=100,
    decoder="d",
    backbone="b",
    weights="w.pth",
    revision="r",
    width=8,
    layers=(0, 3),
)
TEACHER = TeacherSpec(
    name="big",
    weights="w.pth",
    revision="r",
    width=8,
    labels=("a", "b"),
    mean=(0.1, 0.2, 0.3),
    std=(1.0, 1.0, 1.0),
    image_size=64,
    max_length=32,
    others=("second", "third"),
    shares=(2.0, 1.0, 1.0),
)


@pytest.mark.parametrize(("section", "ref"), [(MODEL, MODEL.ref()), (TEACHER, TEACHER.refs()[0])])
def test_a_loader_is_told_all_that_a_section_says_of_the_same_name(section, ref):
    shared = {f.name for f in dataclasses.fields(section)} & {f.name for f in dataclasses.fields(ModelRef)}
    assert len(shared) >= 9
    for name in shared:
        assert getattr(ref, name) == getattr(section, name) is not None


def test_other_teachers_share_labels_but_read_what_their_own_weights_say():
    first, *others = TEACHER.refs()
    assert [ref.name for ref in (first, *others)] == ["big", "second", "third"]
    assert {ref.role for ref in (first, *others)} == {"teacher"} and MODEL.ref().role != "teacher"
    for ref in others:
        assert ref == ModelRef(role="teacher", name=ref.name, labels=("a", "b"))


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (ModelSpec, {"name": ""}),
        (ModelSpec, {"name": "m", "vocabulary": 49}),
        (ModelSpec, {"name": "m", "layers": ("first",)}),
        (ShapeSpec, {"dropout": 1.0}),
        (ShapeSpec, {"heads": 0}),
        (AdapterSpec, {"alpha": 0.0}),
        (AdapterSpec, {"rank": True}),
        (DistillSpec, {"temperature": 0.0}),
        (DistillSpec, {"top_k": 1}),
        (DistillSpec, {"kd_weight": float("nan")}),
        (DistillSpec, {"layers": ((1, 2, 3),)}),
        (TeacherSpec, {"name": "t", "max_length": 1}),
    ],
)
def test_values_out_of_their_range_are_refused(section, values):
    with pytest.raises(ValidationError):
        section(**values)
