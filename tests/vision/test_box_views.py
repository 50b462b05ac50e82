"""Boxes move with their pixels, upright, whatever EXIF says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from detection_samples import batch_of, make, photographed, spec_of
from ptm.errors import DataError
from ptm.vision.box_views import BoxViewMaker, upright

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_their_image(orientation):
    pixels = np.zeros((30, 40), np.uint8)
    pixels[4:9, 3:17] = 255  # the box [3, 4, 17, 9]
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    turned = np.asarray(ImageOps.exif_transpose(image))
    rows, columns = np.flatnonzero(turned.any(1)), np.flatnonzero(turned.any(0))
    expected = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert upright(np.array([[3, 4, 17, 9]], np.float32), (40, 30), orientation).tolist() == [expected]


@pytest.mark.parametrize(
    ("stated", "box", "expected"),
    [((40, 30), (3, 4, 17, 9), [21, 3, 26, 17]), ((30, 40), (3, 4, 17, 9), [3, 4, 17, 9])],
)
def test_the_size_of_the_annotation_says_which_pixels_its_boxes_mean(tmp_path, stated, box, expected):
    pipeline = make(spec_of(photographed(tmp_path / "a", stated, box)))
    batch = batch_of(pipeline, [0])
    assert batch.inputs["images"][0].shape == (3, 40, 30)
    assert batch.targets[0]["boxes"].tolist() == [expected]


@pytest.mark.slow
def test_an_image_of_another_size_and_a_broken_one_are_refused(tmp_path):
    with pytest.raises(DataError, match="the image has 40x30 pixels, its annotation says 50x30"):
        make(spec_of(photographed(tmp_path / "a", (50, 30), (3, 4, 17, 9))))
    folder = photographed(tmp_path / "b", (40, 30), (3, 4, 17, 9))
    content = (folder / "JPEGImages/a.jpg").read_bytes()
    (folder / "JPEGImages/a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.jpg"):
        make(spec_of(folder))
    (folder / "JPEGImages/a.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="is not an image"):
        make(spec_of(folder))


def test_exif_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    def getexif(image):
        raise SyntaxError("not a TIFF file")

    folder = photographed(tmp_path / "a", (40, 30), (3, 4, 17, 9))
    monkeypatch.setattr(Image.Image, "getexif", getexif)
    with pytest.raises(DataError, match=r"a\.jpg: its EXIF data cannot be read: not a TIFF file"):
        make(spec_of(folder))


def view_maker(augment, boxes=((10, 5, 30, 25),), seed=1):
    pixels = np.zeros((48, 64, 3), np.uint8)
    for number, (x1, y1, x2, y2) in enumerate(boxes, start=1):
        pixels[y1:y2, x1:x2] = 50 * number
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    target = (corners, np.arange(len(boxes)), np.zeros(len(boxes), bool))
    return BoxViewMaker([None] * 20, str, [target] * 20, augment, seed, [pixels] * 20, learning=True)


@pytest.mark.parametrize("augment", ["standard", "crop"])
def test_boxes_move_with_the_pixels_and_views_depend_on_seed_epoch_and_id_only(augment):
    cut = view_maker(augment)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    views = cut(3, np.arange(20))
    assert torch.equal(state, torch.get_rng_state())
    sizes = set()
    for pixels, boxes, classes, crowd in views:
        sizes.add(pixels.shape)
        assert len(boxes) == len(classes) == len(crowd)
        for x1, y1, x2, y2 in boxes.round().astype(int):
            assert (pixels[y1:y2, x1:x2] == 50).all()
            assert pixels.sum() == 50 * 3 * (x2 - x1) * (y2 - y1)
    assert (len(sizes) == 1) == (augment == "standard")
    again = [cut(3, np.array([i]))[0] for i in reversed(range(20))][::-1]
    for a, b in zip(views, again, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    for other in (cut(4, np.arange(20)), view_maker(augment, seed=2)(3, np.arange(20))):
        assert any(not np.array_equal(a[0], b[0]) for a, b in zip(views, other, strict=True))
    assert {tuple(boxes[0]) for _, boxes, *_ in view_maker("none")(3, np.arange(20))} == {(10, 5, 30, 25)}


def test_an_image_without_boxes_can_be_augmented_and_crowds_are_not_learned():
    for augment in ("standard", "crop"):
        pixels, boxes, _, _ = view_maker(augment, boxes=())(0, np.array([0]))[0]
        assert pixels.shape == (48, 64, 3)
        assert boxes.shape == (0, 4)
    cut = view_maker("none", boxes=((10, 5, 30, 25), (40, 5, 50, 25)))
    boxes, classes, _ = cut.targets[0]
    crowded = replace(cut, targets=[(boxes, classes, np.array([True, False]))])
    assert crowded(0, np.array([0]))[0][1].tolist() == [[40, 5, 50, 25]]
    assert len(replace(crowded, learning=False)(0, np.array([0]))[0][1]) == 2


@pytest.mark.slow
def test_worker_processes_give_the_same_batches(voc):
    plan = [np.array([4, 2]), np.array([0, 1, 5])]
    batches = [
        list(make(spec_of(voc, data={"augment": "crop"}, runtime={"workers": n})).batches("train", plan, 1))
        for n in (0, 2)
    ]
    for a, b in zip(*batches, strict=True):
        for left, right in zip(a.inputs["images"], b.inputs["images"], strict=True):
            assert torch.equal(left, right)
        for left, right in zip(a.targets, b.targets, strict=True):
            assert all(torch.equal(left[key], right[key]) for key in left)
