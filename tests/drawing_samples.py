"""Files of LabelMe that several test modules write."""

import base64
import io
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


def mask_shape(label, box, pixels):
    """As LabelMe 5 writes what its brush drew: a box from the first pixel to the last one, and 0 and 1 in a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return shape(label, box, "mask") | {"mask": base64.b64encode(file.getvalue()).decode()}


def shape(label, points, kind="polygon"):
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}
