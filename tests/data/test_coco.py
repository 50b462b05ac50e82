"""COCO files: what is read, and what is refused with its place."""

import json

import numpy as np
import pytest

from box_samples import edit, load, remove, text
from ptm.data.coco import read_coco
from ptm.errors import DataError


@pytest.mark.parametrize(
    ("spoil", "where", "what"),
    [
        (text("annotations/instances_train.json", "{"), "train.json", "is not JSON"),
        (text("annotations/instances_train.json", "[" * 100_000), "train.json", "is not JSON"),
        (text("annotations/instances_train.json", "[]"), "train.json", "is not an object"),
        (text("annotations/instances_train.json", "{}"), "train.json", "there is no list images"),
        (edit(lambda c: c["annotations"][0].update(image_id=5)), "annotations[0]", "there is no image_id 5"),
        (
            edit(lambda c: c["annotations"][1].update(category_id=5)),
            "annotations[1]",
            "there is no category_id 5",
        ),
        (
            edit(lambda c: c["annotations"][1].update(bbox=[1, 2, 3])),
            "annotations[1]",
            r"bbox is \[1, 2, 3\]",
        ),
        (edit(lambda c: c["annotations"][1].update(bbox=[1, 2, 3, "4"])), "annotations[1]", "bbox is"),
        (
            edit(lambda c: c["annotations"][1].update(bbox=[1, 2, 3, float("nan")])),
            "annotations[1]",
            "bbox is",
        ),
        (
            edit(lambda c: c["annotations"][1].update(bbox=[1, 2, 60, 3])),
            "annotations[1]",
            "not within its image",
        ),
        (edit(lambda c: c["annotations"][1].update(bbox=[9, 2, -6, 3])), "annotations[1]", "wrong order"),
        (edit(lambda c: c["annotations"].append(3)), "annotations[3]", "there is no image_id"),
        (edit(lambda c: c["images"][1].update(width="40")), "images[1]", "width is '40'"),
        (edit(lambda c: c["images"][1].update(id=100)), "train.json", "image ids repeat"),
        (edit(lambda c: c["images"][1].update(file_name="z.jpg")), "images[1]", "there is no image 'z.jpg'"),
        (edit(lambda c: c["categories"][0].pop("name")), "categories[0]", "there is no name"),
        (remove("annotations/instances_train.json"), "annotations", "no split 'instances_train'"),
    ],
)
def test_what_coco_refuses(coco, spoil, where, what):
    spoil(coco)
    with pytest.raises(DataError, match=what) as caught:
        load(coco, "coco", train="instances_train", eval="instances_val")
    assert where in caught.value.problems[0].where


def test_the_crowd_of_coco(coco):
    path = coco / "annotations/instances_train.json"
    content = json.loads(path.read_text())
    content["annotations"][1]["iscrowd"] = 1
    path.write_text(json.dumps(content))
    data = load(coco, "coco", train="instances_train", eval="instances_val")
    assert [crowd.tolist() for crowd in data.train.columns["crowd"]] == [[False, True], [False], []]


def test_images_are_found_beside_the_file_in_images_and_in_the_folder_of_the_split(coco):
    for place in ("", "images", "images/train"):
        (coco / place).mkdir(exist_ok=True)
        (coco / "train/a.jpg").replace(coco / place / "a.jpg")
        found = load(coco, "coco", train="annotations/instances_train", eval="instances_val")
        assert found.train.columns["image"][0] == coco / place / "a.jpg"
        (coco / place / "a.jpg").replace(coco / "train/a.jpg")
    (coco / "annotations/instances_train.json").replace(coco / "train/_annotations.coco.json")
    found = load(coco, "coco", train="train", eval="instances_val")
    assert found.train.columns["image"][0] == coco / "train/a.jpg"


def test_coco_gives_the_same(voc, coco):
    ours, theirs = (
        load(voc),
        load(coco, "coco", train="instances_train", eval="instances_val.json"),
    )
    assert theirs.labels == ours.labels
    for split in ("train", "eval"):
        a, b = getattr(ours, split).columns, getattr(theirs, split).columns
        for role in ("boxes", "classes", "crowd", "size", "empty"):
            assert all(np.array_equal(x, y) for x, y in zip(a[role], b[role], strict=True)), role
        assert [path.name for path in a["image"]] == [path.name for path in b["image"]]


def test_boxes_are_corners_and_names_stand_in_the_order_of_their_ids(coco):
    table = read_coco(coco, "instances_train")
    assert table.categories == ("cat", "dog")  # ids 3 and 7
    first = table.annotations[0]
    assert [(box.label, box.corners) for box in first.boxes] == [
        ("cat", (1, 2, 11, 22)),
        ("dog", (0, 0, 40, 30)),
    ]
    assert (first.size, first.empty) == ((40, 30), 0)


def test_several_files_and_no_word_which_one(coco):
    with pytest.raises(DataError, match="2 JSON files") as caught:
        read_coco(coco / "annotations", None)
    assert "instances_train.json, instances_val.json" in caught.value.problems[0].expected


def test_a_truth_value_is_no_number(coco):
    edit(lambda c: c["images"][0].update(width=True))(coco)
    with pytest.raises(DataError, match="width is 'True'"):
        read_coco(coco, "instances_train")


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("images\\a b.jpg", "images/a b.jpg"),
        ("images/ab12-a%20b.jpg", "images/ab12-a b.jpg"),
        ("/data/upload/3/ab12-a%20b.jpg", "images/ab12-a%20b.jpg"),
        ("../../label-studio/data/media/upload/3/ab12-a.jpg", "images/ab12-a.jpg"),
        ("/data/local-files/?d=photos/a%20b.jpg", "images/photos/a b.jpg"),
        ("https://host/data/upload/3/ab12-a.jpg", "images/ab12-a.jpg"),
        ("sub/a.jpg", "images/train/sub/a.jpg"),  # CVAT, of a subset
    ],
)
def test_11_02_images_are_found_by_the_names_that_programs_write(coco, written, stored):
    edit(lambda c: c["images"][0].update(file_name=written))(coco)
    (coco / stored).parent.mkdir(parents=True, exist_ok=True)
    (coco / "train/a.jpg").replace(coco / stored)
    found = load(coco, "coco", train="instances_train", eval="instances_val")
    assert found.train.columns["image"][0] == coco / stored


def test_11_02_two_entries_that_are_one_file_are_refused(coco):
    edit(lambda c: c["images"][1].update(file_name="upload/7/a.jpg"))(coco)
    with pytest.raises(DataError, match=r"images\[0\] are the same file") as caught:
        load(coco, "coco", train="instances_train", eval="instances_val")
    assert caught.value.problems[0].where.endswith("images[1]")


def test_11_02_exports_of_cvat_and_label_studio_are_read(coco, tmp_path):
    content = json.loads((coco / "annotations/instances_train.json").read_text())
    for row in content["annotations"]:
        row |= {"segmentation": [], "attributes": {"occluded": False, "rotation": 0.0}}
    cvat, studio = tmp_path / "cvat", tmp_path / "studio"
    for folder, images in ((cvat, "images/default"), (studio, "images")):
        (folder / images).mkdir(parents=True)
        for name in "abc":
            (folder / images / f"{name}.jpg").write_bytes((coco / f"train/{name}.jpg").read_bytes())
    (cvat / "annotations").mkdir()
    (cvat / "annotations/instances_default.json").write_text(json.dumps(content))
    for row in content["images"]:
        row["file_name"] = f"images/{row['file_name']}"
    (studio / "result.json").write_text(json.dumps(content | {"info": {"contributor": "Label Studio"}}))
    expected = read_coco(coco, "instances_train").annotations
    for folder in (cvat, studio):
        rows = read_coco(folder, None).annotations
        assert [[b.corners for b in r.boxes] for r in rows] == [
            [b.corners for b in r.boxes] for r in expected
        ]


@pytest.mark.parametrize("crowd", ["0", "1", 2, [1]])
def test_11_01_a_crowd_is_0_or_1_and_no_text(coco, crowd):
    edit(lambda c: c["annotations"][1].update(iscrowd=crowd))(coco)
    with pytest.raises(DataError, match="iscrowd is") as caught:
        load(coco, "coco", train="instances_train", eval="instances_val")
    assert caught.value.problems[0].where.endswith("annotations[1]") and caught.value.problems[0].cure


def test_11_02_a_box_that_was_turned_is_refused(coco):
    edit(lambda c: c["annotations"][1].update(attributes={"rotation": 30.0}))(coco)
    with pytest.raises(DataError, match="turned by 30 degrees") as caught:
        load(coco, "coco", train="instances_train", eval="instances_val")
    assert caught.value.problems[0].where.endswith("annotations[1]") and caught.value.problems[0].cure


@pytest.mark.parametrize(
    ("spoil", "where", "what"),
    [
        (edit(lambda c: c["images"][1].update(width=10**400)), "images[1]", "the size is 1000"),
        (
            edit(lambda c: c["annotations"][1].update(attributes={"rotation": 10**400})),
            "annotations[1]",
            "is turned",
        ),
        (edit(lambda c: c["images"][1].update(file_name="http://[::1/x?d=a")), "images[1]", "there is no"),
        (edit(lambda c: c["images"][1].update(file_name="a/" * 20_000)), "images[1]", "there is no image"),
        (edit(lambda c: c["images"][1].update(file_name="%41/" * 20_000 + "?")), "images[1]", "there is no"),
    ],
)
def test_15_17_numbers_and_names_of_no_use_are_one_message(coco, spoil, where, what):
    spoil(coco)
    with pytest.raises(DataError, match=what) as caught:
        load(coco, "coco", train="instances_train", eval="instances_val")
    assert where in caught.value.problems[0].where and len(caught.value.problems[0].what) < 300
