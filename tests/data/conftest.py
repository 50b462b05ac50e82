"""Folders with images and boxes, in the layouts of Pascal VOC and of COCO."""

import pytest

from box_samples import GOOD, as_coco, write


@pytest.fixture
def voc(tmp_path):
    """40 x 30 images a, b, c (without a box) in train, d in val."""
    return write(tmp_path / "voc", GOOD)


@pytest.fixture
def coco(voc, tmp_path):
    return as_coco(tmp_path / "coco", voc)
