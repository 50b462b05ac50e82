"""Small data and models of known content, the same each time; nothing here needs a network."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

GOOD, BAD = ["good", "great", "lovely", "superb"], ["bad", "awful", "poor", "dire"]
THINGS = ["film", "hotel", "soup", "phone", "book", "app"]
WORDS = [*GOOD, *BAD, *THINGS, "the", "was", "really", ",", "."]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDPIECES = [*SPECIAL, *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
POSITIONS = 64  # tokens that each tiny model takes


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """(text, label) rows of both classes alike; one word of a text decides on its label."""
    draw = random.Random(seed)
    rows = []
    for index in range(count):
        word, label = (draw.choice(GOOD), "positive") if index % 2 else (draw.choice(BAD), "negative")
        rows.append((f"the {draw.choice(THINGS)} was {word} " + "really " * draw.randrange(6), label))
    return rows


def tagged_sentences(count: int, seed: int) -> list[dict[str, list[str]]]:
    """Rows of ``words`` and ``tags``: a thing of one or two words, and what it was called."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        thing = draw.sample(THINGS, draw.choice((1, 2)))
        verdict = draw.choice(GOOD + BAD)
        tags = ["B-THING", "I-THING"][: len(thing)]
        extra = ["really"] * draw.randrange(4)
        rows.append(
            {
                "words": ["the", *thing, "was", *extra, verdict],
                "tags": ["O", *tags, "O", *["O"] * len(extra), "B-GOOD" if verdict in GOOD else "B-BAD"],
            }
        )
    return rows


def rated_sentences(count: int, seed: int) -> list[tuple[str, str, str]]:
    """(text, labels, number) rows: what is said of two things, ``food|good`` and the like, and how often "really"."""
    draw = random.Random(seed)
    rows = []
    for index in range(count):
        thing, verdict = draw.choice(THINGS), draw.choice(("", *GOOD, *BAD))
        labels = (["thing"] if thing in THINGS[:3] else []) + (["good"] if verdict in GOOD else [])
        labels += ["bad"] if verdict in BAD else []
        often = index % 5
        rows.append((f"the {thing} was {verdict} {'really ' * often}", "|".join(labels), str(often / 2 - 1)))
    return rows


def paired_sentences(count: int, seed: int) -> list[tuple[str, str, str]]:
    """(text, second, label) rows: what the second says of the thing in the first decides."""
    draw = random.Random(seed)
    rows = []
    for index in range(count):
        word, label = (draw.choice(GOOD), "positive") if index % 2 else (draw.choice(BAD), "negative")
        rows.append((f"the {draw.choice(THINGS)}", "was " + "really " * draw.randrange(4) + word, label))
    return rows


def similar_sentences(count: int, seed: int) -> list[tuple[str, str, str]]:
    """(text, second, score) rows: 0 to 5, by whether both speak of the same thing and judge it alike."""
    draw = random.Random(seed)
    rows = []
    for index in range(count):
        thing, kind = draw.choice(THINGS), draw.choice((GOOD, BAD))
        same_thing, same_kind = index % 2, (index // 2) % 2
        other_thing = thing if same_thing else draw.choice([t for t in THINGS if t != thing])
        other_kind = kind if same_kind else (BAD if kind is GOOD else GOOD)
        second = f"the {other_thing} was really {draw.choice(other_kind)}"
        rows.append((f"the {thing} was {draw.choice(kind)}", second, str(2 * same_thing + 3 * same_kind)))
    return rows


def questions(count: int, seed: int) -> list[tuple[str, dict[str, Any]]]:
    """(id, row) of questions about a thing, and a text that says what it was. A row has ``question``, ``context`` and
    ``answers``, as the hub has SQuAD; every sixth context has no answer."""
    draw = random.Random(seed)
    rows = []
    for index in range(count):
        thing, verdict = draw.choice(THINGS), "" if index % 6 == 5 else draw.choice(GOOD + BAD)
        before = "really " * draw.choice((draw.randrange(6), 14 + draw.randrange(6)))
        context = f"{before}the {thing} was {verdict} " + ". " * draw.randrange(5)
        begin = len(f"{before}the {thing} was ")
        answers = (
            {"text": [verdict], "answer_start": [begin]} if verdict else {"text": [], "answer_start": []}
        )
        rows.append(
            (f"q{index}", {"question": f"what was the {thing}", "context": context, "answers": answers})
        )
    return rows


def squad_json(rows: Iterable[tuple[str, dict[str, Any]]]) -> str:
    """The same as one file of SQuAD 2.0, an article for all, a paragraph a question."""
    import json

    paragraphs = []
    for name, row in rows:
        pairs = zip(*(row["answers"][key] for key in ("text", "answer_start")), strict=True)
        answers = [{"text": text, "answer_start": start} for text, start in pairs]
        asked = {"id": name, "question": row["question"], "answers": answers, "is_impossible": not answers}
        paragraphs.append({"context": row["context"], "qas": [asked]})
    return json.dumps({"version": "v2.0", "data": [{"title": "Things", "paragraphs": paragraphs}]}, indent=1)


def save_tiny_gpt2(folder: Path) -> Path:
    """A decoder whose tokenizer has no pad token and adds nothing to a text."""
    from transformers import GPT2Tokenizer

    tokenizer = GPT2Tokenizer(**train_bpe(["<|endoftext|>"]), model_max_length=1024)
    tokenizer.save_pretrained(folder)
    return save_base(
        folder,
        "GPT2",
        vocab_size=len(tokenizer),
        n_positions=POSITIONS,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    import json

    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_csv(
    path: Path, rows: Iterable[tuple[str, ...]], header: tuple[str, ...] = ("text", "label")
) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_parquet(path: Path, names: list[str] | None = None, **columns: list[Any]) -> Path:
    """A parquet file; ``names`` are the classes of ``label``, where ``datasets`` would put them."""
    import json

    import pyarrow.parquet

    table = pyarrow.table(columns)
    if names is not None:
        features = {"text": {"_type": "Value"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, path)
    return path


def write_image_folder(folder: Path) -> Path:
    """12 noisy 16 x 16 PNGs a class in ``train/``, 6 in ``val/``: a disc, a frame, stripes, in its colour."""
    import numpy as np
    from PIL import Image

    side = 16
    y, x = np.mgrid[:side, :side]
    shapes = {
        "disc": (np.hypot(y - 7.5, x - 7.5) < 5, (220, 60, 60)),
        "frame": (np.maximum(abs(y - 7.5), abs(x - 7.5)) > 5, (60, 220, 60)),
        "stripes": (y % 4 < 2, (60, 60, 220)),
    }
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6)):
        for name, (shape, colour) in shapes.items():
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = np.where(shape[..., None], colour, 30) + rng.normal(0, 25, (side, side, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / split / name / f"{index:02d}.png")
    return folder


def shape_mixtures(count: int, seed: int) -> list[tuple[bytes, list[str]]]:
    """(PNG of 16 x 16 pixels, names of what is on it): any of a disc, a frame and stripes, each in its colour."""
    import io

    import numpy as np
    from PIL import Image

    side = 16
    y, x = np.mgrid[:side, :side]
    shapes = {
        "disc": np.hypot(y - 7.5, x - 7.5) < 5,
        "frame": np.maximum(abs(y - 7.5), abs(x - 7.5)) > 5,
        "stripes": y % 4 < 2,
    }
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        names = [name for bit, name in enumerate(shapes) if index >> bit & 1]
        pixels = 30 + rng.normal(0, 15, (side, side, 3))
        for channel, name in enumerate(shapes):
            if name in names:
                pixels[..., channel] += 150 * shapes[name]
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
        rows.append((buffer.getvalue(), names))
    return rows


def save_bert_tokenizer(folder: Path, kind: str = "BertTokenizer", words: Sequence[str] = ()) -> int:
    """A WordPiece tokenizer for the words of :func:`sentences`, ``words`` and single letters; returns its size."""
    import transformers

    pieces = [*WORDPIECES[:1], *words, *WORDPIECES[1:]]
    vocabulary = {word: number for number, word in enumerate(pieces)}
    getattr(transformers, kind)(vocab=vocabulary, model_max_length=512).save_pretrained(folder)
    return len(vocabulary)


def train_bpe(special: list[str]) -> dict[str, Any]:
    """``vocab`` and ``merges`` of a byte-level BPE, as the tokenizer classes of transformers take them."""
    import json

    from tokenizers import ByteLevelBPETokenizer

    bpe = ByteLevelBPETokenizer()
    texts = [text for text, _ in sentences(200, 3)]
    bpe.train_from_iterator(texts, vocab_size=300, special_tokens=special, show_progress=False)
    model = json.loads(bpe._tokenizer.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(pair) for pair in model["merges"]]}


def save_base(folder: Path, name: str, **config: Any) -> Path:
    """A base model without any head, saved in ``folder``; its weights come from a fixed seed."""
    import torch
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = getattr(transformers, f"{name}Config")(**config)
        getattr(transformers, f"{name}Model")(settings).save_pretrained(folder)
    return folder


def save_tiny_bert(folder: Path, words: Sequence[str] = ()) -> Path:
    """A base BERT of two layers, 32 wide; ``words``: more of its vocabulary, before the others."""
    return save_base(
        folder,
        "Bert",
        vocab_size=save_bert_tokenizer(folder, words=words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
    )
