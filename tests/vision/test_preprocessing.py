"""Sizes of images at another size than that of the weights."""

import dataclasses

import pytest

from ptm.vision.preprocessing import INTERPOLATIONS, SMALL, Preprocessing

IMAGENET = Preprocessing(
    image_size=224, resize=256, interpolation="bilinear", mean=(0.5,) * 3, std=(0.2,) * 3
)


@pytest.mark.parametrize(
    ("size", "resize"), [(224, 256), (112, 128), (448, 512), (288, 329), (97, 111), (96, None), (32, None)]
)
def test_the_margin_around_the_crop_stays_and_small_images_have_none(size, resize):
    """256 to 224 is 8 to 7; what is at most 96 pixels is resized as it is."""
    changed = IMAGENET.at_size(size)
    assert (changed.image_size, changed.resize) == (size, resize)
    assert dataclasses.replace(changed, image_size=224, resize=256) == IMAGENET


def test_weights_without_a_margin_get_the_usual_one_at_larger_sizes():
    small = dataclasses.replace(IMAGENET, image_size=32, resize=None)
    assert small.at_size(64).resize is None
    assert small.at_size(224).resize == 256
    assert small.at_size(32) is small


def test_the_weights_own_size_is_kept_as_it_is():
    narrow = dataclasses.replace(IMAGENET, image_size=64, resize=64)
    assert narrow.at_size(64) is narrow and narrow.at_size(128).resize == 128
    assert SMALL == 96 and "bicubic" in INTERPOLATIONS
