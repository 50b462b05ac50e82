"""Predict with this export: python predict.py "a text" "another", or a text a line on standard input.

A text gives its embedding, of length 1; two texts with a tab between them give their similarity, the cosine of both
(of a model that learned scores also the score, ``prediction``). A line of JSON is printed for each input.
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


def predict(lines: list[str]) -> Iterator[dict[str, Any]]:
    tokenizer = Tokenizer.from_file(str(HERE / "model" / "tokenizer.json"))
    tokenizer.enable_truncation(SETTINGS["max_length"])
    tokenizer.enable_padding(pad_id=SETTINGS["pad_id"], pad_token=SETTINGS["pad_token"])
    session = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
    for start in range(0, len(lines), BATCH):
        chunk = lines[start : start + BATCH]
        parts = [line.split("\t", 1) if SETTINGS["pair"] else [line] for line in chunk]
        encoded = tokenizer.encode_batch([text for part in parts for text in part])
        columns = {
            "input_ids": [e.ids for e in encoded],
            "attention_mask": [e.attention_mask for e in encoded],
        }
        feeds = {name: np.array(columns[name], dtype=np.int64) for name in SETTINGS["inputs"]}
        embeddings = iter(session.run(None, feeds)[0])
        for line, part in zip(chunk, parts, strict=True):
            yield {"input": line, **answer([next(embeddings) for _ in part])}


def answer(embeddings: list[np.ndarray]) -> dict[str, Any]:
    if len(embeddings) == 1:
        return {"embedding": embeddings[0].tolist()}
    similarity = float(embeddings[0] @ embeddings[1])
    if "score_range" not in SETTINGS:
        return {"similarity": similarity}
    low, high = SETTINGS["score_range"]
    return {"prediction": low + similarity * (high - low), "similarity": similarity}


if __name__ == "__main__":
    given = sys.argv[1:] or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    for row in predict(given):
        print(json.dumps(row, ensure_ascii=False))
