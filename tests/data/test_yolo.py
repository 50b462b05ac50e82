"""YOLO's text files: what is read, and what is refused with its line."""

import numpy as np
import pytest
from PIL import Image

from ptm.config.spec import DataSpec
from ptm.data.boxes import load_boxes
from ptm.data.guess import guess
from ptm.data.yolo import read_yolo
from ptm.errors import DataError

LABELS = {"train/a": "0 0.5 0.5 0.25 0.5\n1 0.25 0.2 0.1 0.2\n", "train/b": "", "val/d": "1 0.5 0.5 1 1\n"}
NAMES = {
    "list": "names: ['cat', 'no']\nnc: 2\n",
    "dict": "names:\n  0: cat\n  1: no\n",
}


def write(
    folder, *, names="dict", paths="path: .\ntrain: images/train\nval: images/val\n", config="data.yaml"
):
    for stem in (*LABELS, "train/c"):  # c has no file of labels
        path = folder / f"images/{stem}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20), "grey").save(path)
    for stem, text in LABELS.items():
        path = folder / f"labels/{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / config).write_text(paths + NAMES[names])
    return folder


def load(source, **data):
    return load_boxes(DataSpec(**{"source": f"yolo:{source}", "train": "train", "eval": "val", **data}))


@pytest.mark.parametrize("names", ["list", "dict"])
def test_11_01_boxes_of_yolo_are_pixels_and_names_stand_by_number(tmp_path, names):
    write(tmp_path, names=names)
    data = load(tmp_path / "data.yaml")
    assert data.labels == ("cat", "no")
    columns = data.train.columns
    # by hand: (0.5 ± 0.125) * 40, (0.5 ± 0.25) * 20; (0.25 ± 0.05) * 40, (0.2 ± 0.1) * 20
    np.testing.assert_allclose(columns["boxes"][0], [[15, 5, 25, 15], [8, 2, 12, 6]], rtol=1e-6)
    assert [classes.tolist() for classes in columns["classes"]] == [[0, 1], [], []]
    assert columns["size"] == [(40, 20)] * 3 and data.eval.columns["boxes"][0].tolist() == [[0, 0, 40, 20]]
    (warning,) = [problem for problem in data.warnings if "no file of labels" in problem.what]
    assert warning.what.startswith("1 of 3 images") and warning.where.endswith("train/c.jpg")
    assert load(tmp_path).digests == data.digests
    whole = read_yolo(tmp_path, None, None)
    assert [row.image.stem for row in whole.annotations] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("2 0.5 0.5 0.1 0.1", "the class is '2'"),
        ("-1 0.5 0.5 0.1 0.1", "the class is '-1'"),
        ("cat 0.5 0.5 0.1 0.1", "the class is 'cat'"),
        ("0.5 0.5 0.5 0.1 0.1", "the class is '0.5'"),
        ("0 1.2 0.5 0.1 0.1", "x is '1.2'"),
        ("0 0.5 -0.1 0.1 0.1", "y is '-0.1'"),
        ("0 0.5 0.5 nan 0.1", "width is 'nan'"),
        ("0 0.5 0.5 0.1 12", "height is '12'"),
        ("0 0.1 0.5 0.9 0.1", "is not within its image"),
        ("0 0.1 0.1 0.9 0.1 0.9 0.9", "a polygon of 3 corners"),
        ("0 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9", "a polygon of 4 corners"),
        ("0 0.5 0.5 0.1 0.1 0.87", "with its score"),
        ("0 0.5", "2 fields"),
    ],
)
def test_11_01_a_line_that_is_no_box_is_refused_with_its_number(tmp_path, line, what):
    write(tmp_path)
    (tmp_path / "labels/train/a.txt").write_text(f"0 0.5 0.5 0.1 0.1\n\n{line}\n")
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    (problem,) = caught.value.problems
    assert what in problem.what and problem.where.endswith("labels/train/a.txt:3") and problem.expected


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        ("train: images/train\n", "data.yaml", "names no classes"),
        ("names: [cat, no]\nnc: 3\n", "data.yaml", "nc is 3, and there are 2 names"),
        ("names: {cat: 0}\n", "data.yaml", "names holds cat: 0"),
        ("names: {0: cat, 1: no, 2: cat}\n", "data.yaml", "the classes 0 and 2 have one name: 'cat'"),
        ("names: [cat, no]\ntrain: images/none\nval: images/val\n", "data.yaml", "no folder 'images/none'"),
        ("names: [cat, no\n", "data.yaml:2:1", ""),
        ("names: [cat, no]\ntrain: [3]\n", "data.yaml", "train is [3]"),
        ("names: [cat, no]\ntrain: list.txt\nval: images/val\n", "list.txt:2", "there is no image 'x.jpg'"),
    ],
)
def test_11_01_a_data_yaml_that_says_nothing_sensible_is_refused(tmp_path, content, where, what):
    write(tmp_path)
    (tmp_path / "data.yaml").write_text(content)
    (tmp_path / "list.txt").write_text("images/train/a.jpg\nx.jpg\n")
    with pytest.raises(DataError) as caught:
        load(tmp_path / "data.yaml")
    assert what in caught.value.problems[0].what and where in caught.value.problems[0].where


def test_11_01_labels_without_an_image_are_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "labels/train/z.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "labels/train/._a.txt").write_bytes(b"\0\5\26\7")  # what macOS leaves behind
    with pytest.raises(DataError, match="has no image") as caught:
        load(tmp_path)
    assert [problem.where for problem in caught.value.problems] == [str(tmp_path / "labels/train/z.txt")]


def test_11_01_the_layouts_that_programs_write(tmp_path):
    expected = read_yolo(write(tmp_path / "plain"), "train", None)

    def same(source, split="train"):
        table = read_yolo(source, split, None)
        found = {row.image.stem: [(box.label, box.corners) for box in row.boxes] for row in table.annotations}
        wanted = {row.image.stem: [(b.label, b.corners) for b in row.boxes] for row in expected.annotations}
        return found == wanted

    # Roboflow: train/images beside train/labels, one level above in data.yaml
    write(tmp_path / "robo", paths="train: ../train/images\nval: ../valid/images\ntest: ../test/images\n")
    for kind in ("images", "labels"):
        (tmp_path / "robo/train").mkdir(exist_ok=True)
        (tmp_path / f"robo/{kind}/train").rename(tmp_path / f"robo/train/{kind}")
    assert same(tmp_path / "robo") and same(tmp_path / "robo/data.yaml", "train")
    with pytest.raises(DataError, match=r"no folder '../test/images'"):
        read_yolo(tmp_path / "robo", "test", None)
    # Ultralytics: path names a folder of another machine
    assert same(
        write(tmp_path / "ultra", paths="path: ../datasets/coco8\ntrain: images/train\nval: images/val\n")
    )
    # CVAT: lists of images, with data/ before their names
    write(tmp_path / "cvat", paths="path: .\ntrain: train.txt\n")
    (tmp_path / "cvat/train.txt").write_text("".join(f"data/images/train/{n}.jpg\n" for n in "abc"))
    assert same(tmp_path / "cvat")
    # LabelImg and Label Studio: classes.txt; darknet: labels beside images
    write(tmp_path / "studio", config="classes.txt", paths="")
    (tmp_path / "studio/classes.txt").write_text("cat\nno\n")
    assert same(tmp_path / "studio")
    beside = write(tmp_path / "beside", config="obj.names", paths="")
    (beside / "obj.names").write_text("cat\nno\n")
    (beside / "images/train").rename(beside / "train")
    for file in (beside / "labels/train").iterdir():
        file.rename(beside / "train" / file.name)
    assert same(beside)


def test_11_01_turned_photos_have_their_boxes_on_what_is_shown(tmp_path):
    write(tmp_path)
    image = Image.new("RGB", (40, 20), "grey")
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "images/train/a.jpg", exif=exif)
    rows = {split: read_yolo(tmp_path, "train", split).annotations[0] for split in ("upright", "stored")}
    assert (rows["upright"].size, rows["stored"].size) == ((20, 40), (40, 20))
    assert rows["upright"].boxes[0].corners == (7.5, 10, 12.5, 30)


def test_11_01_init_knows_yolo(tmp_path):
    write(tmp_path)
    for place in (tmp_path, tmp_path / "data.yaml"):
        found = guess(place)
        assert (found.kind, found.task) == ("yolo", "object-detection")
        assert (found.data["train"], found.data["eval"]) == ("train", "val")
