import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptm.config.spec import DataSpec
from ptm.data.boxes import load_boxes
from ptm.data.voc import read_voc
from ptm.errors import ConfigError, DataError
from tiny.object_detection import write_annotation

GOOD = {
    "train": {
        "a": [("cat", (1, 2, 11, 22)), ("dog", (0, 0, 40, 30))],
        "b": [("dog", (5.5, 6, 7, 8.25))],
        "c": [],
    },
    "val": {"d": [("cat", (3, 3, 9, 9))]},
}


@pytest.fixture
def voc(tmp_path):
    """40 x 30 images a, b, c (without a box) in train, d in val."""
    return write(tmp_path / "voc", GOOD)


def write(folder, splits):
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for split, images in splits.items():
        (folder / f"ImageSets/Main/{split}.txt").write_text("\n".join(images) + "\n")
        for name, objects in images.items():
            Image.new("RGB", (40, 30), "grey").save(folder / f"JPEGImages/{name}.jpg")
            write_annotation(folder / f"Annotations/{name}.xml", (40, 30), objects)
    return folder


def load(folder, kind="voc", **data):
    return load_boxes(DataSpec(**{"source": f"{kind}:{folder}", "train": "train", "eval": "val", **data}))


def as_coco(folder, voc):
    """The same images and boxes in COCO's layout."""
    for split, images in GOOD.items():
        (folder / split).mkdir(parents=True)
        content = {
            "images": [
                {"id": 100 + i, "file_name": f"{n}.jpg", "width": 40, "height": 30}
                for i, n in enumerate(images)
            ],
            "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
            "annotations": [
                {
                    "id": 10 * i + k,
                    "image_id": 100 + i,
                    "category_id": {"dog": 7, "cat": 3}[label],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "iscrowd": 0,
                }
                for i, objects in enumerate(images.values())
                for k, (label, (x1, y1, x2, y2)) in enumerate(objects)
            ],
        }
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / f"annotations/instances_{split}.json").write_text(json.dumps(content))
        for name in images:
            (folder / f"{split}/{name}.jpg").write_bytes((voc / f"JPEGImages/{name}.jpg").read_bytes())
    return folder


@pytest.fixture
def coco(voc, tmp_path):
    return as_coco(tmp_path / "coco", voc)


def test_voc_gives_boxes_classes_and_sizes(voc):
    data = load(voc)
    assert data.labels == ("cat", "dog")
    assert (len(data.train), len(data.eval)) == (3, 1)
    columns = data.train.columns
    assert [path.name for path in columns["image"]] == ["a.jpg", "b.jpg", "c.jpg"]
    assert columns["size"] == [(40, 30)] * 3
    assert np.array_equal(columns["boxes"][0], np.array([[1, 2, 11, 22], [0, 0, 40, 30]], np.float32))
    assert np.array_equal(columns["boxes"][1], np.array([[5.5, 6, 7, 8.25]], np.float32))
    assert columns["boxes"][2].shape == (0, 4)
    assert [c.tolist() for c in columns["classes"]] == [[0, 1], [1], []]
    assert data.train.targets is None
    assert data.train.where(1).endswith("JPEGImages/b.jpg")


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


def test_without_a_split_all_annotations_count_and_a_share_is_held_out(voc):
    data = load(voc, train=None, eval="50%", labels=("cat", "dog"))
    names = [[path.stem for path in part.columns["image"]] for part in (data.train, data.eval)]
    assert sorted(names[0] + names[1]) == ["a", "b", "c", "d"]
    assert len(names[1]) == 2
    again = load(voc, train=None, eval="50%", labels=("cat", "dog"))
    assert names[1] == [path.stem for path in again.eval.columns["image"]]


def test_limits_and_the_order_of_given_labels(voc):
    write_annotation(voc / "Annotations/c.xml", (40, 30), GOOD["train"]["a"])
    write_annotation(voc / "Annotations/b.xml", (40, 30), GOOD["train"]["a"])
    assert len(load(voc, max_train_examples=2).train) == 2
    assert load(voc, labels=("dog", "cat")).train.columns["classes"][0].tolist() == [1, 0]
    assert load_boxes(
        DataSpec(source=f"voc:{voc}", eval="val"), labels=("x", "cat"), train=False
    ).eval.columns["classes"][0].tolist() == [1]


def test_a_box_without_area_is_left_out_and_counted(voc):
    write_annotation(voc / "Annotations/b.xml", (40, 30), [("dog", (5, 6, 5, 6)), ("dog", (1, 1, 2, 9))])
    columns = load(voc).train.columns
    assert columns["empty"] == [0, 1, 0]
    assert columns["boxes"][1].tolist() == [[1, 1, 2, 9]]


def test_a_corner_outside_by_rounding_is_cut(voc):
    write_annotation(voc / "Annotations/b.xml", (40, 30), [("dog", (-0.3, 6, 40.4, 30.5))])
    assert load(voc).train.columns["boxes"][1].tolist() == [[0, 6, 40, 30]]


def test_what_is_difficult_is_marked_and_not_learned(voc):
    path = voc / "Annotations/a.xml"
    path.write_text(path.read_text().replace("<name>dog", "<difficult>1</difficult><name>dog"))
    assert [crowd.tolist() for crowd in load(voc).train.columns["crowd"]] == [[False, True], [False], []]
    path.write_text(path.read_text().replace("<name>cat", "<difficult>1</difficult><name>cat"))
    assert "no training example has the label cat" in load(voc).warnings[0].what


def test_the_crowd_of_coco(coco):
    path = coco / "annotations/instances_train.json"
    content = json.loads(path.read_text())
    content["annotations"][1]["iscrowd"] = 1
    path.write_text(json.dumps(content))
    data = load(coco, "coco", train="instances_train", eval="instances_val")
    assert [crowd.tolist() for crowd in data.train.columns["crowd"]] == [[False, True], [False], []]


def test_the_digest_covers_names_annotations_and_pixels(voc):
    digests = {read_voc(voc, "train").digest, read_voc(voc, "train").digest}
    assert len(digests) == 1
    write_annotation(voc / "Annotations/b.xml", (40, 30), [("dog", (5, 6, 7, 9))])
    digests.add(read_voc(voc, "train").digest)
    Image.new("RGB", (40, 30), "white").save(voc / "JPEGImages/c.jpg")
    digests.add(read_voc(voc, "train").digest)
    assert len(digests) == 3


def objects(*rows):
    return lambda folder: write_annotation(folder / "Annotations/b.xml", (40, 30), rows)


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


def remove(name):
    return lambda folder: (folder / name).unlink()


SIZE = "<size><width>40</width><height>30</height></size>"
HOSTILE = "<!DOCTYPE a [<!ENTITY x 'dog'>]><annotation>" + SIZE + "</annotation>"


@pytest.mark.parametrize(
    ("spoil", "where", "what"),
    [
        (objects(("dog", (0, 0, 50, 20))), "b.xml, object 1", r"\[0, 0, 50, 20\] is not within its image"),
        (
            objects(("cat", (1, 1, 2, 2)), ("dog", (9, 0, 5, 20))),
            "b.xml, object 2",
            "corners in the wrong order",
        ),
        (objects(("dog", ("nan", 0, 5, 20))), "b.xml, object 1", "bndbox/xmin is 'nan'"),
        (objects(("dog", ("left", 0, 5, 20))), "b.xml, object 1", "bndbox/xmin is 'left'"),
        (objects((" ", (1, 0, 5, 20))), "b.xml, object 1", "without a name"),
        (text("Annotations/b.xml", "<annotation>"), "b.xml", "is not XML"),
        (text("Annotations/b.xml", ""), "b.xml", "is not XML"),
        (text("Annotations/b.xml", "<html/>"), "b.xml", "begins with <html>"),
        (text("Annotations/b.xml", HOSTILE), "b.xml", "DOCTYPE"),
        (text("Annotations/b.xml", "<annotation/>"), "b.xml", "there is no size/width"),
        (
            text("Annotations/b.xml", f"<annotation>{SIZE.replace('40', '0')}</annotation>"),
            "b.xml",
            "the size is 0x30",
        ),
        (remove("Annotations/b.xml"), "b.xml", "there is no annotation"),
        (remove("JPEGImages/b.jpg"), "train.txt:2", "there is no image 'b'"),
        (text("ImageSets/Main/train.txt", "a\na\n"), "train.txt:2", "listed twice"),
        (text("ImageSets/Main/train.txt", "../a\n"), "train.txt:1", "is not a name"),
        (text("ImageSets/Main/train.txt", "\n"), "train.txt", "names no image"),
        (remove("ImageSets/Main/train.txt"), "train.txt", "there is no split 'train'"),
    ],
)
def test_what_voc_refuses(voc, spoil, where, what):
    spoil(voc)
    with pytest.raises(DataError, match=what) as caught:
        load(voc)
    assert where in caught.value.problems[0].where


def test_entities_in_utf_16_are_refused_as_well(voc):
    (voc / "Annotations/b.xml").write_bytes(HOSTILE.encode("utf-16"))
    with pytest.raises(DataError, match="DOCTYPE"):
        load(voc)


def test_an_unknown_class_is_refused_with_its_place(voc):
    with pytest.raises(DataError, match="label 'dog' is not one of the 1 labels") as caught:
        load(voc, labels=("cat",))
    assert "a.xml, object 2" in str(caught.value)


def test_many_problems_are_counted(voc):
    objects(*[("dog", (0, 0, 50, 20))] * 3)(voc)
    for name in ("e", "f", "g", "h", "i", "j"):
        with (voc / "ImageSets/Main/train.txt").open("a") as file:
            file.write(f"{name}\n")
    with pytest.raises(DataError, match="and 2 more problems like these"):
        load(voc)


def edit(change):
    def spoil(folder):
        path = folder / "annotations/instances_train.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return spoil


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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_a_damaged_annotation_is_read_or_refused_and_nothing_else(voc, coco, kind):
    folder, name, splits = {
        "voc": (voc, "Annotations/a.xml", ("train", "val")),
        "coco": (coco, "annotations/instances_train.json", ("instances_train", "instances_val")),
    }[kind]
    whole = (folder / name).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        content = bytearray(whole)
        place = int(rng.integers(len(content)))
        content[place : place + int(rng.integers(3))] = (
            rng.integers(256, size=int(rng.integers(4))).astype("u1").tobytes()
        )
        (folder / name).write_bytes(content)
        try:
            load(folder, kind, train=splits[0], eval=splits[1], labels=("cat", "dog"))
        except DataError as error:
            refused += 1
            assert str(folder) in str(error)
    assert 30 < refused < 150


def test_nothing_to_evaluate_on_and_no_split_named(voc):
    write_annotation(voc / "Annotations/d.xml", (40, 30), [])
    with pytest.raises(DataError, match="not one box to evaluate on"):
        load(voc)
    with pytest.raises(ConfigError, match=r"data\.eval is missing"):
        load(voc, eval=None)
    with pytest.raises(DataError, match="no such folder"):
        load(Path("nowhere"))
