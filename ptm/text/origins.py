"""Where a text model comes from, before it is made: a hub, a directory, a package, or nowhere; and its tokenizer."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from ptm.base import network
from ptm.base.limits import native_fault
from ptm.config.model_ref import ModelRef, Role
from ptm.config.spec import RunSpec
from ptm.data import hub as data_hub
from ptm.errors import ConfigError, MissingDownload, ModelError, Problem, PtmError
from ptm.models import adapters, hub, seals
from ptm.models.packages import is_package, package_path
from ptm.text import scratch


def locate(name: str, role: Role = "model") -> tuple[str, bool]:
    """Where the files of a model are: (directory or hub id, whether it is a directory).

    A run directory stands for its ``model/``. Packages are found without being imported. ``new:`` models are nowhere.
    """
    where = f"{role} {name!r}"
    if scratch.is_new(name):
        raise ConfigError("a new: model has no files", where=where, cure="name a trained model")
    if is_package(name):
        directory = package_path(name, where)
    elif Path(name).is_absolute():
        directory = Path(name)
        if not (directory / "config.json").is_file() and (directory / "model" / "config.json").is_file():
            directory = directory / "model"
    else:
        hub.check_model_id(name, role)
        return name, False
    if not (directory / "config.json").is_file():
        raise ModelError(
            "no model there" if directory.is_dir() else "there is no such directory",
            where=directory,
            expected="a directory with config.json, model.safetensors and tokenizer files, or a finished run",
            cure="correct the name; an unfinished run has no model/ yet",
        )
    seals.require_own_files(directory)
    adapters.require_plausible(directory)
    seals.require_intact(directory)
    return str(directory), True


def missing_downloads(spec: RunSpec) -> list[Problem]:
    """All of a run over texts that would have to be downloaded and cannot be: models, tokenizers, data."""
    refs = [spec.model.ref(), *(spec.teacher.refs() if spec.teacher else ())]
    if spec.model.decoder is not None:
        refs.append(ModelRef(name=spec.model.decoder))
    problems = [problem for ref in refs for problem in missing(ref)]
    if spec.data.source.startswith("hub:"):
        problems += data_hub.missing_dataset(spec.data.source.removeprefix("hub:"))
    return problems


def missing(ref: ModelRef) -> list[Problem]:
    """What of this model and its tokenizer cannot be had: a package, or files of a hub."""
    problems = [] if scratch.is_new(ref.name) else _missing(ref, weights=ref.weights == "default")
    if ref.tokenizer is None or ref.tokenizer == "train":
        return problems
    return problems + _missing(ModelRef(name=ref.tokenizer), weights=False)


def _missing(ref: ModelRef, *, weights: bool) -> list[Problem]:
    try:
        place, local = locate(ref.name, ref.role)
    except MissingDownload as error:
        return list(error.problems)
    return [] if local else hub.missing_model(place, ref.revision, ref.role, weights=weights)


def stored_labels(name: str) -> tuple[str, ...] | None:
    """The label names a local model was saved with; None when it has none or is not local."""
    if scratch.is_new(name):
        return None
    place, local = locate(name)
    if not local:
        return None
    return label_names(_read_config(Path(place)).get("id2label"))


# How a model is called is not for its files to say: what it returns, and in what pieces it computes.
_CALLED_WITH = {
    "return_dict": True,
    "output_hidden_states": False,
    "output_attentions": False,
    "chunk_size_feed_forward": 0,
}


@dataclass(frozen=True)
class Origin:
    """Where a model comes from, before it is made: its configuration and its tokenizer."""

    place: str  # directory or hub id; "" of new: models
    options: dict[str, Any]  # for from_pretrained
    config: Any
    tokenizer: Any
    commit: str | None = None  # of the hub


def find_origin(
    ref: ModelRef, texts: Callable[[], Sequence[str]] | None, *, of_words: bool = False
) -> Origin:
    """The configuration and the tokenizer of a model.

    ``texts`` gives the training texts, for ``tokenizer: train``; ``of_words``: texts come as lists of words. Raises
    ConfigError for a tokenizer that is not the model's, ModelError for files that cannot be read.
    """
    from transformers import AutoConfig

    more = {"add_prefix_space": True} if of_words else {}
    if scratch.is_new(ref.name):
        tokenizer = _tokenizer_of_new(ref, texts, more)
        config = scratch.new_config(ref.name.removeprefix("new:"), ref.shape, tokenizer)
        return Origin("", {}, config, tokenizer)
    place, local = locate(ref.name, ref.role)
    options, commit = _options(local, ref.revision), None
    if local:
        _require_plausible(_read_config(Path(place)), place)
        if ref.weights == "default" and not ref.bare:
            seals.require_weights(Path(place))
    with loading(ref.where):
        if not local:
            commit = hub.commit_of(place, ref.revision, local_files_only=options["local_files_only"])
            options["revision"] = commit or ref.revision
        config = AutoConfig.from_pretrained(place, **options)
        for key, value in _CALLED_WITH.items():
            setattr(config, key, value)
        _require_no_code(config, place)
        tokenizer = load_tokenizer(place, options | more)
    if ref.tokenizer is not None:
        tokenizer = _same_tokenizer(ref.name, tokenizer, ref.tokenizer, more)
    return Origin(place, options, config, tokenizer, commit)


def _options(local: bool, revision: str | None) -> dict[str, Any]:
    return {
        "revision": None if local else revision,
        "local_files_only": local or not network.reachable(),
        "trust_remote_code": False,  # the default asks whether to run the code of a repository
    }


def _named_tokenizer(name: str, more: dict[str, Any]) -> Any:
    place, local = locate(name)
    with loading(f"model {name!r}"):
        return load_tokenizer(place, _options(local, None) | more)


def _tokenizer_of_new(ref: ModelRef, texts: Callable[[], Sequence[str]] | None, more: dict[str, Any]) -> Any:
    if ref.tokenizer is not None and ref.tokenizer != "train":
        return _named_tokenizer(ref.tokenizer, more)
    if ref.tokenizer is None or texts is None:
        raise ModelError(
            "a new: model knows nothing", where=ref.where, cure="name the directory of a trained run"
        )
    options = scratch.tokenizer_options(ref.name.removeprefix("new:"))
    return scratch.train_tokenizer(texts(), ref.vocabulary or scratch.DEFAULT_VOCABULARY, **options)


def _same_tokenizer(name: str, own: Any, requested: str, more: dict[str, Any]) -> Any:
    """The tokenizer ``requested``, which must number tokens as the model's own does."""
    if requested == "train":
        raise ConfigError(
            "weights that are there already belong to the tokens of their own tokenizer",
            where="model.tokenizer",
            expected=f"no tokenizer, or train with a new: model ({name} is none)",
            cure="remove it",
        )
    other = _named_tokenizer(requested, more)
    if other.get_vocab() != own.get_vocab():
        raise ConfigError(
            f"the vocabulary of {requested} is not that of {name}: its weights would stand for other tokens",
            where="model.tokenizer",
            expected="a tokenizer with the same tokens and numbers",
            cure="remove it, or start from nothing: name: new:bert",
        )
    return other


_MOST_GROWTH = 1000  # characters that a normalizer may make of one


def _require_bounded(tokenizer: Any, place: str) -> None:
    """ModelError where a text would grow without bound: forty replacements of o by oo make 2^40 characters of one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    for part in ("normalizer", "decoder"):
        component = getattr(backend, part, None)
        if component is not None and _growth(json.loads(component.__getstate__())) > _MOST_GROWTH:
            raise ModelError(
                f"the {part} of its tokenizer makes more than {_MOST_GROWTH:,} characters of one",
                where=f"model {place!r}",
                expected="a tokenizer that leaves texts about as long as they are",
                cure="take the tokenizer that belongs to the model",
            )


def _growth(step: Any) -> float:
    """How many characters a step of a normalizer or a decoder may make of one."""
    steps = step.get("normalizers") or step.get("decoders") or ()
    if steps:
        return math.prod(map(_growth, steps))
    if step.get("type") != "Replace":
        return 1.0
    pattern = step["pattern"].get("String")
    # An expression, and an empty text, may stand between any two characters.
    return max(1.0, len(step["content"]) / len(pattern)) if pattern else len(step["content"]) + 1.0


def load_tokenizer(place: str, options: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place, **options)
    # Finding no file, transformers makes a tokenizer up that knows special tokens alone, and says nothing.
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise ModelError(
            "there is no vocabulary beside the model",
            where=f"model {place!r}",
            expected="tokenizer.json, or vocab.txt, or vocab.json and merges.txt",
            cure="add the tokenizer that belongs to the model",
        )
    _require_bounded(tokenizer, place)
    if not isinstance(tokenizer.model_max_length, int | float):
        raise ModelError(
            f"tokenizer_config.json has model_max_length: {str(tokenizer.model_max_length)[:40]!r}",
            where=f"model {place!r}",
            expected="a number of tokens",
        )
    # GPT-2 was never padded. Its end-of-text token serves: what pads is masked out all the same.
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    tokenizer.padding_side = "right"
    return tokenizer


def label_names(id2label: Any) -> tuple[str, ...] | None:
    """Label names in order from a config's ``id2label``; None for the default LABEL_0, LABEL_1."""
    if not isinstance(id2label, dict):
        return None
    try:
        names = tuple(str(id2label[key]) for key in sorted(id2label, key=int))
    except ValueError:
        return None
    return None if all(name.startswith("LABEL_") for name in names) else names


# More than any model has. A library would build them for hours, or take all memory for names of labels.
_MOST = {
    **dict.fromkeys(
        ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers"), 2000
    ),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "num_attention_heads"), 200_000),
    **dict.fromkeys(("intermediate_size", "num_labels", "max_position_embeddings"), 20_000_000),
    "vocab_size": 20_000_000,
}
_ATTENTION = (
    "eager",
    "sdpa",
    "flex_attention",
    "flash_attention_2",
    "flash_attention_3",
    "flash_attention_4",
)


def _require_plausible(config: Mapping[str, Any], place: str) -> None:
    """ModelError for a config.json that no model can have."""
    for key, most in _MOST.items():
        value = config.get(key)
        if isinstance(value, int) and value > most:
            raise ModelError(f"config.json has {key}: {value}", where=place, expected=f"at most {most:,}")
    for key in ("_attn_implementation", "attn_implementation"):
        value = config.get(key)
        if value is not None and value not in _ATTENTION:
            raise _names_code("attention", value, place)


_EXPERTS = ("eager", "batched_mm", "grouped_mm")


def _require_no_code(config: Any, place: str) -> None:
    """ModelError where a configuration, of a hub too, or one in it asks for code of a hub's for its arithmetic. Where
    flash attention is not installed, transformers would fetch that as well: then it is left open which attention is
    computed."""
    from transformers import PretrainedConfig
    from transformers.utils import import_utils

    attention, experts = (getattr(config, f"_{part}_implementation", None) for part in ("attn", "experts"))
    if attention is not None and attention not in _ATTENTION:
        raise _names_code("attention", attention, place)
    if experts is not None and experts not in _EXPERTS:
        raise _names_code("experts", experts, place)
    if isinstance(attention, str) and attention.startswith("flash"):
        installed = getattr(import_utils, f"is_flash_attn_{attention[-1]}_available", None)
        if installed is None or not installed():
            config._attn_implementation = None
    for part in vars(config).values():
        if isinstance(part, PretrainedConfig):
            _require_no_code(part, place)


def _names_code(part: str, value: object, place: str) -> ModelError:
    known = {"attention": _ATTENTION, "experts": _EXPERTS}[part]
    return ModelError(
        f"config.json names code for its {part}: {str(value)[:80]!r}",
        where=place,
        expected=f"nothing, or one of {', '.join(known)}",
        cure="remove it; code that a repository brings along is never run",
    )


def _read_config(directory: Path) -> dict[str, Any]:
    try:
        content = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"config.json cannot be read: {error}", where=directory) from None
    return content if isinstance(content, dict) else {}


@contextmanager
def loading(where: str) -> Iterator[None]:
    """transformers quiet, and its exceptions as one message. ``where``: the model, as messages call it."""
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
    except (PtmError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        fault = native_fault(error)
        if fault is not None:
            raise fault from error
        # Files of others can break transformers in any way; none of it is a bug of ours.
        raise _unloadable(where, error) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        report.setLevel(level)


def _unloadable(where: str, error: Exception) -> ModelError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    what = f"cannot be loaded: {lines[0] if lines else type(error).__name__}"
    expected = "a model of transformers that suits the task, with its tokenizer"
    cure = "check the name; code that a repository brings along is never run"
    if isinstance(error, UnpicklingError):
        what = "its weights hold more than tensors; reading that could run code, so it was not read"
        expected = "model.safetensors, or a pytorch_model.bin with nothing but tensors in it"
        cure = "use another checkpoint"
    elif type(error).__name__ == "SafetensorError":
        what = f"model.safetensors cannot be read: {lines[0] if lines else 'no reason given'}"
        expected = "the weights as they were saved"
        cure = "the file is damaged or incomplete: fetch or save it again"
    return ModelError(what, where=where, expected=expected, cure=cure)
