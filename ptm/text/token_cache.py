"""Tokens that were made once are not made again: kept in the cache by all that decides them.

That is the texts themselves, the arguments of the function that makes tokens of them, the versions of the tokenizers'
packages, and ptm's own code for it. An argument of an unknown kind, a tokenizer whose rules cannot be written down, or
texts that take no time to be tokenised: nothing is kept, and no file is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np

from ptm.base import array_cache
from ptm.data.arrow import Texts
from ptm.data.arrow_lists import Lists
from ptm.data.examples import Examples
from ptm.text.tokens import tokenizer_digest
from ptm.text.windows import LongTexts

LEAST_BYTES = 250_000  # of texts in UTF-8, about 4,000 sentences: 0.3 s to tokenise, 0.05 s to store
_CHUNK = 20_000  # texts hashed at a time

EncodingT = TypeVar("EncodingT")


def encode_once(
    encode: Callable[[Examples], EncodingT], examples: Examples, about: Mapping[str, Any]
) -> tuple[EncodingT, str]:
    """What ``encode`` makes of these examples, and why it could not be kept ("" where it was, or was not to be).

    What comes from the cache is equal to the bit, its arrays are mapped into memory and can only be read. ``about`` is
    for people (``ptm cache list``).
    """
    identity = identity_of(encode, examples)
    if identity is None:
        return encode(examples), ""
    kind = get_type_hints(encode.func)["return"]  # type: ignore[attr-defined]
    if (present := _present(identity, kind)) is not None:
        return present, ""
    encoding = encode(examples)
    arrays: dict[str, np.ndarray] = {}
    values = _as_json(encoding, "", arrays)
    problem = array_cache.save(identity, about, array_cache.Content(arrays, values))
    present = None if problem else _present(identity, kind)  # mapped, where this one is in memory
    return encoding if present is None else present, problem or ""


def _present(identity: Mapping[str, Any], kind: Any) -> Any:
    """What was kept, of this type; None where nothing was, or of another form than was written."""
    present = array_cache.load(identity)
    with suppress(ValueError):
        return None if present is None else _from_json(present.values, present.arrays, kind)
    return None


def identity_of(encode: Callable[[Examples], Any], examples: Examples) -> dict[str, Any] | None:
    """All that decides the tokens of these examples; None where they are not to be kept."""
    if not isinstance(encode, partial):
        return None
    arguments = [_argument(value) for value in (*encode.args, *encode.keywords.values())]
    if None in arguments:
        return None
    found = _content(examples)
    if found is None or found[1] < LEAST_BYTES:
        return None
    return {
        "function": f"{encode.func.__module__}.{encode.func.__qualname__}",
        "arguments": [*arguments, *encode.keywords],
        "content": found[0],
        "code": array_cache.code_digest(Path(__file__).parent),
        "versions": [metadata.version(name) for name in ("tokenizers", "transformers", "numpy")],
    }


def _argument(value: Any) -> list[Any] | None:
    """What an argument is, as JSON takes it; None for what cannot be told."""
    if value is None or isinstance(value, bool | int | float | str):
        return ["value", value]
    if isinstance(value, LongTexts):
        return ["long texts", asdict(value)]
    if getattr(value, "backend_tokenizer", None) is not None:
        special = {name: str(token) for name, token in sorted(value.special_tokens_map.items())}
        sides = [str(getattr(value, name, None)) for name in ("truncation_side", "split_special_tokens")]
        return ["tokenizer", type(value).__name__, tokenizer_digest(value), special, sides]
    return None


def _content(examples: Examples) -> tuple[str, int] | None:
    """SHA-256 of the examples' columns and targets, and the bytes of the columns; None for columns of anything but
    texts, or lists of them."""
    sha, size = hashlib.sha256(), 0
    for role, column in examples.columns.items():
        sha.update(f"{role}\0{len(column)}\0".encode())
        if isinstance(column, Texts) or (isinstance(column, Lists) and _all_texts(column)):
            sha.update(column.digest.encode())
            size += column.nbytes
            continue
        for start in range(0, len(column), _CHUNK):
            chunk: Sequence[Any] = column[start : start + _CHUNK]
            if not all(type(value) is str for value in chunk):
                if not all(isinstance(value, list | tuple) for value in chunk):
                    return None
                sha.update(np.array([len(value) for value in chunk], dtype="<i8").tobytes())
                chunk = [word for value in chunk for word in value]
                if not all(type(word) is str for word in chunk):
                    return None
            content = "".join(chunk).encode("utf-8", "surrogatepass")
            sha.update(np.array([len(text) for text in chunk], dtype="<i8").tobytes())
            sha.update(content)
            size += len(content)
    for row in _target_arrays(examples.targets):
        array = np.empty(0) if row is None else np.ascontiguousarray(row)
        if array.dtype.hasobject:
            return None
        sha.update(f"{array.dtype.str}{array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest(), size


def _all_texts(lists: Lists) -> bool:
    """Whether there is nothing but texts in them."""
    items = lists.items
    return isinstance(items, Texts) or all(type(value) is str for value in items.values)


def _target_arrays(targets: Any) -> Iterable[Any]:
    """What is hashed of targets: of an array a row (tags, answers) all of them end to end, and the size of each."""
    if not isinstance(targets, np.ndarray) or targets.dtype != object:
        return [targets]
    if not all(isinstance(row, np.ndarray) and row.ndim == 1 and row.dtype == np.int64 for row in targets):
        return list(targets)
    sizes = np.array([len(row) for row in targets], dtype=np.int64)
    return [sizes, np.concatenate([np.empty(0, dtype=np.int64), *targets])]


def _as_json(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """``value`` as JSON takes it, its arrays put into ``arrays``."""
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {"array": name}
    if is_dataclass(value) and not isinstance(value, type):
        front = f"{name}." if name else ""
        return {
            "parts": {
                field.name: _as_json(getattr(value, field.name), f"{front}{field.name}", arrays)
                for field in fields(value)
            }
        }
    assert value is None or isinstance(value, bool | int | str), f"{name} cannot be kept"
    return value


def _from_json(value: Any, arrays: Mapping[str, np.ndarray], kind: Any) -> Any:
    """The inverse of :func:`_as_json`; ``kind`` is the annotation of what it is. Raises ValueError for anything else:
    the CRC tells of damage, not of whoever wrote into the cache."""
    options = get_args(kind) or (kind,)
    whole: Any = next((option for option in options if is_dataclass(option)), None)
    match value:
        case {"array": str(name)} if np.ndarray in options and name in arrays:
            return arrays[name]
        case {"parts": dict(parts)} if whole is not None:
            kinds = get_type_hints(whole)
            if parts.keys() == {field.name for field in fields(whole)}:
                return whole(**{name: _from_json(part, arrays, kinds[name]) for name, part in parts.items()})
        case None | bool() | int() | str() if type(value) in options:
            return value
    raise ValueError(f"what is kept is no {kind}")
