"""Predictions drawn into images."""

import io

import numpy as np
from PIL import Image

from ptm.vision.drawing import colour, draw_boxes, mask_png, paint_classes, png, read_mask_png


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_a_mask_holds_the_values_of_its_classes_and_is_read_again():
    classes = np.array([[0, 1], [2, 1]], dtype=np.uint8)
    content = mask_png(classes, (0, 100, 200))
    assert opened(content).tolist() == [[0, 100], [200, 100]]
    assert np.array_equal(read_mask_png(content, (0, 100, 200)), classes)
    assert Image.open(io.BytesIO(content)).convert("RGB").getpixel((1, 0)) == colour(1)


def test_every_class_but_the_first_is_painted():
    image = Image.new("RGB", (4, 2), "white")
    classes = np.array([[0, 0, 1, 2]] * 2, dtype=np.uint8)
    painted = opened(paint_classes(image, classes, ("background", "disc", "box")))
    assert (painted[:, :2] == 255).all()
    assert (painted[:, 2] != painted[:, 3]).any() and (painted[:, 2:] != 255).any()


def test_boxes_are_drawn_in_the_colour_of_their_label_and_none_leaves_the_image():
    image = Image.new("RGB", (40, 30))
    assert draw_boxes(image, [], ("cat",)) == png(image)
    drawn = opened(draw_boxes(image, [([5, 12, 30, 25], "cat", 0.75)], ("dog", "cat")))
    assert tuple(drawn[24, 5]) == colour(1) and not drawn[2, 35].any()
