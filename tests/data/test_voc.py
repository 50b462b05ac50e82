"""Pascal VOC folders: what is read, and what is refused with its place."""

import numpy as np
import pytest
from PIL import Image

from box_samples import load, objects, remove, text
from ptm.data.voc import read_voc
from ptm.errors import DataError
from tiny.object_detection import write_annotation

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


def test_many_problems_are_counted(voc):
    objects(*[("dog", (0, 0, 50, 20))] * 3)(voc)
    for name in ("e", "f", "g", "h", "i", "j"):
        with (voc / "ImageSets/Main/train.txt").open("a") as file:
            file.write(f"{name}\n")
    with pytest.raises(DataError, match="and 2 more problems like these"):
        load(voc)


def test_the_digest_covers_names_annotations_and_pixels(voc):
    digests = {read_voc(voc, "train").digest, read_voc(voc, "train").digest}
    assert len(digests) == 1
    write_annotation(voc / "Annotations/b.xml", (40, 30), [("dog", (5, 6, 7, 9))])
    digests.add(read_voc(voc, "train").digest)
    Image.new("RGB", (40, 30), "white").save(voc / "JPEGImages/c.jpg")
    digests.add(read_voc(voc, "train").digest)
    assert len(digests) == 3


def test_11_01_what_is_neither_difficult_nor_not_is_refused(voc):
    path = voc / "Annotations/a.xml"
    path.write_text(path.read_text().replace("<name>dog", "<difficult>true</difficult><name>dog"))
    with pytest.raises(DataError, match="difficult is 'true'"):
        load(voc)


def test_what_is_difficult_is_marked_and_not_learned(voc):
    path = voc / "Annotations/a.xml"
    path.write_text(path.read_text().replace("<name>dog", "<difficult>1</difficult><name>dog"))
    assert [crowd.tolist() for crowd in load(voc).train.columns["crowd"]] == [[False, True], [False], []]
    path.write_text(path.read_text().replace("<name>cat", "<difficult>1</difficult><name>cat"))
    assert "no training example has the label cat" in load(voc).warnings[0].what


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


def test_a_split_names_its_images_in_its_own_order_and_blank_lines_are_none(voc):
    (voc / "ImageSets/Main/train.txt").write_text("c\n\n a \n")
    table = read_voc(voc, "train.txt")
    assert [row.image.name for row in table.annotations] == ["c.jpg", "a.jpg"]
    assert [row.image.stem for row in read_voc(voc, None).annotations] == ["a", "b", "c", "d"]


def test_a_folder_without_the_layout_is_told_what_is_missing(tmp_path):
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(DataError, match="JPEGImages") as caught:
        read_voc(tmp_path, None)
    assert caught.value.problems[0].where.startswith(str(tmp_path))


def test_11_02_exports_of_label_studio_and_cvat_are_read(voc):
    expected = [row.boxes for row in read_voc(voc, "train").annotations]
    (voc / "JPEGImages").rename(voc / "images")  # Label Studio, which writes no ImageSets
    (voc / "images/._a.jpg").write_bytes(b"\0\5\26\7")
    (voc / "Annotations/._a.xml").write_bytes(b"\0\5\26\7")
    assert [row.boxes for row in read_voc(voc, None).annotations][:3] == expected
    for kind, suffix in (("images", "jpg"), ("Annotations", "xml")):  # CVAT keeps folders of images
        (voc / kind / "sub").mkdir()
        (voc / f"{kind}/a.{suffix}").rename(voc / f"{kind}/sub/a.{suffix}")
    (voc / "ImageSets/Main/default.txt").write_text("sub/a\nb\nc\n")
    rows = read_voc(voc, "default").annotations
    assert [[box.corners for box in row.boxes] for row in rows] == [
        [box.corners for box in boxes] for boxes in expected
    ]


def test_11_02_a_box_that_was_turned_is_refused(voc):
    path = voc / "Annotations/a.xml"
    turned = "<attributes><attribute><name>rotation</name><value>{}</value></attribute></attributes></object>"
    text = path.read_text()
    path.write_text(text.replace("</object>", turned.format("0.0"), 1))
    assert len(read_voc(voc, "train").annotations) == 3
    path.write_text(text.replace("</object>", turned.format("12.5"), 1))
    with pytest.raises(DataError, match=r"turned by 12\.5 degrees") as caught:
        read_voc(voc, "train")
    assert caught.value.problems[0].where.endswith("a.xml, object 1")
