"""Memory and time to the first step over many rows of text, or many images, at the first start and at the second.

    python benchmarks/large.py --rows 1000 1000000 10000000 --folder FOLDER
    python benchmarks/large.py --images --rows 1000 200000 --folder FOLDER

Texts: a CSV of that many sentences with two labels. Images: that many small PNGs, each with bytes of its own, in
folders that are classes. A tiny model takes a few steps in a process of its own, with a cache that is empty at the
first start; what is told is read of `/proc`: the peak of what is resident, and of that what no file holds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STEPS_SECONDS = 5.0  # of training after the first step
WORDS = [
    a + b + c
    for a in ("ba", "du", "ki", "lo", "me", "ra")
    for b in ("n", "r", "st")
    for c in ("a", "o", "im")
]
MOODS = {"positive": ["good", "fine", "great"], "negative": ["bad", "poor", "sad"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 1_000_000])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", action="store_true")
    parser.add_argument("--format", choices=("csv", "jsonl", "parquet"), default="csv")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print("rows | start | s to the first step | CPU s | peak MB | of it in no file, MB", flush=True)
    for rows in options.rows:
        folder = options.folder / f"{'images' if options.images else options.format}-{rows}"
        config = write_images(folder, rows) if options.images else write_texts(folder, rows, options.format)
        shutil.rmtree(folder / "cache", ignore_errors=True)
        for start in ("first", "second"):
            told = watched(config, folder)
            print(f"{rows:,} | {start} | " + " | ".join(f"{value:,.1f}" for value in told), flush=True)


def watched(config: Path, folder: Path) -> tuple[float, float, float, float]:
    """Seconds and CPU seconds to the first step, peak MB, and peak MB of what is in no file."""
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    log = (folder / "log.txt").open("w")
    environment = os.environ | {"PTM_CACHE": str(folder / "cache"), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "ptm", "finetune", str(config), "--output", str(run)]
    began, first, cpu, private = time.monotonic(), 0.0, 0.0, 0.0
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    status, peak = Path(f"/proc/{process.pid}/status"), 0.0
    while process.poll() is None:
        facts = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        peak = max(peak, _megabytes(facts.get("VmHWM")))
        private = max(private, _megabytes(facts.get("RssAnon")))
        if not first and _stepped(run):
            first, cpu = time.monotonic() - began, _cpu_seconds(process.pid)
        if first and time.monotonic() - began > first + STEPS_SECONDS:
            process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    if not first:
        raise SystemExit(f"no step was taken: {folder / 'log.txt'}")
    return first, cpu, peak, private


def _megabytes(value: str | None) -> float:
    return 0.0 if value is None else int(value.split()[0]) / 1000


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stepped(run: Path) -> bool:
    path = run / "metrics.jsonl"
    return path.exists() and '"train"' in path.read_text()


def write_texts(folder: Path, rows: int, kind: str) -> Path:
    """The config of a run over so many sentences, and 1,000 to evaluate on."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count, seed in (("train", rows, 1), ("eval", 1_000, 2)):
        if not (folder / f"{name}.{kind}").exists():
            _write_rows(folder / f"{name}.{kind}", count, random.Random(seed), kind)
    _write_bert(folder / "bert")
    source = {"csv": "csv", "jsonl": "json", "parquet": "parquet"}[kind]
    data = {
        "source": f"{source}:{folder}",
        "train": f"train.{kind}",
        "eval": f"eval.{kind}",
        "max_length": 32,
    }
    return _write_config(folder, "text-classification", {"name": str(folder / "bert")}, data)


def _write_rows(path: Path, count: int, rng: random.Random, kind: str) -> None:
    names = list(MOODS)
    if kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        schema = pyarrow.schema({"text": pyarrow.string(), "label": pyarrow.string()})
        with pyarrow.parquet.ParquetWriter(path, schema) as writer:
            for start in range(0, count, 100_000):
                pairs = [_sentence(rng, names) for _ in range(min(100_000, count - start))]
                texts, labels = zip(*pairs, strict=True)
                writer.write_table(pyarrow.table({"text": texts, "label": labels}, schema=schema))
        return
    with path.open("w", encoding="utf-8") as file:
        if kind == "csv":
            file.write("text,label\n")
        for _ in range(count):
            text, label = _sentence(rng, names)
            file.write(
                f"{text},{label}\n" if kind == "csv" else json.dumps({"text": text, "label": label}) + "\n"
            )


def _sentence(rng: random.Random, names: list[str]) -> tuple[str, str]:
    label = names[rng.random() < 0.5]
    words = rng.choices(WORDS, k=rng.randint(6, 12))
    words[rng.randrange(len(words))] = rng.choice(MOODS[label])
    return " ".join(words), label


def _write_bert(folder: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir(exist_ok=True)
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS,
        *(word for mood in MOODS.values() for word in mood),
    ]
    BertTokenizerFast(vocab={word: number for number, word in enumerate(words)}).save_pretrained(folder)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertForSequenceClassification(BertConfig(vocab_size=len(words), **size)).save_pretrained(folder)


def write_images(folder: Path, rows: int) -> Path:
    """The config of a run over so many images in two folders, and 100 to evaluate on."""
    import numpy as np
    from PIL import Image

    if not (folder / "data").exists():
        originals = []
        for number in range(200):
            pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            pixels[:, :, number % 2] = 0
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            originals.append(buffer.getvalue())
        for split, count in (("train", rows), ("eval", 100)):
            for number in range(count):
                name = folder / "data" / split / ("red", "green")[number % 2] / f"{number // 10_000:03d}"
                if number % 10_000 < 2:
                    name.mkdir(parents=True, exist_ok=True)
                content = originals[number % 100 + 100 * (split == "eval")]
                # What stands behind a PNG's end is not read.
                (name / f"{number:08d}.png").write_bytes(content + f"{split} {number}".encode())
    data = {"source": f"imagefolder:{folder / 'data'}", "train": "train", "eval": "eval", "image_size": 8}
    return _write_config(folder, "image-classification", {"name": "resnet8", "weights": "none"}, data)


def _write_config(folder: Path, task: str, model: dict[str, str], data: dict[str, Any]) -> Path:
    config = {
        "version": 1,
        "task": task,
        "model": model,
        "data": data,
        "train": {"epochs": 1, "batch_size": 32, "learning_rate": 1e-3, "log_every_steps": 1},
        "runtime": {"device": "cpu", "threads": 1},
        "output": str(folder / "run"),
    }
    path = folder / "run.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    return path


if __name__ == "__main__":
    main()
