"""Near-duplicate images among different ones: scikit-learn's digits hold none."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ptm.quality.image_hashes import near_images, read_pictures


def test_12_05_no_digit_is_nearly_another_but_its_brighter_copy_is():
    pixels = (load_digits().images * (255 / 16)).round().astype(np.uint8)
    brighter = [(image * 0.8 + 20).astype(np.uint8) for image in pixels[:20]]
    pairs = near_images(read_pictures([*pixels, *brighter], str, 2))
    near = {(i, j) for i, j, _ in pairs.found}
    # So few pixels leave most frequencies near their median, where rounding decides.
    assert near <= {(i, len(pixels) + i) for i in range(20)} and len(near) >= 10


@pytest.mark.parametrize("count", [0, 1])
def test_12_05_few_images(count):
    assert near_images(read_pictures([np.eye(8, dtype=np.uint8)] * count, str, 1)).found == []


def test_12_05_what_cannot_be_decoded_is_equal_to_nothing():
    pictures = read_pictures([b"no image", b"no image"], lambda row: f"row {row}", 1)
    assert pictures[0].content != pictures[1].content and pictures[0].mode == ""


def test_12_05_what_has_no_grey_copy_to_correlate_warns_of_nothing(recwarn):
    board = (np.indices((32, 32)).sum(axis=0) % 2 * 255).astype(np.uint8)  # finer than the copy
    images = [b"no image", b"none", board, 255 - board, np.zeros((8, 8), dtype=np.uint8)]
    assert near_images(read_pictures(images, str, 1)).found == [] and not recwarn.list


def test_15_15_images_made_alike_are_compared_up_to_a_limit():
    draw = np.random.default_rng(3)
    one = np.kron(draw.integers(0, 256, (8, 8)), np.ones((8, 8))).astype(np.int64)
    frames = [np.clip(one + draw.integers(-2, 3, one.shape), 0, 255).astype(np.uint8) for _ in range(60)]
    pictures = read_pictures(frames, str, 1)
    every, some = near_images(pictures), near_images(pictures, most=40)
    assert every.limit is None and len(every.found) > 200
    assert some.limit == 40 and len(some.found) <= 40 and set(some.found) < set(every.found)
