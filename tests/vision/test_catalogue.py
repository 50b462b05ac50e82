"""Vision models that are listed, and what their weights state."""

import pytest
import torch
from torchvision.models import get_model_weights

from ptm.base.extras import install
from ptm.config.model_ref import ModelRef
from ptm.config.tasks import TASKS
from ptm.vision import classifier_plan, detector_plan, segmenter_plan
from ptm.vision.catalogue import choices, families
from ptm.vision.detectors import construct
from ptm.vision.packages import PACKAGES

CHOICES = {(choice.task, choice.name): choice for choice in choices()}


def test_every_image_task_has_models_each_named_once():
    assert {task for task, _ in CHOICES} == {n for n, t in TASKS.items() if t.modality == "image"}
    assert len(CHOICES) == sum(1 for _ in choices())


@pytest.mark.parametrize(
    ("task", "name", "metric"),
    [
        ("image-classification", "mobilenet_v3_small", "acc@1"),
        ("object-detection", "ssdlite320_mobilenet_v3_large", "box_map"),
        ("semantic-segmentation", "fcn_resnet50", "miou"),
    ],
)
def test_figures_are_those_of_the_default_weights(task, name, metric):
    choice, meta = CHOICES[task, name], get_model_weights(name).DEFAULT.meta
    assert choice.parameters == meta["num_params"] and choice.giga_operations == meta["_ops"]
    (figures,) = meta["_metrics"].values()
    assert choice.value == figures[metric]
    assert choice.source.startswith("torchvision ") and choice.source.endswith(
        str(get_model_weights(name).DEFAULT)
    )


def test_what_ptm_cannot_build_is_not_listed():
    names = {name for task, name in CHOICES if task == "object-detection"}
    assert "fasterrcnn_resnet50_fpn" in names and not any("rcnn" in n and n[0] in "mk" for n in names)


def test_networks_for_small_images_state_their_paper():
    choice = CHOICES["image-classification", "resnet56"]
    assert (choice.parameters, choice.value) == (853_018, 93.03) and "1512.03385" in choice.source
    assert CHOICES["image-classification", "resnet8"].value is None


def test_patterns_say_how_to_install_what_is_not_there(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    told = {family.pattern: family for family in families()}
    assert {p: f.missing for p, f in told.items()} == {
        "timm:NAME": install("timm"),
        "smp:NAME": install("unet"),
        "libreyolo:NAME": install("yolo"),
    }
    assert told["timm:NAME"].count is None and told["smp:NAME"].count > 3


def test_11_20_every_name_that_a_config_can_have_is_listed():
    patterns = [family.pattern.removesuffix("NAME") for family in families()]
    accepted = {
        "image-classification": (*classifier_plan.architectures(), *PACKAGES),
        "object-detection": detector_plan.NAMES,
        "instance-segmentation": detector_plan.MASK_NAMES,
        "semantic-segmentation": (*segmenter_plan.TORCHVISION, *segmenter_plan.SMP),
    }
    for task, names in accepted.items():
        plain = {name for name in names if not name.startswith(tuple(patterns))}
        assert plain == {name for of_task, name in CHOICES if of_task == task}, task
    small = CHOICES["instance-segmentation", detector_plan.SMALL]
    plan = detector_plan.plan_detector(ModelRef(name=detector_plan.SMALL, weights="none"), masks=True)
    with torch.device("meta"):
        built = construct(plan, 90)
    assert sum(p.numel() for p in built.parameters()) == small.parameters
