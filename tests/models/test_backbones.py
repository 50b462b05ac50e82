"""A file of a backbone starts a larger network, whoever wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision import models as zoo

import detection_samples
import segmentation_samples
from helpers import image_spec, run
from ptm.config.model_ref import ModelRef
from ptm.config.spec import ModelSpec
from ptm.errors import ModelError
from ptm.models.weights import read_weights
from ptm.vision.classifier_plan import plan_classifier
from ptm.vision.classifiers import build_classifier
from ptm.vision.detector_plan import plan_detector
from ptm.vision.detectors import build_detector
from ptm.vision.segmenter_plan import plan_segmenter
from ptm.vision.segmenters import build_segmenter

LABELS = ("bar", "disc")


def resnet18() -> dict[str, torch.Tensor]:
    return zoo.resnet18(weights=None).state_dict()


@pytest.fixture(params=["plain", "backbone.", "model.encoder.", "ckpt", "pth.tar", "net"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same ResNet-18 as several programs write it."""
    state, name, content = resnet18(), "w.pth", None
    if request.param in ("backbone.", "model.encoder."):
        state = {request.param + key: tensor for key, tensor in state.items() if not key.startswith("fc.")}
    if request.param == "ckpt":  # Lightning's
        name, content = "last.ckpt", {"epoch": 3, "state_dict": {f"net.{k}": t for k, t in state.items()}}
    if request.param == "pth.tar":
        name, content = "model_best.pth.tar", {"arch": "resnet18", "state_dict": state}
    if request.param == "net":
        content = {"net": {f"module.{k}": t for k, t in state.items()}, "acc": 93.0}
    torch.save(content or state, tmp_path / name)
    return tmp_path / name


def weight(path: Path) -> torch.Tensor:
    state = read_weights(path)
    return next(tensor for name, tensor in state.items() if name.endswith("layer3.0.conv1.weight"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fcos", "fasterrcnn", "retinanet"])
def test_10_42_a_backbone_file_starts_a_detector(name: str, file: Path) -> None:
    plan = plan_detector(ModelRef(name=name, backbone="resnet18", weights=str(file)))
    net, report, plan = build_detector(plan, LABELS, seed=0, complete=False)
    body = net.backbone.body
    assert torch.equal(body.layer3[0].conv1.weight, weight(file))
    assert plan.backbone_only and plan.frozen_eps == 1e-5 and type(body.bn1).__name__ == "FrozenBatchNorm2d"
    assert all(n.startswith(("backbone.fpn.", "rpn.", "roi_heads.", "head.")) for n in report.new)
    with pytest.raises(ModelError, match="not learned to find"):
        again = plan_detector(ModelRef(name=name, backbone="resnet18", weights=str(file)))
        build_detector(again, LABELS, seed=0, complete=True)


@pytest.mark.slow
def test_10_42_a_backbone_file_starts_a_segmenter(file: Path) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    plan = plan_segmenter(ModelRef(name="smp:unet", backbone="resnet18", weights=str(file)))
    net, report = build_segmenter(plan, 3, seed=0, complete=False, keep_head=False)
    assert torch.equal(net.encoder.layer3[0].conv1.weight, weight(file))
    assert all(n.startswith(("decoder.", "segmentation_head.")) for n in report.new)
    with pytest.raises(ModelError, match="not learned to segment"):
        build_segmenter(plan, 3, seed=0, complete=True, keep_head=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["moco", "head"])
def test_10_42_encoders_of_other_programs_beside_what_is_not_theirs(kind: str, tmp_path: Path) -> None:
    """MoCo's checkpoint has the network twice; an encoder may stand beside a head of its own."""
    state = {name: tensor for name, tensor in resnet18().items() if not name.startswith("fc.")}
    if kind == "moco":
        named = {f"module.encoder_q.{name}": tensor for name, tensor in state.items()}
        named |= {f"module.encoder_k.{name}": torch.zeros_like(tensor) for name, tensor in state.items()}
        content = {"epoch": 200, "state_dict": named | {"module.queue": torch.zeros(128, 16)}}
    else:
        content = {f"encoder.{name}": t for name, t in state.items()} | {"head.weight": torch.zeros(3, 512)}
    torch.save(content, path := tmp_path / "w.pth.tar")
    detector, _, plan = build_detector(
        plan_detector(ModelRef(name="fcos", backbone="resnet18", weights=str(path))),
        LABELS,
        seed=0,
        complete=False,
    )
    classifier, report = build_classifier(
        plan_classifier(ModelRef(name="resnet18", weights=str(path))),
        2,
        image_size=32,
        seed=0,
        complete=False,
    )
    assert plan.backbone_only and set(report.new) == {"fc.weight", "fc.bias"}
    for network in (detector.backbone.body, classifier):
        assert torch.equal(network.layer3[0].conv1.weight, state["layer3.0.conv1.weight"])


@pytest.mark.slow
def test_10_42_a_backbone_file_starts_a_classifier(file: Path) -> None:
    plan = plan_classifier(ModelRef(name="resnet18", weights=str(file)))
    net, report = build_classifier(plan, 3, image_size=64, seed=0, complete=False)
    assert torch.equal(net.layer3[0].conv1.weight, weight(file))
    assert report.new == ("fc.weight", "fc.bias")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("segmenter", "classifier"),
    [("lraspp_mobilenet_v3_large", "mobilenet_v3_large"), ("deeplabv3_resnet50", "resnet50")],
)
def test_10_42_torchvisions_segmenters_start_from_its_classifiers(
    segmenter: str, classifier: str, tmp_path: Path
) -> None:
    source = zoo.get_model(classifier, weights=None)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    plan = plan_segmenter(ModelRef(name=segmenter, weights=str(tmp_path / "w.pth")))
    net, report = build_segmenter(plan, 3, seed=0, complete=False, keep_head=False)
    ours = [t for n, t in net.state_dict().items() if n.startswith("backbone.") and t.ndim == 4]
    theirs = [t for n, t in source.state_dict().items() if t.ndim == 4][: len(ours)]
    assert len(ours) > 40 and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert all(n.startswith(("classifier.", "aux_classifier.")) for n in report.new)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet10t", "convnext_atto", "regnety_002"])
def test_10_42_a_timm_classifier_starts_an_encoder(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    pytest.importorskip("segmentation_models_pytorch")
    source = timm.create_model(name, pretrained=False).state_dict()
    torch.save(source, tmp_path / "w.pth")
    plan = plan_segmenter(ModelRef(name="smp:fpn", backbone=f"timm:{name}", weights=str(tmp_path / "w.pth")))
    net, report = build_segmenter(plan, 3, seed=0, complete=False, keep_head=False)
    own = [tensor for tensor in net.encoder.state_dict().values() if tensor.ndim == 4]
    filters = [tensor for tensor in source.values() if tensor.ndim == 4]
    assert all(any(torch.equal(one, other) for other in filters if one.shape == other.shape) for one in own)
    assert all(n.startswith(("decoder.", "segmentation_head.")) for n in report.new)


@pytest.mark.slow
def test_10_42_an_earlier_classification_run_starts_both(tmp_path: Path) -> None:
    first = image_spec(tmp_path / "first", name="resnet18", width=None, epochs=1, image_size=32)
    run(first)
    weights = str(tmp_path / "first")
    plan = plan_detector(ModelRef(name="fcos", backbone="resnet18", weights=weights))
    net, _, _ = build_detector(plan, LABELS, seed=0, complete=False)
    trained = read_weights(tmp_path / "first")["layer3.0.conv1.weight"]
    assert torch.equal(net.backbone.body.layer3[0].conv1.weight, trained)
    plan = plan_segmenter(ModelRef(name="smp:unet", backbone="resnet18", weights=weights))
    net, _ = build_segmenter(plan, 3, seed=0, complete=False, keep_head=False)
    assert torch.equal(net.encoder.layer3[0].conv1.weight, trained)


@pytest.mark.slow
def test_10_42_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(zoo.mobilenet_v2(weights=None).state_dict(), tmp_path / "w.pth")
    plan = plan_detector(ModelRef(name="fcos", backbone="resnet18", weights=str(tmp_path / "w.pth")))
    with pytest.raises(ModelError, match="weights of another model"):
        build_detector(plan, LABELS, seed=0, complete=False)


@pytest.mark.slow
def test_10_16_averaged_weights_beside_the_others_are_mentioned(tmp_path: Path) -> None:
    one, other = resnet18(), resnet18()
    torch.save({"state_dict": one, "state_dict_ema": other}, tmp_path / "w.pth")
    plan = plan_classifier(ModelRef(name="resnet18", weights=str(tmp_path / "w.pth")))
    net, report = build_classifier(plan, 3, image_size=64, seed=0, complete=False)
    assert torch.equal(net.conv1.weight, one["conv1.weight"])
    assert "state_dict_ema as well, which was not used" in str(report)
    torch.save({"state_dict_ema": other}, tmp_path / "w.pth")
    net, report = build_classifier(plan, 3, image_size=64, seed=0, complete=False)
    assert torch.equal(net.conv1.weight, other["conv1.weight"]) and report.beside == ()


@pytest.mark.slow
def test_10_42_both_tasks_train_from_a_file(tmp_path: Path, voc_folder: Path, pairs_folder: Path) -> None:
    torch.save(resnet18(), tmp_path / "w.pth")
    model = {"weights": str(tmp_path / "w.pth")}
    detector = detection_samples.spec_of(voc_folder, "fcos", model=model, train={"epochs": 1})
    assert run(detector.__class__(**{**detector.__dict__, "output": str(tmp_path / "d")}))["status"] == "done"
    unet = ModelSpec(name="smp:unet", backbone="resnet18", **model)
    chosen = segmentation_samples.spec(pairs_folder, unet, output=tmp_path / "s")
    assert run(chosen)["status"] == "done"


@pytest.fixture
def voc_folder(tmp_path: Path) -> Path:
    from tiny.object_detection import write_voc

    return write_voc(tmp_path / "voc", train=4, val=2)


@pytest.fixture
def pairs_folder(tmp_path: Path) -> Path:
    from tiny.mask_samples import write_masks

    return write_masks(tmp_path / "pairs")
