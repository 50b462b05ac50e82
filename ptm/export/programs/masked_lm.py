"""Predict with this export: python predict.py "a text with a [MASK] in it", or a text a line on standard input.

A line of JSON is printed for each text: the likeliest tokens for each mask, with their probabilities.
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
LIKELIEST = 5


def predict(texts: list[str]) -> Iterator[dict[str, Any]]:
    tokenizer = Tokenizer.from_file(str(HERE / "model" / "tokenizer.json"))
    tokenizer.enable_truncation(SETTINGS["max_length"])
    session = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
    for text in texts:
        encoded = tokenizer.encode(text)
        columns = {"input_ids": encoded.ids, "attention_mask": encoded.attention_mask}
        feeds = {name: np.array([columns[name]], dtype=np.int64) for name in SETTINGS["inputs"]}
        logits = session.run(None, feeds)[0][0].astype(np.float64)
        masks = []
        ids = list(encoded.ids)
        for place, number in enumerate(encoded.ids):
            if number == SETTINGS["mask_id"]:
                scores = np.exp(logits[place] - logits[place].max())
                scores /= scores.sum()
                best = np.argsort(-scores)[:LIKELIEST].tolist()
                masks.append({tokenizer.id_to_token(token): float(scores[token]) for token in best})
                ids[place] = best[0]
        yield {"input": text, "prediction": tokenizer.decode(ids), "masks": masks}


if __name__ == "__main__":
    lines = sys.argv[1:] or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    for row in predict(lines):
        print(json.dumps(row, ensure_ascii=False))
