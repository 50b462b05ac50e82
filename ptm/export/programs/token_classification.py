"""Predict with this export: python predict.py "a text of words", or a text a line on standard input.

Words, and punctuation, stand apart by blanks. A line of JSON is printed for each text.
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
    tokenizer.enable_truncation(SETTINGS["max_length"])
    tokenizer.enable_padding(pad_id=SETTINGS["pad_id"], pad_token=SETTINGS["pad_token"])
    session = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
    for start in range(0, len(texts), BATCH):
        sentences = [text.split() for text in texts[start : start + BATCH]]
        encoded = tokenizer.encode_batch(sentences, is_pretokenized=True)
        columns = {
            "input_ids": [e.ids for e in encoded],
            "attention_mask": [e.attention_mask for e in encoded],
        }
        feeds = {name: np.array(columns[name], dtype=np.int64) for name in SETTINGS["inputs"]}
        for words, each, logits in zip(sentences, encoded, session.run(None, feeds)[0], strict=True):
            yield {"words": words, **answer(len(words), each.word_ids, logits.astype(np.float64))}


def answer(words: int, word_ids: list[int | None], logits: np.ndarray) -> dict[str, Any]:
    """A tag a word, read at its first token; None for words beyond the longest text."""
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    tags: list[str | None] = [None] * words
    scores: list[float | None] = [None] * words
    for place, word in enumerate(word_ids):
        if word is not None and tags[word] is None:
            best = int(probabilities[place].argmax())
            tags[word], scores[word] = SETTINGS["labels"][best], float(probabilities[place, best])
    return {"predicted_tags": tags, "scores": scores}


if __name__ == "__main__":
    lines = sys.argv[1:] or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    for row in predict(lines):
        print(json.dumps(row, ensure_ascii=False))
