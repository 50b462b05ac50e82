"""python predict.py IMAGE … [--masks FOLDER]: the shares of an image's area as JSON, and its mask as PNG."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "settings.json").read_text(encoding="utf-8"))
MULTIPLE, GREY = 32, (124, 116, 104)  # what sides are padded to, and with


def on_grid(logits: np.ndarray, height: int, width: int) -> np.ndarray:  # bilinear
    for axis, length in ((1, height), (2, width)):
        last = logits.shape[axis] - 1
        places = ((np.arange(length) + 0.5) * (last + 1) / length - 0.5).clip(0, last)
        low = np.floor(places).astype(int)
        share = np.float32(places - low).reshape([-1 if a == axis else 1 for a in range(3)])
        logits = logits.take(low, axis) * (1 - share) + logits.take((low + 1).clip(0, last), axis) * share
    return logits


def classes_of(path: str, session: Any) -> np.ndarray:
    with Image.open(path) as file:
        image = rgb(file)
    scale = SETTINGS["image_size"] / max(image.size) if SETTINGS["whole"] else 1.0
    inside = [max(1, round(length * scale)) for length in image.size]
    padded = Image.new("RGB", (inside[0] + -inside[0] % MULTIPLE, inside[1] + -inside[1] % MULTIPLE), GREY)
    padded.paste(image.resize((inside[0], inside[1]), Image.Resampling.BILINEAR) if scale != 1 else image)
    normalised = (np.asarray(padded) / 255 - SETTINGS["mean"]) / SETTINGS["std"]
    logits = session.run(None, {"pixels": np.float32(normalised.transpose(2, 0, 1)[None])})[0][0]
    return on_grid(logits[:, : inside[1], : inside[0]], *image.size[::-1]).argmax(0)  # type: ignore[no-any-return]


def rgb(file: Any) -> Image.Image:
    file.seek(SETTINGS["page"])
    image = ImageOps.exif_transpose(file)
    if image.mode.startswith(("I", "F")):  # more than 8 bits
        values = (np.asarray(image, dtype=np.float64) - SETTINGS["black"]) * SETTINGS["scale"]
        image = Image.fromarray(np.floor(values + SETTINGS["rounding"]).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


if __name__ == "__main__":
    words, table = sys.argv[1:], np.array(SETTINGS["mask_values"], dtype=np.uint8)
    folder = Path(words.pop(words.index("--masks") + 1)) if "--masks" in words else None
    session = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
    for path in (word for word in words if word != "--masks"):
        classes = classes_of(path, session)
        if folder is not None:
            with (folder / f"{Path(path).stem}.png").open("xb") as mask:  # a file that is there stays
                Image.fromarray(table[classes]).save(mask, "PNG")
        shares = {name: float((classes == i).mean()) for i, name in enumerate(SETTINGS["labels"])}
        print(json.dumps({"input": path, "shares": shares}, ensure_ascii=False))
