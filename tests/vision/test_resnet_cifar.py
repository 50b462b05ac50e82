"""The networks of He et al. 2015 (arXiv:1512.03385), section 4.2, against what the paper says of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ptm.vision.resnet_cifar import NAMES, Block, ResNetCifar


@pytest.mark.parametrize(
    ("layers", "millions"), [(20, "0.27"), (32, "0.46"), (44, "0.66"), (56, "0.85"), (110, "1.7")]
)
def test_parameter_counts_of_table_6(layers: int, millions: str) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in ResNetCifar(layers, 10).parameters())
    assert f"{count / 1e6:.{len(millions) - 2}f}" == millions


@pytest.mark.parametrize("name", NAMES)
def test_a_name_says_the_number_of_weighted_layers(name: str) -> None:
    with torch.device("meta"):
        model = ResNetCifar(NAMES[name], 10)
    assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in model.modules()) == int(
        name.removeprefix("resnet")
    )


def test_names_are_those_of_shared_checkpoints() -> None:
    names = set(ResNetCifar(20, 10).state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer3.2.bn2.bias"} <= names
    assert {"linear.weight", "linear.bias"} <= names
    assert not any("shortcut" in name or "downsample" in name for name in names)
    assert len(names) == 19 + 19 * 5 + 2  # convolutions, batch norms, linear


def test_option_a_shortcut_takes_every_second_pixel_and_pads_channels_with_zeros() -> None:
    x = torch.arange(2 * 4 * 6 * 6, dtype=torch.float32).view(2, 4, 6, 6)
    out = Block(4, 8, stride=2).shortcut(x)
    assert out.shape == (2, 8, 3, 3)
    for channel in range(8):
        for row in range(3):
            for column in range(3):
                expected = x[:, channel - 2, 2 * row, 2 * column] if 2 <= channel < 6 else torch.zeros(2)
                assert torch.equal(out[:, channel, row, column], expected)


def test_a_block_is_two_convolutions_and_the_shortcut() -> None:
    block = Block(4, 8, stride=2).eval()
    x = torch.randn(2, 4, 8, 8)
    inner = torch.relu(block.bn1(block.conv1(x)))
    torch.testing.assert_close(block(x), torch.relu(block.bn2(block.conv2(inner)) + block.shortcut(x)))
    assert Block(4, 4, stride=1).shortcut(x) is x


def test_width_and_size() -> None:
    model = ResNetCifar(8, 5, width=4).eval()
    assert model.layer3[0].conv1.weight.shape == (16, 8, 3, 3)
    for side in (8, 32, 40):
        assert model(torch.randn(2, 3, side, side)).shape == (2, 5)


def test_initial_weights_have_the_variance_of_he_et_al() -> None:
    weight = ResNetCifar(20, 10).layer3[1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)


@pytest.mark.parametrize("layers", [2, 18, 21])
def test_other_depths_do_not_exist(layers: int) -> None:
    with pytest.raises(ValueError, match="6n\\+2"):
        ResNetCifar(layers, 10)
