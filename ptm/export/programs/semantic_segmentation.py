"""python predict.py IMAGE … [--masks FOLDER]: the shares of an image's area as JSON, and its mask as PNG."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "settings.json").read_text(encoding="utf-8"))
MULTIPLE, GREY = 32, (124, 116, 104)  # what sides are padded to, and with


def on_grid(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """[classes, h, w] to [classes, height, width], bilinear."""
    for axis, length in ((1, height), (2, width)):
        size = logits.shape[axis]
        places = ((np.arange(length) + 0.5) * size / length - 0.5).clip(0, size - 1)
        low = np.floor(places).astype(int)
        share = (places - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        logits = logits.take(low, axis) * (1 - share) + logits.take((low + 1).clip(0, size - 1), axis) * share
    return logits


def classes_of(path: str, session: Any) -> np.ndarray:
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")
    scale = SETTINGS["image_size"] / max(image.size) if SETTINGS["whole"] else 1.0
    inside = [max(1, round(length * scale)) for length in image.size]
    scaled = image.resize((inside[0], inside[1]), Image.Resampling.BILINEAR) if scale != 1 else image
    sides = [-(-length // MULTIPLE) * MULTIPLE for length in inside]
    padded = Image.new("RGB", (sides[0], sides[1]), GREY)
    padded.paste(scaled)
    mean, std = np.float32(SETTINGS["mean"]), np.float32(SETTINGS["std"])
    normalised = (np.asarray(padded, dtype=np.float32) / 255 - mean) / std
    logits = session.run(None, {"pixels": normalised.transpose(2, 0, 1)[None]})[0][0]
    classes: np.ndarray = on_grid(logits[:, : inside[1], : inside[0]], *image.size[::-1]).argmax(0)
    return classes


def predict(paths: list[str], masks: Path | None = None) -> Iterator[dict[str, Any]]:
    session = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
    for path in paths:
        classes = classes_of(path, session)
        if masks is not None:
            mask = Image.fromarray(np.array(SETTINGS["mask_values"], dtype=np.uint8)[classes])
            mask.save(masks / f"{Path(path).stem}.png")
        shares = {name: float((classes == i).mean()) for i, name in enumerate(SETTINGS["labels"])}
        yield {"input": path, "shares": shares}


if __name__ == "__main__":
    words = sys.argv[1:]
    folder = Path(words.pop(words.index("--masks") + 1)) if "--masks" in words else None
    for row in predict([word for word in words if word != "--masks"], folder):
        print(json.dumps(row, ensure_ascii=False))
