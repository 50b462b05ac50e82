"""YOLOX through its package: or what to install."""

import importlib.util

import pytest
import torch

from ptm.base.extras import install
from ptm.errors import ModelError

HERE = importlib.util.find_spec("libreyolo") is not None


@pytest.mark.skipif(HERE, reason="the package is installed")
def test_without_the_package_it_says_what_to_install():
    with pytest.raises(ModelError, match="need the package libreyolo") as caught:
        importlib.import_module("ptm.vision.yolo")
    (problem,) = caught.value.problems
    assert problem.where == "model.name" and install("yolo") in problem.cure


@pytest.mark.skipif(not HERE, reason="needs the extra yolo")
def test_boxes_come_back_in_the_pixels_of_each_image():
    from ptm.vision.yolo import Yolox

    model = Yolox("n", 2, 64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)).eval()
    with torch.no_grad():
        found = model([torch.rand(3, 32, 128), torch.rand(3, 64, 16)])
    for boxes, (height, width) in zip((f["boxes"] for f in found), ((32, 128), (64, 16)), strict=True):
        assert (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()


@pytest.mark.skipif(not HERE, reason="needs the extra yolo")
def test_an_image_is_put_into_the_upper_left_corner_on_grey_in_bgr():
    from ptm.vision.yolo import Yolox

    model = Yolox("n", 2, 64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    image = torch.stack([torch.full((32, 128), value) for value in (0.1, 0.2, 0.3)])
    square = model._letterbox(image, 0.5)
    assert square.shape == (3, 64, 64)
    assert square[:, 8, 30].tolist() == pytest.approx([0.3, 0.2, 0.1])
    assert square[:, 40, 30].tolist() == pytest.approx([114 / 255] * 3)
