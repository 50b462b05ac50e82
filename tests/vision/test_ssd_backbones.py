"""SSD starts from the file of a classifier: every tensor where torchvision itself puts it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision import models as zoo
from torchvision.models.detection import ssd, ssdlite

from ptm.config.model_ref import ModelRef
from ptm.errors import ModelError
from ptm.vision.detector_plan import plan_detector
from ptm.vision.detectors import build_detector
from ptm.vision.names import IMAGENET_MEAN

CLASSIFIERS = {"ssd300_vgg16": "vgg16", "ssdlite320_mobilenet_v3_large": "mobilenet_v3_large"}


def torchvisions_own(name: str, classifier: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of the backbone as torchvision cuts the classifier, by name; what is new is left out."""
    of_classifier = {id(t) for t in [*classifier.parameters(), *classifier.buffers()]}
    if name == "ssd300_vgg16":
        body = ssd._vgg_extractor(classifier, False, 5)
    else:
        body = ssdlite._mobilenet_extractor(classifier, 6, torch.nn.BatchNorm2d)
    tensors = [*body.named_parameters(), *body.named_buffers()]
    return {f"backbone.{key}": tensor for key, tensor in tensors if id(tensor) in of_classifier}


def classifier_of(name: str) -> torch.nn.Module:
    """Without numbers, of which VGG-16 has 138 million."""
    with torch.device("meta"):
        return zoo.get_model(CLASSIFIERS[name], weights=None, num_classes=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_10_42_a_classifier_file_starts_an_ssd(name: str, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = {key: t for key, t in classifier_of(name).state_dict().items() if t.numel() < 10_000_000}
    state = {
        key: torch.rand(t.shape, generator=draw) if t.is_floating_point() else torch.tensor(7)
        for key, t in shapes.items()
    }
    ways = {
        "plain.pth": state,
        "module.pth.tar": {"epoch": 3, "state_dict": {f"module.{key}": t for key, t in state.items()}},
        "lightning.ckpt": {"state_dict": {f"model.{key}": t for key, t in state.items()}},
        "net.pth": {"net": {f"backbone.{key}": t for key, t in state.items()}, "acc": 1.0},
    }
    for file, content in ways.items() if name.startswith("ssdlite") else [("plain.pth", state)]:
        torch.save(content, tmp_path / file)
        plan = plan_detector(ModelRef(name=name, weights=str(tmp_path / file)))
        net, report, plan = build_detector(plan, ("a", "b"), seed=0, complete=False)
        own = net.state_dict()
        expected = torchvisions_own(name, classifier_of(name))
        places = {key for key in expected if own[key].shape == expected[key].shape}
        assert len(places) >= (26 if name == "ssd300_vgg16" else 190)
        assert not places & set(report.new), file
        # Each tensor of the classifier stands where torchvision has that very tensor.
        again = classifier_of(name)
        again.load_state_dict(state, strict=False, assign=True)
        for key, tensor in torchvisions_own(name, again).items():
            if key in places:
                assert torch.equal(own[key], tensor), (file, key)
        assert plan.backbone_only and plan.preprocessing.mean == IMAGENET_MEAN
        if file != "plain.pth":
            continue
        with pytest.raises(ModelError, match="not learned to find"):
            build_detector(plan_detector(ModelRef(name=name, weights=str(tmp_path / file))), ("a", "b"),
                           seed=0, complete=True)  # fmt: skip
    features = {key: tensor for key, tensor in state.items() if key.startswith("features.")}
    torch.save(features, tmp_path / "features.pth")
    plan = plan_detector(ModelRef(name=name, weights=str(tmp_path / "features.pth")))
    _, _, built = build_detector(plan, ("a", "b"), seed=0, complete=False)
    assert built.preprocessing.mean == plan.preprocessing.mean  # SSD's own
    torch.save(zoo.resnet18(num_classes=3).state_dict(), tmp_path / "other.pth")
    with pytest.raises(ModelError, match="weights of another model"):
        build_detector(plan_detector(ModelRef(name=name, weights=str(tmp_path / "other.pth"))), ("a", "b"),
                       seed=0, complete=False)  # fmt: skip
