"""Listed models as plain values."""

import dataclasses

import pytest

from ptm.models.catalogue import BYTES_A_PARAMETER, Choice, Family


def test_a_choice_is_what_is_listed_of_a_model():
    choice = Choice(task="text-classification", name="m", parameters=10, value=90.5, metric="accuracy")
    assert choice.as_dict() == {
        "task": "text-classification",
        "name": "m",
        "parameters": 10,
        "file_bytes": None,
        "giga_operations": None,
        "metric": "accuracy",
        "value": 90.5,
        "source": "",
        "here": None,
    }
    assert BYTES_A_PARAMETER == 4
    with pytest.raises(dataclasses.FrozenInstanceError):
        choice.name = "n"


def test_a_family_is_a_pattern():
    family = Family(tasks=("a", "b"), pattern="timm:NAME", example="timm:resnet18", count=3)
    assert family.as_dict() == {
        "tasks": ("a", "b"),
        "pattern": "timm:NAME",
        "example": "timm:resnet18",
        "count": 3,
        "missing": "",
    }
