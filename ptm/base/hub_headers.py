"""What a hub says in headers becomes a part of a path: looked at before the hub's client makes a file of it.

``huggingface_hub`` keeps what it downloads as ``blobs/ETAG`` and ``snapshots/COMMIT``, as the server writes both. An
ETag that is an absolute path, or leads upwards, was written there, with content of the server's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import PurePath
from types import ModuleType
from typing import Any

from ptm.base.loaders import WrappedLoader, wrapped_spec

_CLIENT = "huggingface_hub.utils._http"  # where its HTTP client is made
_COMMIT = "X-Repo-Commit"
_ETAGS = ("X-Linked-Etag", "ETag")


def guard_hub() -> None:
    """From here on the client of the hub takes no name that leads out of its cache."""
    if (imported := sys.modules.get(_CLIENT)) is not None:
        _guard(imported)
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return wrapped_spec(self, _Guarded, fullname, path, target) if fullname == _CLIENT else None


class _Guarded(WrappedLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        _guard(module)


def _guard(module: Any) -> None:
    make = getattr(module, "_GLOBAL_CLIENT_FACTORY", module.default_client_factory)

    def client() -> Any:
        made = make()
        hooks = made.event_hooks
        made.event_hooks = {**hooks, "response": [*hooks["response"], require_names]}
        return made

    module.set_client_factory(client)


def require_names(response: Any) -> None:
    """Raise MissingDownload for an answer about a file whose ETag or commit is a path that leads elsewhere."""
    if response.request.method != "HEAD":  # what a file is called is asked by this alone
        return
    etags = [response.headers.get(name, "").lstrip("W/").strip('"') for name in _ETAGS]
    for name in (response.headers.get(_COMMIT, ""), *etags):
        if name.startswith("/") or ".." in PurePath(name).parts or "\0" in name:
            from ptm.errors import MissingDownload

            raise MissingDownload(
                f"the hub calls it {name[:80]!r}, which leads out of the cache",
                where=str(response.request.url)[:300],
                expected="a name without folders",
                cure="ask a hub that you trust: HF_ENDPOINT",
            )
