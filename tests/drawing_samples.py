"""Files of LabelMe that several test modules write."""

import json

from PIL import Image

CAT = [[2, 1], [6, 1], [6, 4], [2, 4]]


def labelme(folder, stem, drawn_shapes, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 6), "grey").save(folder / f"{stem}.png")
    content = {
        "version": "5.4.1",
        "flags": {},
        "shapes": drawn_shapes,
        "imagePath": f"{stem}.png",
        "imageData": None,
        "imageHeight": 6,
        "imageWidth": 10,
    }
    (folder / f"{stem}.json").write_text(json.dumps(content | changes))


def shape(label, points, kind="polygon"):
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}
