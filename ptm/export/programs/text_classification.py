"""Predict with this export: python predict.py "a text" "another", or a text a line on standard input.

The two texts of a pair stand in one line, a tab between them. A line of JSON is printed for each input.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "settings.json").read_text(encoding="utf-8"))
BATCH = 32


def predict(texts: list[str]) -> Iterator[dict[str, Any]]:
    tokenizer = Tokenizer.from_file(str(HERE / "model" / "tokenizer.json"))
    tokenizer.enable_truncation(SETTINGS["max_length"], strategy="longest_first")
    tokenizer.enable_padding(pad_id=SETTINGS["pad_id"], pad_token=SETTINGS["pad_token"])
    session = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
    for start in range(0, len(texts), BATCH):
        chunk = texts[start : start + BATCH]
        rows: list[Any] = [tuple(text.split("\t", 1)) for text in chunk] if SETTINGS["pair"] else chunk
        encoded = tokenizer.encode_batch(rows)
        columns = {
            "input_ids": [e.ids for e in encoded],
            "attention_mask": [e.attention_mask for e in encoded],
            "token_type_ids": [e.type_ids for e in encoded],
        }
        feeds = {name: np.array(columns[name], dtype=np.int64) for name in SETTINGS["inputs"]}
        for text, logits in zip(chunk, session.run(None, feeds)[0], strict=True):
            yield {"input": text, **answer(logits.astype(np.float64))}


def answer(logits: np.ndarray) -> dict[str, Any]:
    if SETTINGS["label_type"] == "number":
        return {"prediction": float(logits[0])}
    labels, several = SETTINGS["labels"], SETTINGS["label_type"] == "classes"
    logits = logits / SETTINGS["temperature"]
    powers = np.exp(logits - logits.max())
    scores = 1 / (1 + np.exp(-logits)) if several else powers / powers.sum()
    margins = scores - np.array(SETTINGS["thresholds"])
    chosen = [name for name, margin in zip(labels, margins, strict=True) if margin >= 0]
    prediction = chosen if several else labels[int(margins.argmax())]
    return {"prediction": prediction, "scores": dict(zip(labels, scores.tolist(), strict=True))}


if __name__ == "__main__":
    lines = sys.argv[1:] or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    for row in predict(lines):
        print(json.dumps(row, ensure_ascii=False))
