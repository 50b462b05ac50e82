"""Predict with this export: python predict.py IMAGE …. A line of JSON is printed for each image."""

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


def pixels_of(path: str) -> np.ndarray:
    """fp32 [1, 3, side, side], as the network was trained: resized, cut, normalised."""
    side, shorter = SETTINGS["image_size"], SETTINGS["resize"]
    filter_ = Image.Resampling[SETTINGS["interpolation"].upper()]
    with Image.open(path) as file:
        image = rgb(ImageOps.exif_transpose(file))
    if shorter is None:
        image = image.resize((side, side), filter_) if image.size != (side, side) else image
    else:
        scaled = [int(shorter * length / min(image.size)) for length in image.size]
        image = image.resize((scaled[0], scaled[1]), filter_)
        left, top = (round((length - side) / 2) for length in image.size)
        image = image.crop((left, top, left + side, top + side))
    values = np.asarray(image, dtype=np.float32) / 255
    normalised = (values - np.float32(SETTINGS["mean"])) / np.float32(SETTINGS["std"])
    return normalised.transpose(2, 0, 1)[None]


def rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def predict(paths: list[str]) -> Iterator[dict[str, Any]]:
    session = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
    labels, several = SETTINGS["labels"], SETTINGS["label_type"] == "classes"
    for path in paths:
        logits = session.run(None, {"pixels": pixels_of(path)})[0][0].astype(np.float64)
        if SETTINGS["label_type"] == "number":
            yield {"input": path, "prediction": float(logits[0])}
            continue
        logits = logits / SETTINGS["temperature"]
        powers = np.exp(logits - logits.max())
        scores = 1 / (1 + np.exp(-logits)) if several else powers / powers.sum()
        margins = scores - np.array(SETTINGS["thresholds"])
        chosen = [name for name, margin in zip(labels, margins, strict=True) if margin >= 0]
        answer = chosen if several else labels[int(margins.argmax())]
        yield {"input": path, "prediction": answer, "scores": dict(zip(labels, scores.tolist(), strict=True))}


if __name__ == "__main__":
    for row in predict(sys.argv[1:]):
        print(json.dumps(row, ensure_ascii=False))
