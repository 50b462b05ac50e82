"""Weights that another program wrote: read without executing anything, and fitted to a model or refused.

A checkpoint that loads halfway trains from a half-random start and nobody notices. So a backbone is loaded
whole or not at all; only the output layer may be new, and only when the model is about to be trained.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from ptm.base.regular import hindrance
from ptm.errors import MOST_PROBLEMS, ModelError, Problem
from ptm.models.seals import CURE_OF_UNREADABLE, require_intact

PICKLE_SUFFIXES = (".pth", ".th", ".pt", ".bin", ".ckpt", ".tar")  # .pth.tar
SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)

# Where programs put weights beside other things.
_CONTAINERS = ("state_dict", "model", "model_state_dict", "module", "net", "network")
# The same weights, averaged over steps: of timm, of torchvision's recipes, of others.
_AVERAGED = ("state_dict_ema", "model_ema", "ema", "ema_state_dict")
_SAVED = "model.safetensors"
# Left by DataParallel, torch.compile, and wrapper classes.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
# How torch's restricted unpickler says that it was asked to import, build or call something.
_REFUSALS = (
    r"GLOBAL (\S+) was not an allowed",
    r"unsupported GLOBAL (\S+) whose module",
    r"unrecognized function (.+)",
    r"but got (<class .+>)",
    r"with (TorchScript archives)",
)


@dataclass(frozen=True)
class LoadReport:
    """What became of a checkpoint: how many tensors were loaded, which are new, which were of no use."""

    source: str
    loaded: int
    new: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()  # other sets of weights in the same file, which were not used
    order: tuple[str, ...] = ()  # labels that outputs without names were taken to be, one after the other
    commit: str | None = None  # of a hub, which the model was read at

    def as_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "loaded": self.loaded,
            "new": list(self.new),
            "left_over": list(self.left_over),
            **({"beside": list(self.beside)} if self.beside else {}),
            **({"order": list(self.order)} if self.order else {}),
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be said of a model that is used as it is."""
        if not self.order:
            return ()
        names = _some(self.order)
        return (f"the outputs of {self.source} have no names: they are taken to be, in this order, {names}",)

    def __str__(self) -> str:
        if self.loaded == 0 and not self.left_over:
            return f"{self.source}, nothing loaded"
        new = f"; new: {_some(self.new)}" if self.new else ""
        left_over = f"; not used: {_some(self.left_over)}" if self.left_over else ""
        others = " and ".join(self.beside)
        beside = f"; the file holds {others} as well, which was not used" if self.beside else ""
        return f"{self.source}: {self.loaded} tensors loaded{new}{left_over}{beside}"


def bare_report(place: str) -> LoadReport:
    """Of a network without weights, :attr:`ptm.config.model_ref.ModelRef.bare`: nothing in it is new, for nothing in it
    is used."""
    return LoadReport(f"{place}, computed by its export", 0, left_over=())


class Weights(dict[str, Tensor]):
    """Tensors by name. ``beside``: keys of the file's other sets of weights."""

    beside: tuple[str, ...] = ()


def read_weights(path: Path) -> Weights:
    """The tensors of a checkpoint by name, on the CPU, without containers and prefixes around them.

    Pickled checkpoints go through torch's restricted unpickler, which knows tensors and plain containers and
    calls nothing else. Whatever is unreadable or holds more than tensors is a ModelError. Of a file with weights and
    their average over steps (``state_dict`` and ``state_dict_ema``) the weights are read; ``beside`` names the other.
    """
    path = file_of_weights(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ModelError(
            f"weights cannot be read from a {suffix or 'nameless'} file",
            where=path,
            expected=f"a file that ends in {', '.join(SUFFIXES)}",
        )
    if what := hindrance(path):
        cure = CURE_OF_UNREADABLE if os.path.lexists(path) else "correct the path of the weights"
        raise ModelError(what, where=path, cure=cure)
    require_intact(path.parent)
    content = _read_safetensors(path) if suffix == ".safetensors" else _read_pickle(path)
    weights = Weights(_strip_prefixes(_require_tensors(_unwrap(content), path)))
    weights.beside = _beside(content)
    return weights


def file_of_weights(path: Path) -> Path:
    """The file of weights that a path means: that of a finished run, where it is the run's directory or its model/."""
    places = (path / "model" / _SAVED, path / _SAVED)
    return next((place for place in places if place.is_file()), path) if path.is_dir() else path


def named_file(weights: str, key: str) -> Path:
    """The file that the value of ``key`` means (:func:`is_file_name`). Raises ModelError where nothing is there."""
    path = Path(weights).expanduser()
    if not path.exists():  # a link to nothing, too
        raise ModelError(hindrance(path) or "there is no such file", where=path, cure=f"correct {key}")
    return file_of_weights(path)


def is_file_name(weights: str) -> bool:
    """Whether the value of ``weights`` means a file (or the directory of a run), rather than a name."""
    return "/" in weights or Path(weights).suffix.lower() in SUFFIXES


def fit_weights(
    model: nn.Module,
    state: Mapping[str, Tensor],
    head: tuple[str, ...],
    where: str,
    *,
    complete: bool,
    beside: tuple[str, ...] = (),
) -> LoadReport:
    """Copy ``state`` into ``model``. ``head`` are prefixes of the names of the output layer; ``beside`` is recorded.

    The backbone must fit in every name and shape. Output layers of another shape, or that are not in
    ``state``, stay as they were initialised and are reported as new; with ``complete`` (a teacher, an
    evaluation) they must fit too. Raises ModelError before anything is changed.
    """
    own = model.state_dict()
    misfits = [name for name in own if name in state and not _fits(own[name], state[name])]
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    new = tuple(name for name in own if name in {*misfits, *missing} and _within(name, head))
    broken = [name for name in (*misfits, *missing) if not _within(name, head)]
    if broken:
        raise ModelError(_misfit(own, state, broken, where))
    if new and complete:
        raise ModelError(
            f"its output layer would be random: {_describe(own, state, new)}",
            where=where,
            expected="a model trained on as many classes as the data have",
            cure="use a model fine-tuned on these labels, or fine-tune this one first",
        )
    with torch.no_grad():
        for name, tensor in own.items():
            if name in state and name not in new:
                tensor.copy_(state[name])
    loaded = sum(name in state for name in own) - sum(name in state for name in new)
    left_over = tuple(name for name in state if name not in own)
    return LoadReport(where, loaded, new, left_over, beside)


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise _unreadable(path, error) from None


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of what it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or broken pickle can raise anything; none of it is a bug of ours
        refused = next((match[1] for form in _REFUSALS if (match := re.search(form, str(error)))), None)
        if refused is None:
            raise _unreadable(path, error) from None
        raise ModelError(
            f"holds more than tensors ({refused.strip()}); reading that could run code, so it was not read",
            where=path,
            expected="tensors by name",
            cure="have the program that made it write the tensors alone: safetensors, or "
            "torch.save(model.state_dict(), 'weights.pth')",
        ) from None


def _unreadable(path: Path, error: Exception) -> ModelError:
    text = str(error).strip()
    why = (
        f": {text.splitlines()[0][:200]}"
        if text and not isinstance(error, (UnpicklingError, KeyError))
        else ""
    )
    try:
        with path.open("rb") as file:
            pointer = file.read(24).startswith(b"version https://git-lfs")
    except OSError:
        pointer = False
    if pointer:
        return ModelError(
            "is a Git LFS pointer, not the weights", where=path, cure="fetch the file: git lfs pull"
        )
    return ModelError(
        f"cannot be read as {path.suffix} weights{why}",
        where=path,
        cure="the file is damaged, incomplete or of another kind: fetch or save it again",
    )


def _unwrap(content: Any) -> Any:
    """The innermost of nested containers such as ``{"epoch": 3, "state_dict": {…}}``."""
    for _ in range(8):  # a pickle can contain itself
        if not isinstance(content, Mapping):
            break
        content = next(
            (content[key] for key in (*_CONTAINERS, *_AVERAGED) if isinstance(content.get(key), Mapping)),
            content,
        )
    return content


def _beside(content: Any) -> tuple[str, ...]:
    """Keys of averaged weights in a checkpoint, where others were taken."""
    if not isinstance(content, Mapping) or not any(
        isinstance(content.get(key), Mapping) for key in _CONTAINERS
    ):
        return ()
    return tuple(key for key in _AVERAGED if isinstance(content.get(key), Mapping))


def _require_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        raise ModelError(
            f"holds {f'a {type(content).__name__}' if not isinstance(content, Mapping) else 'nothing'}",
            where=path,
            expected=f"tensors by name, directly or under one of {', '.join(_CONTAINERS)}",
        )
    foreign = [
        f"{key!r} ({type(value).__name__})" for key, value in content.items() if not _plain(key, value)
    ]
    if foreign:
        raise ModelError(
            f"holds entries that are not plain tensors: {_some(foreign)}",
            where=path,
            expected=f"tensors by name, directly or under one of {', '.join(_CONTAINERS)}",
            cure="save model.state_dict() alone",
        )
    return {name: tensor.detach() for name, tensor in content.items()}


def _plain(key: Any, value: Any) -> bool:
    """Whether this is a name and a dense tensor that has its values with it."""
    return (
        isinstance(key, str)
        and isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix.rstrip('.')}.") for prefix in prefixes)


def _fits(own: Tensor, stored: Tensor) -> bool:
    return own.shape == stored.shape and own.is_floating_point() == stored.is_floating_point()


def _misfit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], broken: list[str], where: str) -> Problem:
    fraction = sum(name in state for name in own) / max(1, len(own))
    if fraction < 0.5:
        return Problem(
            f"these are weights of another model: only {fraction:.0%} of the names are in them",
            where,
            f"names such as {_some(tuple(own))}; found {_some(tuple(state))}",
            "choose the model that the weights were made for",
        )
    return Problem(
        f"the weights do not fit the model: {_describe(own, state, broken)}",
        where,
        "every tensor of the model but the output layer, in the same shape",
        "choose the model (and width) that the weights were made for",
    )


def _describe(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], names: tuple[str, ...] | list[str]
) -> str:
    """``fc.weight: [10, 512] in the model, [1000, 512] in the file; … and 3 more``."""
    return _some(
        [
            f"{name}: {_form(own[name])} in the model, "
            + (f"{_form(state[name])} in the weights" if name in state else "missing in the weights")
            for name in names
        ],
        separator="; ",
    )


def _form(tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else f" {str(tensor.dtype).removeprefix('torch.')}"
    return f"{list(tensor.shape)}{kind}"


def _some(names: tuple[str, ...] | list[str], separator: str = ", ") -> str:
    more = [f"and {len(names) - MOST_PROBLEMS} more"] if len(names) > MOST_PROBLEMS else []
    return separator.join([*names[:MOST_PROBLEMS], *more])


def weights_digest(model: torch.nn.Module, without: tuple[str, ...] = ()) -> str:
    """SHA-256 over all tensors of a model, names and bytes, in order, but those whose names begin so."""
    digest = hashlib.sha256()
    tensors = {
        name: t for name, t in model.state_dict().items() if not (without and name.startswith(without))
    }
    for name, tensor in tensors.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
