"""Segmentation networks with published weights, weights of a backbone, weights of a file."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision import models as zoo

from ptm.config.model_ref import ModelRef
from ptm.config.spec import ModelSpec
from ptm.errors import ModelError
from ptm.vision import backbones, segmenter_plan, segmenters
from segmentation_samples import LRASPP, built, spec


@pytest.mark.slow
@pytest.mark.parametrize("name", segmenter_plan.SMP)
def test_networks_of_smp_give_a_score_a_pixel(name):
    plan = segmenter_plan.plan_segmenter(ModelRef(name=name, weights="none"))
    net, report = segmenters.build_segmenter(plan, 3, seed=0, complete=False, keep_head=False)
    with torch.inference_mode():
        assert net.eval()(torch.zeros(1, 3, 128, 160)).shape == (1, 3, 128, 160)
    assert report.source == "random start"
    names = [n for n, _ in net.named_parameters()]
    assert all(any(n.startswith(prefix) for n in names) for prefix in segmenters.head_of(name))


def published(monkeypatch, tmp_path, name: str, state: dict) -> None:
    """Puts weights where torch keeps what it has fetched, under a name without a digest."""
    monkeypatch.setenv("PTM_OFFLINE", "1")
    torch.save(state, tmp_path / "published.pth")
    monkeypatch.setattr(backbones, "fetch", lambda url: tmp_path / "published.pth")


@pytest.mark.slow
def test_published_weights_keep_their_head_for_their_own_labels(pairs, monkeypatch, tmp_path):
    name = "lraspp_mobilenet_v3_large"
    source = zoo.get_model(name, weights=None, weights_backbone=None, num_classes=21)
    published(monkeypatch, tmp_path, name, source.state_dict())
    plan = segmenter_plan.plan_segmenter(ModelRef(name=name))
    assert plan.labels[:2] == ("__background__", "aeroplane") and plan.image_size == 520
    net, report = segmenters.build_segmenter(plan, 21, seed=0, complete=True, keep_head=True)
    assert report.new == () and torch.equal(
        net.classifier.low_classifier.weight, source.classifier.low_classifier.weight
    )
    pipeline = built(spec(pairs, ModelSpec(name=name)))
    assert {n.rsplit(".", 1)[0] for n in pipeline.load_report.new} == set(segmenters.last_layers(name))
    again, other = built(spec(pairs, ModelSpec(name=name))), built(spec(pairs, ModelSpec(name=name), seed=7))
    heads = [p.model.classifier.low_classifier.weight for p in (pipeline, again, other)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


@pytest.mark.slow
def test_a_residual_backbone_takes_the_weights_of_a_classifier(monkeypatch, tmp_path):
    source = zoo.resnet18(weights=None)
    published(monkeypatch, tmp_path, "resnet18", source.state_dict())
    plan = segmenter_plan.plan_segmenter(ModelRef(name="smp:unet"))
    assert plan.backbone == "resnet18" and plan.weights_of_backbone
    net, report = segmenters.build_segmenter(plan, 2, seed=0, complete=False, keep_head=False)
    assert torch.equal(net.encoder.layer3[0].conv1.weight, source.layer3[0].conv1.weight)
    assert all(n.startswith(("decoder.", "segmentation_head.")) for n in report.new) and report.new
    with pytest.raises(ModelError, match="not learned to segment"):
        segmenters.build_segmenter(plan, 2, seed=0, complete=True, keep_head=True)


def test_weights_of_a_whole_network_from_a_file(pairs, finished, tmp_path):
    state = load_file(finished / "model" / "model.safetensors")
    save_file(state, tmp_path / "w.safetensors")
    chosen = spec(pairs, ModelSpec(name=LRASPP.name, weights=str(tmp_path / "w.safetensors")))
    pipeline = built(chosen, complete=True)
    assert torch.equal(
        pipeline.model.classifier.low_classifier.weight, state["classifier.low_classifier.weight"]
    )
