"""Detectors as networks: what is new, what learns, what their losses are divided by."""

import pytest
import torch

from ptm.config.model_ref import ModelRef
from ptm.errors import ModelError
from ptm.vision.detector_plan import plan_detector
from ptm.vision.detectors import anchors_of, build_detector, head_of, positives_counted

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = ("cat", "dog")


@pytest.fixture(scope="module")
def fcos():
    return build("fcos", seed=1)


def build(name, *, seed, backbone="resnet18", **ref):
    plan = plan_detector(ModelRef(name=name, backbone=backbone, weights="none", **ref))
    return build_detector(plan, LABELS, seed=seed, complete=False)[0]


@pytest.mark.slow
def test_new_weights_are_a_function_of_the_seed_and_of_nothing_else(fcos):
    with torch.random.fork_rng():
        torch.manual_seed(9)
        before = torch.get_rng_state()
        same, other = build("fcos", seed=1).state_dict(), build("fcos", seed=2).state_dict()
        assert torch.equal(torch.get_rng_state(), before)
    ours = fcos.state_dict()
    assert all(torch.equal(ours[name], same[name]) for name in ours)
    assert not torch.equal(ours["backbone.body.conv1.weight"], other["backbone.body.conv1.weight"])


def test_a_detector_from_nothing_learns_whole_and_finds_nothing_yet(fcos):
    assert all(parameter.requires_grad for parameter in fcos.parameters())
    assert fcos.head.classification_head.num_classes == len(LABELS) + 1
    plan = plan_detector(ModelRef(name="fcos", backbone="resnet18", weights="none"))
    with pytest.raises(ModelError, match="has not learned to find anything"):
        build_detector(plan, LABELS, seed=1, complete=True)


def test_the_parts_above_the_backbone(fcos):
    assert head_of(fcos) == ("head",)
    assert head_of(torch.nn.Module()) == ()


def test_the_anchors_for_the_record(fcos):
    anchors = anchors_of(fcos)
    assert set(anchors) == {"sizes", "aspect_ratios"} and len(anchors["sizes"]) == 5
    assert anchors_of(torch.nn.Module()) == {"strides": [8, 16, 32]}


@pytest.mark.slow
def test_matched_anchors_are_counted_and_the_model_is_left_as_it_was(built):
    fcos = built("fcos").model
    images = [torch.rand(3, 64, 64), torch.rand(3, 64, 64)]
    targets = [
        {"boxes": torch.tensor([[4.0, 4.0, 60.0, 60.0]]), "labels": torch.tensor([1])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    fcos.train()
    for module in fcos.modules():  # whose last map is one value
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    with positives_counted(fcos) as counts:
        fcos([images[0]], [targets[0]])
        fcos([images[1]], [targets[1]])
    assert counts[0] > 0 and counts[1] == 0
    assert "compute_loss" not in vars(fcos.head)


def test_detectors_that_give_a_mean_over_images_count_nothing():
    with positives_counted(torch.nn.Module()) as counts:
        assert counts is None


def test_a_pipeline_has_the_detector_of_its_config(built):
    pipeline = built("fcos")
    assert head_of(pipeline.model) == tuple(prefix.rstrip(".") for prefix in pipeline.head)
    assert pipeline.load_report.loaded == 0
