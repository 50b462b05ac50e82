"""Segmentation networks by name."""

from __future__ import annotations

import json
import sys

import pytest

from ptm.base.extras import install
from ptm.config.model_ref import ModelRef
from ptm.config.spec import ModelSpec
from ptm.errors import ModelError
from ptm.vision import segmentation, segmenter_plan
from segmentation_samples import spec


def test_missing_weights_are_told_with_a_cure(monkeypatch, tmp_path, pairs):
    monkeypatch.setenv("PTM_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name, file in (("deeplabv3_resnet50", "deeplabv3_resnet50_coco"), ("smp:unet", "resnet18-")):
        (problem,) = segmentation.missing(spec(pairs, ModelSpec(name=name)))
        assert name in problem.where and file in problem.cure and "--set model.weights=none" in problem.cure
    assert segmentation.missing(spec(pairs)) == []


@pytest.mark.parametrize(
    ("model", "message", "cure"),
    [
        ({"name": "deeplab_resnet50"}, "no segmentation network", "deeplabv3_resnet50"),
        ({"name": "smp:unett"}, "no segmentation network", "smp:unet"),
        ({"name": "smp:unet", "backbone": "resnet81"}, "no backbone 'resnet81'", "resnet18"),
        ({"name": "fcn_resnet50", "backbone": "resnet18"}, "no backbone to choose", "smp:deeplabv3plus"),
        ({"name": "smp:unet", "backbone": "vgg11"}, "no weights 'default'", "model.weights=none"),
        ({"name": "smp:unet", "weights": "nowhere/w.pth"}, "no such file", "model.weights"),
        ({"name": "fcn_resnet50", "weights": "IMAGENET1K_V1"}, "no weights 'IMAGENET1K_V1'", ""),
    ],
)
def test_what_there_is_not_is_refused_with_a_cure(model, message, cure):
    with pytest.raises(ModelError, match=message) as caught:
        segmenter_plan.plan_segmenter(ModelRef(**model))
    assert cure in caught.value.problems[0].cure


def test_without_smp_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ModelError, match="not installed") as caught:
        segmenter_plan.plan_segmenter(ModelRef(name="smp:unet"))
    assert install("unet") in caught.value.problems[0].cure


@pytest.mark.slow
def test_damaged_descriptions_are_refused(finished, tmp_path):
    content = json.loads((finished / "model" / "model.json").read_text())
    for change in (
        {"mask_values": [0, 0, 1]},
        {"whole": 1},
        {"labels": ["a"]},
        {"task": "image-classification"},
    ):
        (tmp_path / "model.json").write_text(json.dumps(content | change))
        (tmp_path / "model.safetensors").write_bytes(b"")
        with pytest.raises(ModelError, match=next(iter(change))):
            segmenter_plan.plan_segmenter(ModelRef(name=str(tmp_path)))
