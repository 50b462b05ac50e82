"""Memory and time to the first step over many rows of text, or many images, at the first start and at the second.

    python benchmarks/large.py --rows 1000 1000000 10000000 --folder FOLDER
    python benchmarks/large.py --images --rows 1000 200000 --folder FOLDER
    python benchmarks/large.py --tags --format jsonl --rows 200000 --folder FOLDER
    python benchmarks/large.py --split-by --rows 200000 --folder FOLDER
    python benchmarks/large.py --boxes coco --rows 100000 --folder FOLDER

Texts: a CSV of that many sentences with two labels. Images: that many small PNGs, each with bytes of its own, in
folders that are classes. Tags: the words of the sentences, and a tag for each. Split by: 20 % held out by a column of
four rows a group. Boxes: such images with eight boxes on each. A tiny model takes a few steps in a process of its own,
with a cache that is empty at the first start; what is told is read of `/proc`: the peak of what is resident, and of
that what no file holds.
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
    parser.add_argument("--tags", action="store_true")
    parser.add_argument("--split-by", action="store_true")
    parser.add_argument("--boxes", choices=("coco", "voc", "yolo"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print("rows | start | s to the first step | CPU s | peak MB | of it in no file, MB", flush=True)
    for rows in options.rows:
        config = written(options, rows)
        folder = config.parent
        shutil.rmtree(folder / "cache", ignore_errors=True)
        for start in ("first", "second"):
            told = watched(config, folder)
            print(f"{rows:,} | {start} | " + " | ".join(f"{value:,.1f}" for value in told), flush=True)


def written(options: argparse.Namespace, rows: int) -> Path:
    """The config of a run over so many rows, in a folder of its own."""
    if options.images:
        return write_images(options.folder / f"images-{rows}", rows)
    if options.boxes:
        return write_boxes(options.folder / f"{options.boxes}-{rows}", rows, options.boxes)
    if options.tags:
        return write_tags(options.folder / f"tags-{options.format}-{rows}", rows, options.format)
    if options.split_by:
        return write_groups(options.folder / f"groups-{rows}", rows)
    return write_texts(options.folder / f"{options.format}-{rows}", rows, options.format)


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


def write_tags(folder: Path, rows: int, kind: str) -> Path:
    """The config of a run over so many sentences as words with a tag each, and 1,000 to evaluate on."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count, seed in (("train", rows, 1), ("eval", 1_000, 2)):
        path, rng = folder / f"{name}.{kind}", random.Random(seed)
        if path.exists():
            continue
        records = (_tagged(rng) for _ in range(count))
        if kind == "jsonl":
            path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        else:
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(records)), path)
    _write_bert(folder / "bert")
    source = "json" if kind == "jsonl" else "parquet"
    data = {"source": f"{source}:{folder}", "train": f"train.{kind}", "eval": f"eval.{kind}"}
    model = {"name": str(folder / "bert")}
    return _write_config(folder, "token-classification", model, data | {"label": "tags", "max_length": 32})


def _tagged(rng: random.Random) -> dict[str, list[str]]:
    label = list(MOODS)[rng.random() < 0.5]
    words = rng.choices(WORDS, k=rng.randint(6, 12))
    tags = ["O"] * len(words)
    place = rng.randrange(len(words))
    words[place], tags[place] = rng.choice(MOODS[label]), f"B-{label[:3].upper()}"
    return {"words": words, "tags": tags}


def write_groups(folder: Path, rows: int) -> Path:
    """The config of a run over so many sentences of a CSV, of which 20 % are held out by groups of four rows."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "train.csv").exists():
        rng = random.Random(1)
        with (folder / "train.csv").open("w", encoding="utf-8") as file:
            file.write("text,label,writer\n")
            for _ in range(rows):
                text, label = _sentence(rng, list(MOODS))
                file.write(f"{text},{label},writer{rng.randrange(max(2, rows // 4))}\n")
    _write_bert(folder / "bert")
    data = {"source": f"csv:{folder}", "train": "train.csv", "eval": "20%", "split_by": "writer"}
    model = {"name": str(folder / "bert")}
    return _write_config(folder, "text-classification", model, data | {"max_length": 32})


def write_boxes(folder: Path, rows: int, kind: str) -> Path:
    """The config of a run over so many images of 32 pixels with eight boxes on each, and 100 to evaluate on."""
    if not (folder / "data").exists():
        for split, count in (("train", rows), ("val", 100)):
            _write_boxed(folder / "data", split, count, kind)
    source = folder / "data" / "data.yaml" if kind == "yolo" else folder / "data"
    names = ("instances_train", "instances_val") if kind == "coco" else ("train", "val")
    data = {"source": f"{kind}:{source}", "train": names[0], "eval": names[1], "image_size": 32}
    model = {"name": "retinanet", "backbone": "resnet18", "weights": "none"}
    return _write_config(folder, "object-detection", model, data)


def _write_boxed(folder: Path, split: str, count: int, kind: str) -> None:
    import numpy as np
    from PIL import Image

    images = folder / ("JPEGImages" if kind == "voc" else f"images/{split}" if kind == "yolo" else split)
    texts = folder / {"voc": "Annotations", "yolo": f"labels/{split}", "coco": "annotations"}[kind]
    images.mkdir(parents=True, exist_ok=True)
    texts.mkdir(parents=True, exist_ok=True)
    rng, buffer = random.Random(split), io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    names = [f"{split}{number:08d}" for number in range(count)]
    boxed = {name: [_box(rng) for _ in range(8)] for name in names}
    for name, boxes in boxed.items():
        # What stands behind a PNG's end is not read.
        (images / f"{name}.png").write_bytes(buffer.getvalue() + name.encode())
        if kind == "yolo":
            lines = [
                f"{c} {(x + w / 2) / 32} {(y + h / 2) / 32} {w / 32} {h / 32}\n" for c, x, y, w, h in boxes
            ]
            (texts / f"{name}.txt").write_text("".join(lines))
        elif kind == "voc":
            (texts / f"{name}.xml").write_text(_voc(name, boxes))
    if kind == "voc":
        sets = folder / "ImageSets" / "Main"
        sets.mkdir(parents=True, exist_ok=True)
        (sets / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    elif kind == "yolo":
        settings = {"path": str(folder), "train": "images/train", "val": "images/val"}
        (folder / "data.yaml").write_text(json.dumps(settings | {"names": ["red", "green"]}))
    else:
        (texts / f"instances_{split}.json").write_text(json.dumps(_coco(boxed)))


def _box(rng: random.Random) -> tuple[int, int, int, int, int]:
    """Class, left, top, width, height."""
    return rng.randrange(2), rng.randrange(20), rng.randrange(20), rng.randint(2, 12), rng.randint(2, 12)


def _coco(boxed: dict[str, list[tuple[int, int, int, int, int]]]) -> dict[str, Any]:
    images = [
        {"id": n, "file_name": f"{name}.png", "width": 32, "height": 32} for n, name in enumerate(boxed)
    ]
    rows = [
        {"id": 8 * n + k, "image_id": n, "category_id": box[0], "bbox": box[1:], "iscrowd": 0}
        for n, boxes in enumerate(boxed.values())
        for k, box in enumerate(boxes)
    ]
    classes = [{"id": n, "name": name} for n, name in enumerate(("red", "green"))]
    return {"images": images, "annotations": rows, "categories": classes}


def _voc(name: str, boxes: list[tuple[int, int, int, int, int]]) -> str:
    objects = "".join(
        f"<object><name>{('red', 'green')[c]}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>"
        f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for c, x, y, w, h in boxes
    )
    size = "<size><width>32</width><height>32</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}.png</filename>{size}{objects}</annotation>"


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
