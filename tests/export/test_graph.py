import pytest
import torch
from torch import nn

from ptm.errors import ModelError
from ptm.export.graph import image_network, to_onnx
from ptm.export.session import OnnxModel


class Shrinking(nn.Module):
    """A convolution that halves an image, as networks of segmentation do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, stride=2, padding=1)

    def forward(self, pixels):
        return nn.functional.interpolate(self.conv(pixels), size=pixels.shape[-2:], mode="bilinear")


class Deciding(nn.Module):
    def forward(self, pixels):
        return pixels[pixels.sum().to(torch.int64) :] if pixels.mean() > 0 else pixels


@pytest.mark.slow
def test_14_01_images_of_any_size_and_number():
    torch.manual_seed(0)
    network = Shrinking().eval()
    graph = OnnxModel(to_onnx(image_network(network, side=None), 18, "here"), threads=1, where="here")
    for shape in ((1, 3, 32, 32), (3, 3, 96, 64), (2, 3, 320, 32)):
        pixels = torch.rand(shape)
        torch.testing.assert_close(graph(pixels), network(pixels), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_14_01_a_network_that_the_exporter_does_not_take_is_refused():
    with pytest.raises(ModelError, match="torch's exporter does not take it"):
        to_onnx(image_network(Deciding(), side=32), 18, "here")
