"""What a saved vision model says of itself, and what of it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ptm.config.model_ref import ModelRef
from ptm.errors import ModelError
from ptm.vision.classifier_plan import (
    ClassifierPlan,
    plan_classifier,
    stored_labels,
)
from ptm.vision.preprocessing import Preprocessing
from ptm.vision.saved import SavedClassifier, read_classifier


def plan(name: str, weights: str = "none", width: int | None = None) -> ClassifierPlan:
    return plan_classifier(ModelRef(name=name, weights=weights, width=width))


SAVED = SavedClassifier(
    architecture="resnet8",
    width=4,
    labels=("cat", "dog"),
    preprocessing=Preprocessing(
        image_size=24, resize=None, interpolation="bilinear", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)
    ),
)


def saved_run(directory: Path, **changes: Any) -> Path:
    (directory / "model").mkdir(parents=True, exist_ok=True)
    SAVED.write(directory / "model")
    path = directory / "model" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return directory


def test_a_run_or_its_model_directory_is_a_model(tmp_path: Path) -> None:
    run = saved_run(tmp_path / "run")
    assert read_classifier(run / "model") == SAVED
    for name in (run, run / "model"):
        found = plan(str(name), "default")
        assert (found.architecture, found.width, found.labels) == ("resnet8", 4, ("cat", "dog"))
        assert found.preprocessing == SAVED.preprocessing
        assert found.weights == run / "model" / "model.safetensors"
    assert stored_labels(str(run)) == ("cat", "dog")
    assert stored_labels("resnet18") is None
    assert plan(str(run), "none").labels is None


def test_directories_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such directory"):
        plan(str(tmp_path / "absent"))
    with pytest.raises(ModelError, match="no finished model"):
        plan(str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="text model"):
        plan(str(tmp_path))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"architecture": "../../etc/passwd"},
        {"architecture": ["resnet8"]},
        {"width": -1},
        {"width": True},
        {"width": 10**9},
        {"labels": ["cat", "cat"]},
        {"labels": "ab"},
        {"labels": ["cat", 3]},
        {"image_size": 0},
        {"image_size": 10**9},
        {"image_size": "24"},
        {"resize": 8},
        {"interpolation": "magic"},
        {"interpolation": []},
        {"mean": [0.1, 0.2]},
        {"mean": [0.1, 0.2, float("nan")]},
        {"mean": [0.1, 0.2, 10**400]},
        {"std": [0.1, 0.2, 0]},
    ],
)
def test_a_description_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = saved_run(tmp_path, **changes)
    with pytest.raises(ModelError) as caught:
        plan(str(run), "default")
    assert str(run) in caught.value.problems[0].where


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_description_that_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    run = saved_run(tmp_path)
    (run / "model" / "model.json").write_bytes(content)
    with pytest.raises(ModelError):
        plan(str(run), "default")
