"""The JSON Schema of a config, and each key's type in words."""

import dataclasses

import pytest

from ptm.config import schema
from ptm.config import spec as spec_module
from ptm.config.load import json_schema
from ptm.config.spec import RunSpec


def test_the_json_schema_describes_every_key_and_no_other():
    schema = json_schema()
    sections = [schema, *schema["$defs"].values()]
    assert all(section["additionalProperties"] is False for section in sections)
    assert all(field["description"] for section in sections for field in section["properties"].values())
    assert list(schema["properties"]) == [field.name for field in dataclasses.fields(RunSpec)]
    assert schema["$defs"]["TrainSpec"]["properties"]["learning_rate"]["exclusiveMinimum"] == 0
    assert schema["required"] == ["version", "task", "model", "data", "train", "output"]


def test_a_key_a_section_an_item_and_what_is_none():
    assert schema.fragment(("train", "epochs"))["description"] == "Passes over the training data."
    assert schema.fragment(("model", "shape", "heads"))["default"] == 4
    assert schema.fragment(("data", "labels", "7"))["type"] == "string"
    assert schema.fragment(("expect", "anything"))["type"] == "string"
    for path in (
        ("nothing",),
        ("train", "nothing"),
        ("distill", "layers", "0", "2"),
        ("data", "labels", "x"),
        ("train", "epochs", "0"),
    ):
        assert schema.fragment(path) is None


def test_keys_of_sections_and_of_values():
    assert schema.keys_of(("best",)) == ("metric", "mode")
    assert schema.keys_of(("model", "adapter"))[0] == "method"
    assert schema.keys_of(("output",)) == schema.keys_of(("nothing",)) == ()
    assert schema.sections() == (
        "model",
        "teacher",
        "distill",
        "data",
        "train",
        "best",
        "decisions",
        "generate",
        "runtime",
    )


def test_what_a_section_cannot_do_without():
    assert schema.required(("train",)) == ("learning_rate",)
    assert schema.required(()) == ("version", "task", "model", "data", "train", "output")
    assert schema.required(("runtime",)) == schema.required(("output",)) == ()


def test_every_field_of_every_section_is_a_key():
    keys = set(schema.all_keys())
    for section in schema.sections():
        hint = next(f for f in dataclasses.fields(RunSpec) if f.name == section)
        spec = getattr(spec_module, str(hint.type).partition(" ")[0])
        assert {(section, f.name) for f in dataclasses.fields(spec)} <= keys


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("train.epochs", {"integer", "null"}),
        ("train.learning_rate", {"number", "integer"}),
        ("model.freeze", {"string", "array"}),
        ("version", {"integer"}),
        ("teacher", {"object", "null"}),
        ("runtime.compile", {"boolean"}),
    ],
)
def test_the_types_that_a_key_takes(path, kinds):
    here = schema.fragment(tuple(path.split(".")))
    every = {"string", "number", "integer", "boolean", "null", "array", "object"}
    assert {kind for kind in every if schema.accepts(here, kind)} == kinds


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("best.mode", "one of max, min, or null"),
        ("train.warmup", "a number from 0 to 1"),
        ("train.layer_decay", "a number above 0 and of at most 1, or null"),
        ("data.mean", "a list of numbers, or null"),
        ("data.label_map", "names, each with a text, or null"),
        ("data.mask_values", "a list of whole numbers, or null"),
        ("model.layers", "every_other, a list of whole numbers, or null"),
        ("distill.layers", "a list of lists of 2 whole numbers, or null"),
        ("distill.layers.0", "a list of 2 whole numbers"),
        ("distill.layers.0.1", "a whole number"),
        ("runtime.device", "a text such as auto or cpu or cuda or cuda:0"),
        ("version", "1"),
        ("model.freeze", "one of none, backbone, embeddings, or a list of texts"),
    ],
)
def test_what_may_stand_there_in_words(path, words):
    assert schema.phrase(schema.fragment(tuple(path.split(".")))) == words


def test_fixed_words():
    assert schema.choices(schema.fragment(("model", "freeze"))) == ("none", "backbone", "embeddings")
    assert schema.choices(schema.fragment(("model", "layers"))) == ("every_other",)
    assert schema.choices(schema.fragment(("output",))) == ()


@pytest.mark.parametrize(
    ("path", "numbers", "others"),
    [
        ("train.epochs", [1, 7], [0, -1, 1.5, 0.1]),
        ("train.learning_rate", [1, 2e-5], [0, -0.1]),
        ("train.warmup", [0, 0.5, 1], [-0.1, 1.1]),
        ("train.layer_decay", [0.5, 1], [0, 1.01]),
        ("train.seed", [0, 2**32 - 1], [2**32, -1]),
        ("generate.length_penalty", [-1.5], [float("inf"), float("nan")]),
        ("output", [], [1, 0.5]),
    ],
)
def test_the_numbers_that_a_key_takes(path, numbers, others):
    here = schema.fragment(tuple(path.split(".")))
    assert all(schema.takes(here, number) for number in numbers)
    assert not any(schema.takes(here, number) for number in others)
