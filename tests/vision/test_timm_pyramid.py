"""A network of timm below a detector: maps of the right sizes, frozen statistics."""

import pytest
import torch

from ptm.vision.timm_pyramid import CHANNELS, TimmPyramid

pytest.importorskip("timm")
NAME = "timm:resnet10t"


def maps(**how):
    pyramid = TimmPyramid(NAME, **how).eval()
    with torch.no_grad():
        return pyramid, pyramid(torch.rand(1, 3, 64, 64))


def test_two_stage_detectors_read_all_stages_and_one_above():
    pyramid, found = maps(two_stage=True, frozen=True)
    assert [tuple(m.shape) for m in found.values()] == [
        (1, CHANNELS, side, side) for side in (16, 8, 4, 2, 1)
    ]
    assert list(found) == ["0", "1", "2", "3", "pool"]
    assert pyramid.out_channels == CHANNELS == 256


def test_one_stage_detectors_read_three_and_two_above():
    _, found = maps(two_stage=False, frozen=True)
    assert [m.shape[-1] for m in found.values()] == [8, 4, 2, 1, 1]
    assert list(found) == ["0", "1", "2", "p6", "p7"]


def test_frozen_batch_norms_learn_neither_scales_nor_statistics():
    pyramid, _ = maps(two_stage=True, frozen=True)
    before = {name: buffer.clone() for name, buffer in pyramid.body.named_buffers()}
    pyramid.train()(torch.rand(2, 3, 64, 64))
    assert all(torch.equal(before[name], buffer) for name, buffer in pyramid.body.named_buffers())
    assert not any("bn" in name for name, _ in pyramid.body.named_parameters())
    learning, _ = maps(two_stage=True, frozen=False)
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in learning.body.modules())
