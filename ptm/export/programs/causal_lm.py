"""Score texts with this export: python predict.py "a text" "another", or a text a line on standard input.

A line of JSON is printed for each text: the mean negative log-likelihood of its tokens (``loss``, in nats), how many of
them there are, and the perplexity. Nothing is written by the model: that takes a graph with a cache.
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


def predict(texts: list[str]) -> Iterator[dict[str, Any]]:
    tokenizer = Tokenizer.from_file(str(HERE / "model" / "tokenizer.json"))
    session = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
    most = SETTINGS["max_length"]
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        # The end belongs to the text only where all of it is read.
        whole = len(ids) <= most - 2
        tokens = (
            [SETTINGS["begin_id"], *ids, SETTINGS["end_id"]] if whole else [SETTINGS["begin_id"], *ids][:most]
        )
        read = np.array([tokens], dtype=np.int64)
        columns = {"input_ids": read, "attention_mask": np.ones_like(read)}
        logits = session.run(None, {name: columns[name] for name in SETTINGS["inputs"]})[0][0, :-1]
        logits = logits.astype(np.float64)
        highest = logits.max(-1, keepdims=True)
        total = highest[:, 0] + np.log(np.exp(logits - highest).sum(-1))
        nats = total - logits[np.arange(len(logits)), read[0, 1:]]
        loss = float(nats.mean())
        yield {"input": text, "loss": loss, "tokens": len(nats), "perplexity": float(np.exp(loss))}


if __name__ == "__main__":
    lines = sys.argv[1:] or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    for row in predict(lines):
        print(json.dumps(row, ensure_ascii=False))
