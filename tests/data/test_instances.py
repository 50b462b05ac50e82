"""COCO's segmentations and LabelMe's shapes as instances: what is read, and what is refused with its place."""

import json

import numpy as np
import pytest
from PIL import Image

from drawing_samples import CAT, labelme, mask_shape, shape
from ptm.config.spec import DataSpec
from ptm.data.instances import as_text, decoded, encoded, from_text, load_instances, pixels_of
from ptm.errors import DataError

SQUARE = [1, 1, 5, 1, 5, 4, 1, 4]  # x 1 to 5, y 1 to 4
FAR = [7, 0, 9, 0, 9, 2, 7, 2]
FAR_CORNERS = [[7, 0], [9, 0], [9, 2], [7, 2]]


def coco(folder, annotations, *, name="train", size=(10, 6), **changes):
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "grey").save(folder / f"{name}.png")
    image = {"id": 1, "file_name": f"{name}.png", "width": 10, "height": 6} | changes
    rows = [{"id": i, "image_id": 1, "category_id": 3} | row for i, row in enumerate(annotations)]
    categories = [{"id": 3, "name": "cell"}, {"id": 1, "name": "dirt"}]
    content = {"images": [image], "annotations": rows, "categories": categories}
    (folder / f"{name}.json").write_text(json.dumps(content))


def load(folder, kind="coco", **data):
    spec = {"source": f"{kind}:{folder}", "train": "train", "eval": "train"}
    return load_instances(DataSpec(**spec | data))


def masks_of(data, row=0):
    columns = data.train.columns
    return decoded(columns["masks"][row], columns["size"][row])


def test_11_30_coco_segmentations_become_instances(tmp_path):
    crowd = {"size": [6, 10], "counts": [0, 3, 57]}  # three pixels down the first column
    rows = [
        {"segmentation": [SQUARE, FAR]},
        {"segmentation": crowd, "iscrowd": 1, "category_id": 1},
        {"segmentation": [[2.5, 2.5, 2.9, 2.5, 2.9, 2.6]]},  # no pixel
    ]
    coco(tmp_path, rows)
    data = load(tmp_path)
    assert data.labels == ("dirt", "cell")  # by their numbers
    expected = np.zeros((2, 6, 10), np.uint8)
    expected[0, 1:4, 1:5] = expected[0, 0:2, 7:9] = 1
    expected[1, :3, 0] = 1
    np.testing.assert_array_equal(masks_of(data), expected)
    columns = data.train.columns
    assert columns["boxes"][0].tolist() == [[1, 0, 9, 4], [0, 0, 1, 3]]
    assert columns["classes"][0].tolist() == [1, 0] and columns["crowd"][0].tolist() == [False, True]
    assert columns["empty"] == [1] and columns["size"] == [(10, 6)]
    picked = data.train.select(np.array([0]))
    assert len(picked.columns["masks"][0]) == 2
    renamed = load(tmp_path, label_map={"cell": "dirt"}).train.columns["classes"][0]
    assert renamed.tolist() == [0, 0]


def test_11_30_shapes_of_one_label_and_group_are_one_instance(tmp_path):
    parts = [
        shape("cat", CAT) | {"group_id": 1},
        shape("cat", [[7, 0], [9, 2]], "rectangle") | {"group_id": 1},
    ]
    alone = [shape("cat", [[0, 4], [2, 6]], "rectangle"), shape("dog", CAT) | {"group_id": 1}]
    labelme(tmp_path / "train", "a", [*parts, *alone])
    data = load(tmp_path, "labelme")
    assert data.labels == ("cat", "dog")
    assert data.train.columns["classes"][0].tolist() == [0, 0, 1]
    assert data.train.columns["boxes"][0].tolist() == [[2, 0, 9, 4], [0, 4, 2, 6], [2, 1, 6, 4]]
    assert masks_of(data).sum(axis=(1, 2)).tolist() == [12 + 4, 4, 12]


def test_11_19_masks_of_labelme_are_instances(tmp_path):
    ring = np.ones((3, 4), np.uint8)
    ring[1, 1] = 0
    parts = [mask_shape("cat", [[2, 1], [5, 3]], ring), shape("cat", FAR_CORNERS)]
    alone = [mask_shape("dog", [[0, 0], [1, 1]], np.eye(2, dtype=np.uint8))]
    empty = [mask_shape("dog", [[0, 0], [1, 1]], np.zeros((2, 2), np.uint8))]
    labelme(tmp_path / "train", "a", [*(one | {"group_id": 4} for one in parts), *alone, *empty])
    data = load(tmp_path, "labelme")
    expected = np.zeros((2, 6, 10), np.uint8)
    expected[0, 1:4, 2:6], expected[0, 2, 3], expected[0, 0:2, 7:9] = 1, 0, 1
    expected[1, 0, 0] = expected[1, 1, 1] = 1
    np.testing.assert_array_equal(masks_of(data), expected)
    assert data.train.columns["boxes"][0].tolist() == [[2, 0, 9, 4], [0, 0, 2, 2]]
    assert data.train.columns["empty"] == [1]


@pytest.mark.parametrize(
    ("row", "what", "where"),
    [
        ({"segmentation": []}, "has no segmentation", "annotations[0]"),
        ({"bbox": [1, 1, 2, 2]}, "has no segmentation", "annotations[0]"),
        ({"segmentation": [[1, 1, 5, 1]]}, "the polygon is", "annotations[0]"),
        ({"segmentation": [[1, 1, 50, 1, 5, 4]]}, "outside of its image", "annotations[0]"),
        ({"segmentation": {"size": [6, 10], "counts": [1, 2]}}, "does not fill", "annotations[0]"),
        ({"segmentation": [SQUARE], "category_id": 9}, "a category that is not there", "annotations[0]"),
    ],
)
def test_11_30_annotations_without_an_outline_are_refused(tmp_path, row, what, where):
    coco(tmp_path, [row])
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    (problem,) = caught.value.problems
    assert what in problem.what and problem.where.endswith(where)


@pytest.mark.parametrize(
    ("changes", "shapes", "what"),
    [
        ({}, [shape("cat", CAT) | {"group_id": "a"}], "group_id is 'a'"),
        ({}, [shape("cat", CAT), shape("_background_", CAT)], "is the background"),
        ({"imageWidth": 20}, [shape("cat", CAT)], "says 20x6, its image is 10x6"),
    ],
)
def test_11_30_labelme_shapes_that_are_no_instance_are_refused(tmp_path, changes, shapes, what):
    labelme(tmp_path / "train", "a", shapes, **changes)
    with pytest.raises(DataError, match=what) as caught:
        load(tmp_path, "labelme")
    assert "a.json" in caught.value.problems[0].where


def test_11_30_an_image_of_another_size_than_its_outlines_is_refused(tmp_path):
    """So were outlines for masks of classes not, which then lay at the wrong place."""
    from ptm.data.masks import load_masks

    coco(tmp_path, [{"segmentation": [SQUARE]}], width=20, height=12)
    for kind in (load_instances, load_masks):
        with pytest.raises(DataError, match="says 20x12, its image is 10x6") as caught:
            kind(DataSpec(source=f"coco:{tmp_path}", train="train", eval="train"))
        assert caught.value.problems[0].where.endswith("train.json, images[0]")
    coco(tmp_path, [{"segmentation": [SQUARE]}], width=None, height=None)
    assert len(load(tmp_path).train) == 1


def test_11_30_nothing_to_learn_is_refused(tmp_path):
    coco(tmp_path, [])
    with pytest.raises(DataError, match="there is not one box in it"):
        load(tmp_path)


def test_11_30_run_length_codes_survive_json():
    masks = np.random.default_rng(0).random((3, 7, 5)) < 0.4
    codes = encoded(masks)
    assert [pixels_of(code) for code in codes] == masks.sum(axis=(1, 2)).tolist()
    again = [from_text(json.loads(json.dumps(as_text(code)))) for code in codes]
    np.testing.assert_array_equal(decoded(again, (5, 7)), masks.astype(np.uint8))
    assert decoded([], (5, 7)).shape == (0, 7, 5)
