"""Images with boxes as files, and what is changed in them."""

import json

from PIL import Image

from ptm.config.spec import DataSpec
from ptm.data.boxes import load_boxes
from tiny.object_detection import write_annotation

GOOD = {
    "train": {
        "a": [("cat", (1, 2, 11, 22)), ("dog", (0, 0, 40, 30))],
        "b": [("dog", (5.5, 6, 7, 8.25))],
        "c": [],
    },
    "val": {"d": [("cat", (3, 3, 9, 9))]},
}


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


def objects(*rows):
    return lambda folder: write_annotation(folder / "Annotations/b.xml", (40, 30), rows)


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


def remove(name):
    return lambda folder: (folder / name).unlink()


def edit(change):
    def spoil(folder):
        path = folder / "annotations/instances_train.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return spoil
