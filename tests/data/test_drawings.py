"""LabelMe files and COCO's segmentations as masks: what is read, and what is refused with its shape."""

import json

import numpy as np
import pytest
from PIL import Image

from drawing_samples import CAT, labelme, mask_shape, shape
from ptm.config.spec import DataSpec
from ptm.data.guess import guess
from ptm.data.masks import load_masks
from ptm.errors import DataError

EXPECTED = np.zeros((6, 10), np.uint8)
EXPECTED[1:4, 2:6] = 1
EXPECTED[0:2, 5:9] = 2  # drawn later, so that it covers


TWO = [shape("cat", CAT), shape("dog", [[5, 0], [9, 2]], "rectangle")]


@pytest.fixture
def drawn(tmp_path):
    for split, stems in (("train", "abc"), ("val", "d")):
        for stem in stems:
            labelme(tmp_path / split, stem, TWO)
    return tmp_path


def load(folder, kind="labelme", **data):
    return load_masks(DataSpec(source=f"{kind}:{folder}", **({"train": "train", "eval": "val"} | data)))


def test_11_04_labelme_becomes_masks(drawn):
    Image.new("RGB", (10, 6)).save(drawn / "train/z.png")
    data = load(drawn)
    assert data.labels == ("background", "cat", "dog")
    np.testing.assert_array_equal(data.train.columns["mask"][0].classes(), EXPECTED)
    assert data.train.columns["mask"][0].pixels == tuple(np.bincount(EXPECTED.ravel()))
    assert len(data.train) == 3 and any("1 images without a JSON file" in w.what for w in data.warnings)
    ignoring = load(drawn, ignore_label="dog").train.columns["mask"][0]
    assert (ignoring.classes() == 255).sum() == (EXPECTED == 2).sum()
    labelme(drawn / "train", "b", [shape("cat", CAT)])
    assert load(drawn).digests["train"] != data.digests["train"]
    found = guess(drawn)
    assert (found.kind, found.task, found.data["eval"]) == ("labelme", "semantic-segmentation", "val")


@pytest.mark.parametrize(
    ("shapes", "what", "where"),
    [
        ([shape("cat", CAT[:2])], "the polygon is", "shapes[0]"),
        (
            [shape("cat", CAT), shape("dog", [[1, 1]], "point")],
            "is of the type point with 1 points",
            "shapes[1]",
        ),
        ([shape("cat", [[1, 1], [5, 5]], "line")], "is of the type line", "shapes[0]"),
        ([shape("cat", [[0, 0], [12, 5]], "rectangle")], "outside of its image", "shapes[0]"),
        ([shape("", CAT)], "is no shape", "shapes[0]"),
        ([3], "is no shape", "shapes[0]"),
        ([shape("cat", [[0, 0], [1], [2, 2]])], "the polygon is", "shapes[0]"),
    ],
)
def test_11_04_shapes_that_cover_nothing_are_refused(drawn, shapes, what, where):
    labelme(drawn / "train", "b", shapes)
    with pytest.raises(DataError) as caught:
        load(drawn)
    (problem,) = caught.value.problems
    assert what in problem.what and problem.where.endswith(f"b.json, {where}")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"imagePath": "y.png"}, "there is no image 'y.png'"),
        ({"imageHeight": 60}, "says 10x60"),
        ({"shapes": None}, "is no file of LabelMe"),
        ({"imagePath": "a.png"}, "as another file is"),
    ],
)
def test_11_04_files_that_do_not_fit_their_image_are_refused(drawn, changes, what):
    labelme(drawn / "train", "b", TWO, **changes)
    with pytest.raises(DataError) as caught:
        load(drawn)
    assert what in caught.value.problems[0].what and "b.json" in caught.value.problems[0].where


@pytest.fixture
def coco(tmp_path):
    polygon = [value for corner in CAT for value in corner]
    inside = (EXPECTED == 2).T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    counts = np.diff(np.concatenate([[0], edges, [60]])).tolist()
    for split, stems in (("train", "ab"), ("val", "c")):
        (tmp_path / split).mkdir()
        for stem in stems:
            Image.new("RGB", (10, 6), "grey").save(tmp_path / f"{split}/{stem}.png")
        content = {
            "images": [
                {"id": i, "file_name": f"{s}.png", "width": 10, "height": 6} for i, s in enumerate(stems)
            ],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
            "annotations": [
                {"image_id": 0, "category_id": 1, "segmentation": [polygon], "iscrowd": 0},
                {
                    "image_id": 0,
                    "category_id": 2,
                    "segmentation": {"size": [6, 10], "counts": counts},
                    "iscrowd": 1,
                },
            ],
        }
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    return tmp_path


def test_11_04_coco_segmentation_becomes_masks(coco):
    data = load(coco, "coco")
    assert data.labels == ("background", "cat", "dog")
    first, second = (mask.classes() for mask in data.train.columns["mask"])
    np.testing.assert_array_equal(first, EXPECTED)
    assert not second.any()  # without a shape, all is background


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"segmentation": []}, "has no segmentation"),
        ({"segmentation": [[1, 2, 3]]}, "the polygon is"),
        ({"segmentation": {"size": [6, 10], "counts": [9]}}, "does not fill its image"),
        ({"category_id": 9}, "of an image or a category"),
    ],
)
def test_11_04_segmentations_that_are_none_are_refused(coco, change, what):
    content = json.loads((coco / "train.json").read_text())
    content["annotations"][1] |= change
    (coco / "train.json").write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        load(coco, "coco")
    assert what in caught.value.problems[0].what
    assert caught.value.problems[0].where.endswith("train.json, annotations[1]")


@pytest.mark.parametrize("written", ["../images/a.png", "..\\images\\a.png", "/home/someone/a.png"])
def test_11_06_an_image_beside_the_folder_of_its_json_is_not_called_left_out(tmp_path, written):
    for split in ("train", "val"):
        annotations, images = tmp_path / split / "annotations", tmp_path / split / "images"
        labelme(annotations, "a", TWO, imagePath=written)
        (images if "images" in written else annotations).mkdir(exist_ok=True)
        if "images" in written:
            (annotations / "a.png").rename(images / "a.png")
    data = load(tmp_path)
    np.testing.assert_array_equal(data.train.columns["mask"][0].classes(), EXPECTED)
    assert ".." not in data.train.where(0)
    assert not any("left out" in warning.what for warning in data.warnings)


@pytest.mark.parametrize("kind", ["rotation", "rectangle", "oriented_rectangle"])
def test_11_06_rectangles_of_four_corners_are_polygons(tmp_path, kind):
    turned = shape("dog", [[5, 0], [9, 0], [9, 2], [5, 2]], kind)
    for split in ("train", "val"):
        labelme(tmp_path / split, "a", [shape("cat", CAT, "rectangle"), turned])
    np.testing.assert_array_equal(load(tmp_path).train.columns["mask"][0].classes(), EXPECTED)


def test_11_19_masks_of_labelme_are_painted_pixel_by_pixel(drawn):
    ring = np.ones((3, 4), np.uint8)
    ring[1, 1] = 0
    labelme(
        drawn / "train",
        "b",
        [
            mask_shape("cat", [[2.0, 1.9], [5.4, 3.0]], ring),
            shape("dog", [[7, 0], [9, 2]], "rectangle"),
            mask_shape("dog", [[0, 5], [9, 5]], np.full((1, 10), 255, np.uint8)),
        ],
    )
    columns = load(drawn).train.columns
    mask = columns["mask"][[path.stem for path in columns["image"]].index("b")]
    painted = np.zeros((6, 10), int)
    painted[1:4, 2:6] = 1
    painted[2, 3] = 0
    painted[0:2, 7:9] = painted[5] = 2
    names = np.array(["background", "cat", "dog"])
    assert [mask.keys[c] for c in mask.classes().ravel()] == names[painted.ravel()].tolist()


def broken_mask(**changes):
    return mask_shape("cat", [[2, 1], [5, 3]], np.ones((3, 4), np.uint8)) | changes


@pytest.mark.parametrize(
    ("one", "what"),
    [
        (broken_mask(mask=None), "there is none"),
        (broken_mask(mask="a PNG"), "cannot be read"),
        (broken_mask(mask="AAAA"), "it is no PNG"),
        (broken_mask(mask=broken_mask()["mask"][:60]), "cannot be read"),
        (broken_mask(points=[[2, 1], [6, 3]]), "it is 4x3, its box 5x3"),
        (broken_mask(points=[[8, 1], [11, 3]]), "outside of its image"),
        (broken_mask(points=[[5, 3], [2, 1]]), "outside of its image"),
        (broken_mask(points=[[5, 3]]), "is a mask whose box is"),
        (mask_shape("cat", [[0, 0], [1, 1]], np.ones((2, 2, 3), np.uint8)), "it has colours"),
    ],
)
def test_11_19_masks_that_are_none_or_lie_elsewhere_are_refused(drawn, one, what):
    labelme(drawn / "train", "b", [shape("dog", CAT), one])
    with pytest.raises(DataError) as caught:
        load(drawn)
    (problem,) = caught.value.problems
    assert what in problem.what and problem.where.endswith("b.json, shapes[1]") and problem.cure
