"""Published weights: in torch's cache, or fetched into it; always with the digest that the name promises."""

from __future__ import annotations

import hashlib
import http.client
import re
import sys
import urllib.error
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torchvision.models import WeightsEnum

from ptm.base import network
from ptm.config.model_ref import ModelRef
from ptm.errors import MissingDownload, ModelError, Problem, StorageError


def cached_file(url: str) -> Path:
    """Where torch keeps, or would keep, the file of ``url``: ``$TORCH_HOME/hub/checkpoints``."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name


def missing_file(weights: WeightsEnum, ref: ModelRef) -> list[Problem]:
    """A problem if these published weights, which ``ref`` asks for, are neither cached nor can be fetched."""
    if cached_file(weights.url).is_file() or network.reachable(weights.url):
        return []
    return [
        _not_cached(weights.url, f"{ref.role} {ref.name} (weights {weights.name})", key=ref.key("weights"))
    ]


def _not_cached(url: str, what: str, *, key: str) -> Problem:
    return Problem(
        "is not in the cache, and cannot be downloaded: "
        + ("the network is switched off" if network.offline() else "no connection"),
        what,
        f"{cached_file(url)}",
        f"put {url} there; or start from a file, --set {key}=FILE.pth, or at random, --set {key}=none",
    )


def fetch(url: str) -> Path:
    """The file of ``url``, downloaded when it is not cached. Raises MissingDownload without a connection."""
    path = cached_file(url)
    if not path.is_file():
        if network.offline():
            raise MissingDownload(_not_cached(url, path.name, key="model.weights"))
        _download(url, path)
    _check_digest(path, url)
    return path


def _download(url: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), _digest_prefix(path), progress=sys.stderr.isatty())
    except (urllib.error.URLError, ConnectionError, TimeoutError, http.client.HTTPException) as error:
        raise MissingDownload(
            f"cannot be downloaded: {error}", where=url, cure=f"put it at {path}, or use other weights"
        ) from None
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=path) from None
    except RuntimeError as error:  # torch's word for a wrong digest
        raise ModelError(f"what was downloaded is not what was published: {error}", where=url) from None


def _check_digest(path: Path, url: str) -> None:
    """A cached file may be cut short or another one of the same name; 100 MB take 0.1 s to check."""
    prefix = _digest_prefix(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if prefix and not digest.startswith(prefix):
        raise ModelError(
            f"the file is damaged or another one: its SHA-256 starts with {digest[: len(prefix)]}",
            where=path,
            expected=prefix,
            cure=f"remove it; it is then fetched again from {url}",
        )


def _digest_prefix(path: Path) -> str | None:
    """``resnet18-f37072fd.pth`` → ``f37072fd``, as in ``torch.hub``."""
    match = re.search(r"-([a-f0-9]{8,})\.", path.name)
    return match[1] if match else None
