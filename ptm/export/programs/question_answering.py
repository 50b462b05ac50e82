"""Answer with this export: python predict.py $'a question<TAB>its context', or such a line each on standard input."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Encoding, Tokenizer

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "settings.json").read_text(encoding="utf-8"))
TOKENIZER = Tokenizer.from_file(str(HERE / "model" / "tokenizer.json"))
SESSION = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
BEST = 20  # spans that share the probability


def predict(question: str, context: str) -> dict[str, Any]:
    spans, none = scored_spans(TOKENIZER.encode(question, context))
    ranked = sorted(spans.items(), key=lambda pair: (-pair[1], pair[0]))[:BEST]
    scores = np.array([score for _, score in ranked] + ([none] if SETTINGS["no_answer"] else []))
    shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    if SETTINGS["no_answer"] and none - scores[0] > SETTINGS["no_answer_margin"]:
        return {"answer": "", "start": None, "end": None, "probability": float(shares[-1])}
    start, end = ranked[0][0]
    start, text = end - len(context[start:end].lstrip()), context[start:end].strip()
    return {"answer": text, "start": start, "end": start + len(text), "probability": float(shares[0])}


def scored_spans(read: Encoding) -> tuple[dict[tuple[int, int], float], float]:
    """Scores of parts of the context (characters), over all windows, and the lowest of there being no answer."""
    side = np.array([-1 if part is None else part for part in read.sequence_ids])
    late = np.flatnonzero(side == 0)[max(1, (SETTINGS["max_length"] - int((side == -1).sum())) // 2) :]
    columns = (read.ids, read.type_ids, read.offsets, side)
    ids, types, places, side = (np.delete(np.array(column), late, axis=0) for column in columns)
    first, after = np.flatnonzero(side == 1)[[0, -1]] + [0, 1]
    room = SETTINGS["max_length"] - first - (len(ids) - after)
    last = max(0, after - first - room)
    spans, none = dict[tuple[int, int], float](), np.inf
    for begin in [*range(0, last, room - min(SETTINGS["stride"], room // 2)), last]:
        kept = np.r_[0:first, first + begin : min(first + begin + room, after), after : len(ids)]
        given = {"input_ids": ids[kept], "attention_mask": np.ones(len(kept)), "token_type_ids": types[kept]}
        feeds = {name: given[name][None].astype(np.int64) for name in SETTINGS["inputs"]}
        logits = SESSION.run(None, feeds)[0][0].astype(float)
        none = min(none, logits[(ids[kept] == SETTINGS["cls_id"]) & (side[kept] == -1)][0].sum())
        inside = np.flatnonzero(side[kept] == 1)
        sums = logits[inside, :1] + logits[inside, 1]  # [first token, last token]
        sums[np.tri(len(sums), k=-1) + np.tri(len(sums), k=-SETTINGS["max_answer_length"]).T > 0] = -np.inf
        for one, two in zip(*np.unravel_index(np.argsort(-sums, axis=None)[:BEST], sums.shape), strict=True):
            span = int(places[kept[inside[one]], 0]), int(places[kept[inside[two]], 1])
            spans[span] = max(float(sums[one, two]), spans.get(span, -np.inf))
    return {span: score for span, score in spans.items() if score > -np.inf}, float(none)


if __name__ == "__main__":
    for line in sys.argv[1:] or sys.stdin:
        question, _, context = line.rstrip("\n").partition("\t")
        answer = predict(question, context) if context.strip() else sys.exit(f"no tab and context: {line!r}")
        print(json.dumps({"question": question, **answer}, ensure_ascii=False))
