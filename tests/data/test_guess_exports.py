"""Exports of CVAT, Label Studio and Roboflow as they lie on a disk: what is read of each, and what is refused."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from ptm.config.spec import DataSpec
from ptm.data.boxes import load_boxes
from ptm.data.guess import guess
from ptm.data.masks import load_masks
from ptm.errors import DataError

NAMES = ("a.jpg", "b.jpg", "c d.jpg", "e.jpg")
LINE = "0 0.25 0.333333 0.25 0.333333\n"
VOC = (
    "<annotation><filename>{}</filename><size><width>40</width><height>30</height><depth></depth></size>"
    "<object><name>cat</name><difficult>0</difficult><bndbox><xmin>5.0</xmin><ymin>5.0</ymin><xmax>15.0</xmax>"
    "<ymax>15.0</ymax></bndbox></object></annotation>"
)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def images(folder, names=NAMES):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)


def coco(prefix="", names=NAMES):
    box = {"category_id": 1, "bbox": [5, 5, 10, 10], "area": 100, "iscrowd": 0, "segmentation": []}
    return {
        "info": {"contributor": ""},
        "licenses": [],
        "categories": [{"id": 1, "name": "cat", "supercategory": ""}],
        "images": [
            {"id": i, "file_name": prefix + name, "width": 40, "height": 30} for i, name in enumerate(names)
        ],
        "annotations": [box | {"id": i, "image_id": i} for i in range(len(names))],
    }


def with_labels(folder, labels="labels", pictures="images"):
    images(folder / pictures)
    for name in NAMES:
        write(folder / labels / name.replace(".jpg", ".txt"), LINE)


def with_xml(folder, annotations="Annotations", pictures="JPEGImages"):
    images(folder / pictures)
    for name in NAMES:
        write(folder / annotations / name.replace(".jpg", ".xml"), VOC.format(name))


def cvat_coco(folder):
    write(folder / "annotations/instances_default.json", coco())
    images(folder / "images/default")


def cvat_coco_of_folders_and_other_tasks(folder):
    write(folder / "annotations/instances_default.json", coco("camera1/"))
    write(folder / "annotations/person_keypoints_default.json", coco("camera1/"))
    images(folder / "images/default/camera1")


def cvat_yolo(folder):
    with_labels(folder, "obj_train_data", "obj_train_data")
    write(folder / "obj.names", "cat\ndog\n")
    write(folder / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n")
    write(folder / "train.txt", "".join(f"data/obj_train_data/{name}\n" for name in NAMES))


def cvat_ultralytics(folder):
    with_labels(folder, "labels/train", "images/train")
    write(folder / "data.yaml", "names:\n  0: cat\n  1: dog\npath: .\ntrain: train.txt\n")
    write(folder / "train.txt", "".join(f"data/images/train/{name}\n" for name in NAMES))


def cvat_voc(folder):
    with_xml(folder)
    stems = [name.removesuffix(".jpg") for name in NAMES if " " not in name]
    write(folder / "ImageSets/Main/default.txt", "".join(f"{stem}\n" for stem in stems))
    write(folder / "ImageSets/Main/cat_default.txt", "".join(f"{stem}  1\n" for stem in stems))
    write(folder / "labelmap.txt", "# label:color_rgb:parts:actions\ncat:1,2,3::\n")


def label_studio_coco(folder):
    write(folder / "result.json", coco("images\\"))
    images(folder / "images")


def label_studio_yolo(folder):
    with_labels(folder)
    write(folder / "classes.txt", "cat\ndog")
    write(folder / "notes.json", {"categories": [{"id": 0, "name": "cat"}], "info": {"year": 2024}})


def label_studio_voc(folder):
    with_xml(folder, pictures="images")


def in_a_folder_of_its_own(folder):
    label_studio_yolo(folder / "project-1-at-2024-01-01")
    write(folder / ".DS_Store", "")


def roboflow_coco(folder):
    for split in ("train", "valid", "test"):
        write(folder / split / "_annotations.coco.json", coco())
        images(folder / split)
    write(folder / "README.dataset.txt", "provided by")


READ = {
    cvat_coco: ("coco", "instances_default.json", 4),
    cvat_coco_of_folders_and_other_tasks: ("coco", "instances_default.json", 4),
    cvat_yolo: ("yolo", None, 4),
    cvat_ultralytics: ("yolo", "train", 4),
    cvat_voc: ("voc", "default", 3),
    label_studio_coco: ("coco", "result", 4),
    label_studio_yolo: ("yolo", None, 4),
    label_studio_voc: ("voc", None, 4),
    in_a_folder_of_its_own: ("yolo", None, 4),
    roboflow_coco: ("coco", "train", 4),
}


@pytest.mark.parametrize("make", READ, ids=lambda make: make.__name__)
def test_11_31_boxes_of_exports_are_found_and_read(tmp_path, make):
    make(tmp_path)
    kind, train, count = READ[make]
    found = guess(tmp_path)
    assert (found.kind, found.data.get("train")) == (kind, train)
    data = load_boxes(DataSpec(source=f"{found.kind}:{found.path}", **found.data))
    whole = data.train.columns["boxes"] + ([] if "test" in found.data else data.eval.columns["boxes"])
    assert len(whole) == count and data.labels[0] == "cat"
    for boxes in whole:
        np.testing.assert_allclose(boxes, [[5, 5, 15, 15]], atol=1e-3)
    if make is roboflow_coco:
        assert (found.data["eval"], found.data["test"]) == ("valid", "test")


def test_11_31_masks_of_cvat_are_read_with_its_map_of_colours(tmp_path):
    images(tmp_path / "JPEGImages")
    for name in NAMES:
        mask = Image.new("RGB", (40, 30))
        mask.paste((250, 50, 83), (5, 5, 15, 15))
        for kind in ("SegmentationClass", "SegmentationObject"):
            (tmp_path / kind).mkdir(exist_ok=True)
            mask.save(tmp_path / kind / name.replace(".jpg", ".png"))
    write(tmp_path / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\n")
    write(tmp_path / "ImageSets/Segmentation/default.txt", "a\n")
    found = guess(tmp_path)
    assert (found.kind, found.task) == ("masks", "semantic-segmentation")
    data = load_masks(DataSpec(source=f"masks:{tmp_path}", **found.data))
    assert data.labels == ("background", "cat")
    assert data.eval.columns["mask"][0].pixels == (1100, 100)


def cvat_xml(folder):
    write(folder / "annotations.xml", "<annotations><version>1.1</version></annotations>")
    images(folder / "images/x")


def datumaro(folder):
    write(folder / "annotations/default.json", {"categories": {}, "items": [], "info": {}})
    images(folder / "images/default")


def label_studio_json(folder):
    region = {"type": "rectanglelabels", "original_width": 40, "value": {"x": 1, "rectanglelabels": ["cat"]}}
    task = {"id": 1, "data": {"image": "/data/upload/a.jpg"}, "annotations": [{"result": [region]}]}
    write(folder / "project-1.json", [task])
    images(folder / "images")


def xml_beside_images(folder):
    for split in ("train", "valid"):
        with_xml(folder / split, ".", ".")


def packed(folder):
    write(folder / "export.zip", "PK")


REFUSED = {
    cvat_xml: ("annotations.xml", "is written by CVAT in its own form", "export again as COCO"),
    datumaro: ("default.json", "is written by Datumaro", "export again as COCO"),
    label_studio_json: ("project-1.json", "is Label Studio's own JSON", "export again as COCO"),
    xml_beside_images: ("train", "holds XML files beside their images", "export again as COCO"),
    packed: ("", "holds export.zip, packed", "python -m zipfile -e export.zip export/"),
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_11_31_exports_that_nobody_reads_are_named(tmp_path, make):
    make(tmp_path)
    where, what, cure = REFUSED[make]
    named = [tmp_path, *([tmp_path / where] if where.startswith("project") else [])]
    for place in named:
        with pytest.raises(DataError) as caught:
            guess(place)
        (problem,) = caught.value.problems
        assert what in problem.what and cure in problem.cure and problem.where.endswith(where)


@pytest.mark.parametrize("archive", [False, True])
def test_11_31_images_that_are_missing_from_an_export_have_a_cure(tmp_path, archive):
    cvat_coco(tmp_path)
    (tmp_path / "images/default/e.jpg").unlink()
    if archive:
        write(tmp_path / "images.zip", "PK")
    for load, content in ((load_boxes, None), (load_masks, "segmentation")):
        with pytest.raises(DataError) as caught:
            load(DataSpec(source=f"coco:{tmp_path}", train="instances_default", eval="25%"))
        problem = caught.value.problems[0]
        assert "there is no image 'e.jpg'" in problem.what and problem.where.endswith("images[3]"), content
        assert ("unpack images.zip" if archive else "export with images") in problem.cure


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "link that leads nowhere", "folder"])
def test_15_17_a_list_of_images_that_is_no_file_is_no_split(tmp_path, kind):
    """A pipe was waited for, for ever; the others ended in tracebacks."""
    write(tmp_path / "Annotations" / "a.xml", VOC.format("a.jpg"))
    images(tmp_path / "JPEGImages", NAMES[:1])
    write(tmp_path / "ImageSets" / "Main" / "train.txt", "a\n")
    other = tmp_path / "ImageSets" / "Main" / "val.txt"
    {"pipe": os.mkfifo, "folder": os.mkdir}.get(kind, lambda path: path.symlink_to("nowhere"))(other)
    assert guess(tmp_path).data.get("eval") != "val"


def test_15_17_results_of_label_studio_that_are_no_list_are_a_message(tmp_path):
    for result in (5, {"a": 1}, "text", True):
        write(tmp_path / "x.json", [{"annotations": [{"result": result}], "data": {"text": "a"}}])
        with pytest.raises(DataError):
            guess(tmp_path)
