"""Image classifiers by name: weights and preprocessing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision import models as zoo

from ptm.config.model_ref import ModelRef
from ptm.errors import ModelError
from ptm.vision.classifier_plan import (
    CIFAR,
    ClassifierPlan,
    plan_classifier,
)


def plan(name: str, weights: str = "none", width: int | None = None) -> ClassifierPlan:
    return plan_classifier(ModelRef(name=name, weights=weights, width=width))


def test_preprocessing_is_that_of_the_weights() -> None:
    v1, v2 = plan("resnet50", "IMAGENET1K_V1").preprocessing, plan("resnet50").preprocessing
    assert (v1.image_size, v1.resize, v2.resize) == (224, 256, 232)
    assert v1.mean == (0.485, 0.456, 0.406)
    assert plan("resnet20").preprocessing == CIFAR
    assert plan("efficientnet_b0").preprocessing.interpolation == "bicubic"
    inception = plan("inception_v3").preprocessing
    assert (inception.image_size, inception.resize, inception.mean) == (299, 342, (0.5, 0.5, 0.5))


def test_inception_normalises_once_what_torchvision_does_twice() -> None:
    inside = zoo.inception_v3(weights=None, init_weights=False, transform_input=True)
    pixels = torch.rand(2, 3, 8, 8)
    preset = zoo.Inception_V3_Weights.DEFAULT.transforms()
    mean, std = torch.tensor(preset.mean).view(1, 3, 1, 1), torch.tensor(preset.std).view(1, 3, 1, 1)
    torch.testing.assert_close(inside._transform_input((pixels - mean) / std), (pixels - 0.5) / 0.5)


def test_another_size_keeps_the_margin_and_small_images_have_none() -> None:
    own = plan("resnet18").preprocessing
    assert own.at_size(224) is own
    assert (own.at_size(112).image_size, own.at_size(112).resize) == (112, 128)
    assert own.at_size(32).resize is None
    assert CIFAR.at_size(112).resize == 128


@pytest.mark.parametrize("name", ["resent20", "resnet_50", "Resnet18"])
def test_unknown_models_are_refused_with_the_closest_names(name: str) -> None:
    with pytest.raises(ModelError, match="did you mean") as caught:
        plan(name)
    assert "resnet20" in str(caught.value) and "vit_b_16" in str(caught.value)


def test_weights_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="did you mean IMAGENET1K_V"):
        plan("resnet50", "IMAGENET1K_V3")
    with pytest.raises(ModelError, match="no pre-trained weights belong to resnet20"):
        plan("resnet20", "default")
    with pytest.raises(ModelError, match="no such file"):
        plan("resnet20", str(tmp_path / "absent.pth"))
    with pytest.raises(ModelError, match="no weights"):  # these hold no classifier
        plan("vgg16", "IMAGENET1K_FEATURES")
    with pytest.raises(ModelError, match="no width"):
        plan("resnet18", width=8)
