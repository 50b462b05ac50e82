"""Detectors by name."""

import json
import sys
from dataclasses import replace

import pytest

from detection_samples import make, saved, spec_of
from ptm.config.model_ref import ModelRef
from ptm.errors import ConfigError, MissingDownload, ModelError
from ptm.vision import classifier_plan, detection, detector_plan, detectors

pytestmark = pytest.mark.usefixtures("one_thread")


def test_missing_downloads_are_told(voc, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("PTM_OFFLINE", "1")
    (problem,) = detection.missing(
        spec_of(voc, model={"name": "ssd300_vgg16", "backbone": None, "weights": "default"})
    )
    assert "ssd300_vgg16_coco" in str(problem)
    (problem,) = detection.missing(spec_of(voc, model={"weights": "default"}))
    assert "resnet18" in str(problem)
    assert detection.missing(spec_of(voc)) == []
    with pytest.raises(MissingDownload):
        make(spec_of(voc, model={"weights": "default"}))


@pytest.mark.parametrize(
    ("changes", "error", "what"),
    [
        ({"model": {"name": "yolo9"}}, ModelError, "no detector 'yolo9'"),
        ({"model": {"name": "fcos_resnet50_fp"}}, ModelError, "did you mean fcos_resnet50_fpn"),
        ({"model": {"backbone": "resnet19"}}, ModelError, "no backbone 'resnet19'"),
        ({"model": {"name": "ssd300_vgg16"}}, ModelError, "has no backbone to choose"),
        ({"model": {"weights": "COCO_V1"}}, ModelError, "no weights 'COCO_V1'"),  # not with ResNet-18
        ({"model": {"weights": "nothing.pth"}}, ModelError, "there is no such file"),
        (
            {"model": {"name": "ssd300_vgg16", "backbone": None}},
            ModelError,
            "looks at images of 300x300 only",
        ),
        (
            {"model": {"name": "libreyolo:yolox-n", "backbone": None}, "data": {"image_size": 40}},
            ModelError,
            "40 pixels",
        ),
        (
            {"model": {"name": "libreyolo:yolox-n", "backbone": None, "weights": "default"}},
            ModelError,
            "can be fetched by name",
        ),
        ({"model": {"name": "libreyolo:yolox-q"}}, ModelError, "did you mean libreyolo:yolox-"),
        ({"data": {"longest_side": 16}}, ConfigError, "may not be longer than 16"),
        ({"data": {"augment": "trivial"}}, ConfigError, "which boxes cannot follow"),
        ({"train": {"label_smoothing": 0.1}}, ConfigError, "no label smoothing"),
    ],
)
def test_what_is_refused(voc, changes, error, what):
    with pytest.raises(error, match=what):
        make(spec_of(voc, **changes))


def test_yolox_without_its_package_says_how_to_get_it(voc, monkeypatch):
    monkeypatch.setitem(sys.modules, "libreyolo", None)
    for name in [name for name in sys.modules if name.startswith("libreyolo.") or name == "ptm.vision.yolo"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModelError, match=r"pip install 'libreyolo"):
        make(spec_of(voc, model={"name": "libreyolo:yolox-n", "backbone": None}))


@pytest.mark.slow
def test_a_strange_description_and_another_tasks_model_are_refused(built, tmp_path):
    folder = saved(built("fcos"), tmp_path / "m")
    content = json.loads((folder / "model.json").read_text())
    assert content["anchors"]["sizes"] == [[8], [16], [32], [64], [128]]
    with pytest.raises(ModelError, match="task is 'object-detection'"):
        classifier_plan.plan_classifier(ModelRef(name=str(folder)))
    for key, value in (
        ("architecture", "fcos_resnet51"),
        ("backbone", "../x"),
        ("frozen_eps", "0"),
        ("labels", ["a", "a"]),
        ("image_size", 0),
        ("longest_side", True),
        ("std", [1, 1, 0]),
        ("format", 2),
    ):
        (folder / "model.json").write_text(json.dumps({**content, key: value}))
        with pytest.raises(ModelError):
            detector_plan.plan_detector(ModelRef(name=str(folder)))


@pytest.mark.slow
def test_the_improved_versions_and_all_names_can_be_planned():
    for name in set(detector_plan.NAMES) - set(detector_plan.YOLOX):
        plan = detector_plan.plan_detector(ModelRef(name=name))
        assert plan.weights is not None
        assert not plan.backbone_only
        assert plan.outputs[1] == "person"
    plan = detector_plan.plan_detector(ModelRef(name="fasterrcnn_resnet50_fpn_v2", weights="none"))
    model = detectors.construct(replace(plan, preprocessing=replace(plan.preprocessing, image_size=64)), 3)
    assert model.roi_heads.box_predictor.cls_score.out_features == 4
