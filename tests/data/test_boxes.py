from pathlib import Path

import numpy as np
import pytest

from box_samples import GOOD, load
from ptm.config.spec import DataSpec
from ptm.data.boxes import load_boxes
from ptm.errors import ConfigError, DataError
from tiny.object_detection import write_annotation


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


def test_11_01_boxes_without_area_are_said(voc):
    write_annotation(voc / "Annotations/b.xml", (40, 30), [("dog", (5, 6, 5, 6)), ("dog", (1, 1, 2, 9))])
    said = [(one.what, Path(one.where).name) for one in load(voc).warnings]
    assert ("1 boxes without width or height are left out", "b.jpg") in said


def test_a_corner_outside_by_rounding_is_cut(voc):
    write_annotation(voc / "Annotations/b.xml", (40, 30), [("dog", (-0.3, 6, 40.4, 30.5))])
    assert load(voc).train.columns["boxes"][1].tolist() == [[0, 6, 40, 30]]


def test_an_unknown_class_is_refused_with_its_place(voc):
    with pytest.raises(DataError, match="label 'dog' is not one of the 1 labels") as caught:
        load(voc, labels=("cat",))
    assert "a.xml, object 2" in str(caught.value)


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


def test_10_38_names_are_the_categories_of_coco(coco):
    """A class that has boxes in the evaluation split only is a class, and its want of training is told."""
    import json

    path = coco / "annotations/instances_val.json"
    content = json.loads(path.read_text())
    number = max(category["id"] for category in content["categories"]) + 1
    content["categories"].append({"id": number, "name": "rare"})
    content["annotations"][0]["category_id"] = number
    path.write_text(json.dumps(content))
    data = load(coco, "coco", train="instances_train", eval="instances_val")
    assert data.labels[-1] == "rare"
    assert any("no training example has the label" in w.what and "rare" in w.what for w in data.warnings)
    train = json.loads((coco / "annotations/instances_train.json").read_text())
    assert data.labels[:-1] == tuple(c["name"] for c in sorted(train["categories"], key=lambda c: c["id"]))


def test_10_38_a_class_of_the_evaluation_split_that_the_config_names(voc):
    write_annotation(voc / "Annotations/d.xml", (40, 30), [("bird", (1, 1, 9, 9))])
    with pytest.raises(DataError, match="label 'bird' is not one of"):
        load(voc)
    data = load(voc, labels=("bird", "cat", "dog"))
    assert any("no training example has the label bird" in warning.what for warning in data.warnings)


def test_10_08_names_of_boxes_that_look_alike(voc):
    write_annotation(voc / "Annotations/b.xml", (40, 30), [("Dog", (1, 1, 9, 9))])
    data = load(voc)
    assert any("'Dog' (1 box, first" in warning.what for warning in data.warnings)
    assert load(voc, label_map={"Dog": "dog"}).labels == ("cat", "dog")
