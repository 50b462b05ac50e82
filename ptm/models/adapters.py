"""LoRA (Hu et al. 2021, arXiv:2106.09685) through peft: added to a model, merged into it, saved beside it, loaded.

An adapter is put into the model itself, so that nobody else has to know of it: forward passes, the head and the
embeddings keep their names. Only the names of the wrapped weights change, and only while training lasts.
"""

from __future__ import annotations

import importlib.util
import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ptm.base.extras import install, nothing_fetched
from ptm.base.regular import hindrance
from ptm.base.seeds import INIT, mix
from ptm.config.spec import AdapterSpec, ModelSpec
from ptm.errors import ConfigError, MissingDownload, ModelError, Problem

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # as peft calls them
_MODEL = "model.safetensors"
_PREFIX = "base_model.model."  # of all names in an adapter's file
_MOST_RANK = 65_536
_STREAM = 2  # of the random numbers for new weights: 0 are the model's, 1 those of projections
# What architectures that peft has no word on call the projections that the paper adapts.
_QUERY_AND_VALUE = (("query", "value"), ("q_proj", "v_proj"), ("q_lin", "v_lin"), ("q", "v"), ("Wqkv",))
# Their linear layers are read, not called: what stands beside such a weight would never be asked.
_READ_DIRECTLY = ("MultiheadAttention", "ShiftedWindowAttention", "ShiftedWindowAttentionV2")


def missing(model: ModelSpec) -> list[Problem]:
    """The package that an adapter needs, if it is asked for and is not there."""
    return [_no_peft("model.adapter")] if model.adapter is not None and not _installed() else []


def _installed() -> bool:
    return importlib.util.find_spec("peft") is not None


def _no_peft(where: str) -> Problem:
    return Problem("adapters need the package peft", where, "it to be installed", install("lora"))


# -- while training ------------------------------------------------------------------------------------------


def add_adapter(model: nn.Module, spec: AdapterSpec, head: Sequence[str], *, seed: int) -> tuple[str, ...]:
    """Freeze the model but for its head and put an adapter beside the weights of ``spec.targets``.

    The new matrices are a function of ``seed`` alone, and change nothing at first: B is 0. Returns the names of the
    modules that got one. Raises ConfigError when there is none that can.
    """
    names = target_names(model, spec.targets, head)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(mix(seed, INIT, _STREAM))
        _inject(model, _config(spec, names))
    for name, parameter in model.named_parameters():
        if head and name.startswith(tuple(head)):
            parameter.requires_grad_(True)
    return names


def target_names(model: nn.Module, ends: Sequence[str] | None, head: Sequence[str]) -> tuple[str, ...]:
    """Names of the modules that get an adapter: those whose names end so, the head's excepted.

    By default the attention projections that peft names for an architecture of transformers (for BERT ``query`` and
    ``value``, as in the paper; those of the same meaning where it names none), and all convolutions and linear layers
    of any other model, but for those that peft cannot serve: grouped or dilated convolutions, and attention that
    reads its weights directly.
    Raises ConfigError when nothing is found.
    """
    endings = tuple(ends) if ends is not None else _usual_ends(model)
    served = _layers_served(model, head)
    named = [
        n for n in served if endings is None or any(n == end or n.endswith(f".{end}") for end in endings)
    ]
    refused = [name for name in named if not served[name]]
    if refused and ends is not None:
        raise ConfigError(
            f"{refused[0]} cannot have an adapter: it is a grouped or dilated convolution, or attention that "
            "reads its weights directly",
            where="model.adapter.targets",
            cure="name other modules, or leave targets out",
        )
    chosen = tuple(name for name in named if served[name])
    if not chosen:
        ending = f" ends in {', '.join(endings)}" if endings else " is there"
        known = sorted({name.rpartition(".")[2] for name in served if served[name]})
        raise ConfigError(
            f"no linear layer or convolution{ending}",
            where="model.adapter.targets",
            expected=f"ends of names such as {', '.join(known[:8])}",
        )
    return chosen


def _layers_served(model: nn.Module, head: Sequence[str]) -> dict[str, bool]:
    """Names of all linear layers and convolutions but the head's, and whether peft can serve each."""
    from transformers.pytorch_utils import Conv1D

    heads = tuple(f"{name.rstrip('.')}." for name in head)
    read_directly = tuple(
        f"{name}." for name, module in model.named_modules() if type(module).__name__ in _READ_DIRECTLY
    )
    return {
        name: _servable(module) and not name.startswith(read_directly)
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d, Conv1D)) and not f"{name}.".startswith(heads)
    }


def _usual_ends(model: nn.Module) -> tuple[str, ...] | None:
    """What peft gives an adapter in this architecture; None outside of transformers."""
    with nothing_fetched():
        from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as USUAL

    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind is None:
        return None
    if kind not in USUAL:
        last = {name.rpartition(".")[2] for name, _ in model.named_modules()}
        common = next((pair for pair in _QUERY_AND_VALUE if set(pair) <= last), None)
        if common is not None:
            return common
        raise ConfigError(
            f"nobody has said which modules of a {kind} get an adapter",
            where="model.adapter",
            expected=f"one of {', '.join(sorted(USUAL))}, or targets",
            cure="name the attention projections: adapter: {targets: [q_proj, v_proj]}",
        )
    ends = USUAL[kind]
    return (ends,) if isinstance(ends, str) else tuple(ends)


def _servable(module: nn.Module) -> bool:
    if not isinstance(module, nn.Conv2d):
        return True
    return module.groups == 1 and set(module.dilation) == {1} and module.padding_mode == "zeros"


def _config(spec: AdapterSpec, names: Sequence[str]) -> Any:
    with nothing_fetched():
        from peft import LoraConfig

    # As a pattern, because peft takes an entry of a list as the end of a name, which could be the head's too.
    pattern = "|".join(re.escape(name) for name in names)
    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,  # type: ignore[arg-type]  # peft divides it, nothing else
        lora_dropout=spec.dropout,
        target_modules=f"({pattern})",
    )


def _inject(model: nn.Module, config: Any) -> None:
    with nothing_fetched():
        from peft import inject_adapter_in_model

        inject_adapter_in_model(config, model)


def has_adapter(model: nn.Module) -> bool:
    return hasattr(model, "peft_config")


def left_as_loaded(model: nn.Module) -> frozenset[str]:
    """Names of the weights that an adapter leaves as they were loaded, so that no checkpoint needs them."""
    if not has_adapter(model):
        return frozenset()
    return frozenset(name for name, p in model.named_parameters() if not p.requires_grad)


# -- afterwards ----------------------------------------------------------------------------------------------


@torch.no_grad()
def take_out(model: nn.Module, *, merge: bool) -> None:
    """Make the model an ordinary one again, with the update added to its weights or without it; all can be trained."""
    if not has_adapter(model):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            if merge:
                module.merge()
            plain = module.get_base_layer()
        elif isinstance(module, ModulesToSaveWrapper):
            plain = module.modules_to_save[module.active_adapters[0]]
        else:
            continue
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, plain)
    model.requires_grad_(True)
    del model.peft_config
    if getattr(model, "_hf_peft_config_loaded", False):
        model._hf_peft_config_loaded = False  # type: ignore[assignment]


def save_beside(
    model: nn.Module, head: Sequence[str], directory: Path, save_model: Callable[[Path], None]
) -> None:
    """Save weights and adapter apart, in ``directory``; the model has no adapter afterwards.

    ``model.safetensors`` holds the weights as they were loaded, but for the head: that belongs to the adapter, in the
    files that peft writes. So transformers (with peft) loads the directory as it is, peft loads the adapter onto the
    same weights from elsewhere, and whoever forgets the adapter is told that the head is missing.
    """
    from safetensors.torch import load_file, save

    state = model.state_dict()
    adapter = {name: tensor for name, tensor in state.items() if ".lora_" in name}
    of_head = {name: tensor for name, tensor in state.items() if head and name.startswith(tuple(head))}
    config: Any = model.peft_config["default"]  # type: ignore[index]
    config.inference_mode = True
    config.modules_to_save = sorted({prefix.rstrip(".") for prefix in head}) or None
    tensors = {
        _PREFIX + name.replace(".default.", "."): tensor.detach().cpu().contiguous()
        for name, tensor in (*adapter.items(), *of_head.items())
    }
    take_out(model, merge=False)
    save_model(directory)
    rest = {name: tensor for name, tensor in load_file(directory / _MODEL).items() if name not in of_head}
    (directory / _MODEL).write_bytes(save(rest, metadata={"format": "pt"}))
    (directory / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
    (directory / CONFIG).write_text(json.dumps(_plain(config.to_dict()), indent=2, sort_keys=True) + "\n")


def _plain(value: Any) -> Any:
    """As JSON takes it, sets in order."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, set):
        return sorted(value)
    return value


# -- loading -------------------------------------------------------------------------------------------------


def require_loadable(directory: Path) -> None:
    """Raise MissingDownload when there is an adapter beside a model and peft is not there to read it."""
    if (directory / CONFIG).is_file() and not _installed():
        raise MissingDownload(_no_peft(str(directory / CONFIG)))


def require_plausible(directory: Path) -> None:
    """Raise ModelError for an adapter beside a model that names code of another package, or is larger than any.

    transformers hands what stands in its file to peft, which imports ``megatron_core`` by name and makes matrices of
    the ranks.
    """
    if not (directory / CONFIG).is_file():
        return
    try:
        content = json.loads((directory / CONFIG).read_bytes())
        pattern = content.get("rank_pattern") or {}
        ranks = [content.get("r", 1), *pattern.values()]
        odd = next((rank for rank in ranks if type(rank) is not int or not 0 < rank <= _MOST_RANK), None)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ModelError(f"cannot be read: {error}", where=directory / CONFIG) from None
    what = (
        f"has the rank {odd!r:.40}" if odd is not None else "names code of another package: megatron_config"
    )
    if odd is not None or content.get("megatron_config") is not None:
        expected = f"ranks from 1 to {_MOST_RANK:,}, and no code"
        raise ModelError(what, where=directory / CONFIG, expected=expected, cure="fetch the adapter again")


def head_of_adapter(directory: Path) -> dict[str, Tensor]:
    """The tensors of the head that an adapter beside a model brings along; {} where there is none."""
    if not (directory / CONFIG).is_file():
        return {}
    return {name: tensor for name, tensor in _read(directory)[1].items() if ".lora_" not in name}


def merge_saved(model: nn.Module, directory: Path) -> None:
    """Add the adapter that stands beside a model's weights, if there is one. Raises ModelError when it does not fit."""
    if not (directory / CONFIG).is_file():
        return
    require_loadable(directory)
    from peft import LoraConfig, set_peft_model_state_dict

    content, tensors = _read(directory)
    matrices = {name: tensor for name, tensor in tensors.items() if ".lora_" in name}
    try:
        config = LoraConfig(
            r=content["r"], lora_alpha=content["lora_alpha"], target_modules=content["target_modules"]
        )
        _inject(model, config)
        result: Any = set_peft_model_state_dict(model, matrices)
        lacking = [name for name in result.missing_keys if "lora_" in name] + list(result.unexpected_keys)
        if lacking:
            raise ValueError(f"{lacking[0]} is in one of them only")
        take_out(model, merge=True)
    except (KeyError, TypeError, ValueError, RuntimeError, re.error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the adapter does not fit the model: {reason}", where=directory / CONFIG) from None


def _read(directory: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """Settings and tensors of an adapter, without the prefix of their names."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        content = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        if what := hindrance(directory / WEIGHTS):
            raise ValueError(f"{WEIGHTS}: {what}")
        tensors = load_file(directory / WEIGHTS)
        if content["peft_type"] != "LORA":
            raise ValueError(f"an adapter of the kind {str(content['peft_type'])[:40]}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the adapter cannot be read: {reason}", where=directory) from None
    return content, {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
