"""What a convolutional network computes on the way, by name."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision import models as zoo

from ptm.vision import features
from ptm.vision.resnet_cifar import ResNetCifar

STAGES = ("hidden.1", "hidden.2", "hidden.3", "hidden.4")


def resnet():
    return zoo.resnet18(weights=None, num_classes=3).eval()


def test_the_names_of_what_there_is():
    assert features.feature_names(resnet()) == ("pooled", *STAGES)
    assert features.feature_names(ResNetCifar(8, 10)) == ("pooled", *STAGES[:3])
    with torch.device("meta"):
        assert features.feature_names(zoo.vgg11(weights=None)) == ("pooled",)
        assert (
            features.feature_names(zoo.squeezenet1_1(weights=None)) == ()
        )  # its last layer is a convolution
    assert features.feature_names(nn.Sequential()) == ()
    regnet = nn.Sequential(OrderedDict(trunk_output=nn.Sequential(OrderedDict(block1=nn.Identity()))))
    assert features.feature_names(regnet) == ("hidden.1",)


def test_features_are_what_the_modules_give():
    model, images = resnet(), torch.rand(2, 3, 32, 32)
    with torch.no_grad(), features.captured(model, ("hidden.1", "hidden.4", "pooled")) as found:
        logits = model(images)
    assert set(found) == {"hidden.1", "hidden.4", "pooled"}
    assert found["hidden.1"].shape == (2, 64, 8, 8) and found["hidden.4"].shape == (2, 512, 1, 1)
    torch.testing.assert_close(found["pooled"], found["hidden.4"].mean((2, 3)))
    torch.testing.assert_close(model.fc(found["pooled"]), logits)


def test_only_what_is_asked_for_is_kept_and_nothing_afterwards():
    model = resnet()
    with torch.no_grad(), features.captured(model, ()) as found:
        model(torch.rand(1, 3, 32, 32))
    assert found == {}
    with pytest.raises(KeyError), features.captured(model, ("hidden.1", "pooled")):
        raise KeyError
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_what_comes_in_half_precision_is_kept_in_full():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).bfloat16()
    with features.captured(model, ("pooled",)) as found:
        model(torch.ones(1, 4, dtype=torch.bfloat16))
    assert found["pooled"].dtype == torch.float32


@pytest.mark.slow
def test_a_head_behind_dropout_reads_something_else_each_time():
    assert features.head_reads_pooled(resnet(), "fc")
    assert not features.head_reads_pooled(resnet(), "layer1")  # it is not the last
    assert features.head_reads_pooled(nn.Sequential(nn.Dropout(0.0), nn.Linear(2, 2)), "1")
    assert not features.head_reads_pooled(nn.Sequential(nn.Dropout(0.1), nn.Linear(2, 2)), "1")
    assert not features.head_reads_pooled(nn.Sequential(nn.Linear(2, 2), nn.Conv2d(1, 1, 1)), "0")
    dropping = resnet()
    dropping.drop_rate = 0.2  # as timm's networks keep it
    assert not features.head_reads_pooled(dropping, "fc")
