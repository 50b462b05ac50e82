"""Predict with this export: python predict.py IMAGE …. A line of JSON is printed for each image."""

import json
import sys
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
    how = Image.Resampling[SETTINGS["interpolation"].upper()]
    with Image.open(path) as file:
        image = rgb(file)
    if shorter is None:
        image = image.resize((side, side), how) if image.size != (side, side) else image
    else:
        scaled = [int(shorter * length / min(image.size)) for length in image.size]
        image = image.resize((scaled[0], scaled[1]), how)
        left, top = (round((length - side) / 2) for length in image.size)
        image = image.crop((left, top, left + side, top + side))
    mean, std = np.float32(SETTINGS["mean"]), np.float32(SETTINGS["std"])
    return ((np.asarray(image, dtype=np.float32) / 255 - mean) / std).transpose(2, 0, 1)[None]


def rgb(file: Any) -> Image.Image:
    file.seek(SETTINGS["page"])
    image = ImageOps.exif_transpose(file)
    if image.mode.startswith(("I", "F")):  # more than 8 bits
        values = (np.asarray(image, dtype=np.float64) - SETTINGS["black"]) * SETTINGS["scale"]
        image = Image.fromarray(np.floor(values + SETTINGS["rounding"]).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def answer(logits: np.ndarray) -> dict[str, Any]:
    if SETTINGS["label_type"] == "number":
        return {"prediction": float(logits[0])}
    labels, several = SETTINGS["labels"], SETTINGS["label_type"] == "classes"
    powers = np.exp((logits - logits.max()) / SETTINGS["temperature"])
    scores = 1 / (1 + np.exp(-logits / SETTINGS["temperature"])) if several else powers / powers.sum()
    margins = scores - np.array(SETTINGS["thresholds"])
    chosen = [name for name, margin in zip(labels, margins, strict=True) if margin >= 0]
    prediction = chosen if several else labels[int(margins.argmax())]
    return {"prediction": prediction, "scores": dict(zip(labels, scores.tolist(), strict=True))}


if __name__ == "__main__":
    session = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
    for path in sys.argv[1:]:
        logits = session.run(None, {"pixels": pixels_of(path)})[0][0].astype(np.float64)
        print(json.dumps({"input": path, **answer(logits)}, ensure_ascii=False))
