"""Tiny real models and data, made once a session; nothing here needs a network."""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("ptm", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("ptm")
sys.path.insert(0, str(Path(__file__).parent))  # tests import helpers.py as a module

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


@pytest.fixture(scope="session", autouse=True)
def _teacher_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterable[None]:
    """What teachers say is kept for one session of tests, not in the home directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTM_CACHE", str(tmp_path_factory.mktemp("teachers")))
        yield


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train.csv`` with 64 and ``eval.csv`` with 32 sentences, labels negative and positive."""
    folder = tmp_path_factory.mktemp("reviews")
    write_csv(folder / "train.csv", sentences(64, 1))
    write_csv(folder / "eval.csv", sentences(32, 2))
    return folder


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6)):
        for name, (shape, colour) in shapes.items():
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = np.where(shape[..., None], colour, 30) + rng.normal(0, 25, (side, side, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / split / name / f"{index:02d}.png")
    return folder


def save_bert_tokenizer(folder: Path, kind: str = "BertTokenizer") -> int:
    """A WordPiece tokenizer for the words of :func:`sentences` and single letters; returns its size."""
    import transformers

    vocabulary = {word: number for number, word in enumerate(WORDPIECES)}
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


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("tiny_bert"))


def save_tiny_bert(folder: Path) -> Path:
    """A base BERT of two layers, 32 wide."""
    return save_base(
        folder,
        "Bert",
        vocab_size=save_bert_tokenizer(folder),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
    )


@pytest.fixture(scope="session")
def tiny_distilbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny_distilbert")
    size = save_bert_tokenizer(folder, "DistilBertTokenizer")
    return save_base(
        folder,
        "DistilBert",
        vocab_size=size,
        dim=32,
        n_layers=2,
        n_heads=2,
        hidden_dim=64,
        max_position_embeddings=POSITIONS,
    )


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Special tokens numbered as in roberta-base; two more positions than tokens, as there."""
    from transformers import RobertaTokenizer

    folder = tmp_path_factory.mktemp("tiny_roberta")
    tokenizer = RobertaTokenizer(
        **train_bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]), model_max_length=512
    )
    tokenizer.save_pretrained(folder)
    return save_base(
        folder,
        "Roberta",
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS + 2,
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder whose tokenizer has no pad token and adds nothing to a text."""
    from transformers import GPT2Tokenizer

    folder = tmp_path_factory.mktemp("tiny_gpt2")
    tokenizer = GPT2Tokenizer(**train_bpe(["<|endoftext|>"]), model_max_length=1024)
    tokenizer.save_pretrained(folder)
    size = len(tokenizer)
    return save_base(
        folder,
        "GPT2",
        vocab_size=size,
        n_positions=POSITIONS,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


@pytest.fixture(scope="session")
def write_config() -> Callable[..., Path]:
    """``write_config(folder, text)``: the path of a YAML file with this text."""

    def write(folder: Path, text: str, name: str = "run.yaml") -> Path:
        path = folder / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def run_cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``run_cli("finetune", config, …)``: ptm in a process of its own, offline."""

    def call(*words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", **(env or {})}
        command = [sys.executable, "-m", "ptm", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)

    return call
