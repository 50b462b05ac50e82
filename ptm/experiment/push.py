"""``ptm push``: a finished run's model, or an export, to a repository of a hub. Nothing is sent that was not listed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptm.base import files, network
from ptm.base.console import Reporter
from ptm.base.regular import kind_of, strays
from ptm.config.load import load_config
from ptm.errors import ConfigError, HubRefused, ModelError, Problem, RunDirectoryError, first_line
from ptm.experiment.export_files import export_card
from ptm.export.directory import CONFIG, SEAL, is_export, require_export, sent_names
from ptm.export.record import RECORD
from ptm.models.seals import require_intact
from ptm.report.hub import (
    REPOSITORY,
    Published,
    hub_model,
    metadata,
    of_export,
    private_paths,
    public,
    published,
)
from ptm.report.inputs import RunFiles, read_run
from ptm.report.page import card_text
from ptm.run.directory import RunDirectory
from ptm.run.opening import read_finished
from ptm.run.ownership import may_be_of_model

CARD = "README.md"
# Of an export only what a stranger runs; the others name places of this machine.
_KEPT_BACK = (CONFIG, RECORD, SEAL, CARD)
# Files of vocabularies: their pieces look like paths.
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json")
_TEXTS = (".json", ".jsonl", ".txt", ".md", ".py", ".yaml", ".jinja")


@dataclass(frozen=True)
class Upload:
    """A file of a repository: its name there, and where its content is: in a file here, or made."""

    name: str
    content: Path | bytes

    @property
    def bytes(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What ``ptm push`` would send to ``repository``."""

    repository: str
    uploads: tuple[Upload, ...]
    licence: str | None
    base: str | None
    left_behind: tuple[str, ...] = ()  # names of other files that lie there

    def as_dict(self) -> dict[str, Any]:
        return {
            "repository": self.repository,
            "licence": self.licence,
            "base_model": self.base,
            "files": [{"name": upload.name, "bytes": upload.bytes} for upload in self.uploads],
            "left_behind": list(self.left_behind),
            "bytes": sum(upload.bytes for upload in self.uploads),
        }


def plan_push(target: Path, repository: str, *, licence: str | None, include: Sequence[str] = ()) -> Plan:
    """The files of a run, or of an export, for a repository ``owner/name``.

    Of a run the files of ``model/``, at the top, where transformers looks for them, and a card; of an export its graph
    and what its program needs. ``include``: names of other files and folders of the directory that go along.
    Raises RunDirectoryError, ConfigError, ModelError where the directory is not whole, or a file names a place of this
    machine.
    """
    require_repository(repository)
    more = [upload for name in include for upload in _included(target, name)]
    if is_export(target):
        model, uploads = _of_export(target, repository, licence)
    else:
        model, uploads = _of_run(target, repository, licence)
    named = {upload.name: upload for upload in more} | {upload.name: upload for upload in uploads}
    _require_private([upload for upload in uploads if upload.name not in {other.name for other in more}])
    ordered = tuple(named[name] for name in sorted(named))
    left_behind = _left_behind(target, ordered)
    return Plan(
        repository=repository,
        uploads=ordered,
        licence=model.licence,
        base=model.base,
        left_behind=left_behind,
    )


def _of_run(run: Path, repository: str, licence: str | None) -> tuple[Published, list[Upload]]:
    read_finished(run)
    require_intact(run / "model")
    if RunDirectory(run).read_manifest() is None:
        raise RunDirectoryError(
            "the record of the run is missing or damaged",
            where=run / "manifest.json",
            expected="the file as the run wrote it",
            cure="restore it, or run the config again",
        )
    model, card = hub_card(run, repository, licence)
    return model, [*_of_model(run / "model"), Upload(CARD, files.utf8(card))]


def _of_model(folder: Path) -> list[Upload]:
    """The files of a saved model that its seal lists: what somebody put beside them is not ours to publish. Nor is what
    has no name of a model's file, for whoever wrote the seal may have listed anything."""
    names = [SEAL, *files.sealed_names(folder)]
    chosen = [
        name for name in names if may_be_of_model(name) and not _is_hidden(name) and Path(name).name != CARD
    ]
    return [Upload(name, folder / name) for name in sorted(chosen)]


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in Path(name).parts)


def _left_behind(target: Path, uploads: Sequence[Upload]) -> tuple[str, ...]:
    """Names of files in a model's folder, or an export's, that are not sent."""
    folder = target if is_export(target) else target / "model"
    sent = {upload.content for upload in uploads}
    kept = {folder / name for name in (*_KEPT_BACK, CARD)}
    return tuple(
        path.relative_to(target).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path not in sent and path not in kept
    )


def hub_card(run: Path, repository: str, licence: str | None = None) -> tuple[Published, str]:
    """The card of a run as a hub is to show it: metadata, then README.md for the readers of ``repository``. No path of
    this machine is in it. Raises ConfigError for what names no repository."""
    require_repository(repository)
    inputs = read_run(run)
    model = _licensed(published(inputs, repository, licence))
    return model, metadata(model) + public(_without(card_text(run, repository), inputs))


def require_repository(name: str) -> None:
    """ConfigError unless it is ``owner/name``."""
    if not REPOSITORY.fullmatch(name):
        raise ConfigError(
            f"{name!r} names no repository", where="--to", expected="owner/name", cure="--to me/my-model"
        )


def _of_export(folder: Path, repository: str, licence: str | None) -> tuple[Published, list[Upload]]:
    record = require_export(folder)
    spec = load_config(folder / CONFIG)
    config = {"task": spec.task, "model": {"name": spec.model.name, "weights": spec.model.weights}}
    split = spec.data.test or spec.data.eval
    model = Published(
        name=repository,
        task=record.task,
        licence=licence,
        base=hub_model(config),
        source=spec.data.source,
        split=str(split or ""),
        metrics={},
    )
    model = _licensed(of_export(model, record.after.metrics, record.quantize))
    card = metadata(model) + public(export_card(record, repository.partition("/")[2]))
    uploads = [Upload(name, folder / name) for name in sent_names(folder) if name not in _KEPT_BACK]
    return model, [*uploads, Upload(CARD, files.utf8(card))]


def _licensed(model: Published) -> Published:
    """With the licence that the card of its base model names, as far as that is here, unless one was given."""
    if model.licence is not None or model.base is None:
        return model
    from huggingface_hub import ModelCard, try_to_load_from_cache

    path = try_to_load_from_cache(model.base, CARD)
    if not isinstance(path, str):
        return model
    try:
        found = ModelCard.load(path).data.license
    except Exception:  # of YAML and of the hub's own rules: what cannot be read names no licence
        return model
    return replace(model, licence=found if isinstance(found, str) else None)


def _without(card: str, inputs: RunFiles) -> str:
    """Without the paths that the config names, which may hold blanks."""
    named = [inputs.spec("data", "source"), inputs.spec("model", "name"), inputs.spec("teacher", "name")]
    for value in map(str, filter(None, named)):
        place = value.partition(":")[2] if "/" in value.partition(":")[2] else value
        if place.startswith(("/", "~")):
            card = card.replace(place, Path(place).name)
    return card


def _included(target: Path, name: str) -> list[Upload]:
    path = target / name
    inside = not Path(name).is_absolute() and ".." not in Path(name).parts
    # Nor through a folder that is a link: what is sent is what lies in it.
    inside = inside and Path(os.path.realpath(path)) == Path(os.path.realpath(target)) / name
    if not inside or not path.exists() or kind_of(path) not in (None, "a directory"):
        raise ConfigError(
            f"{name!r} is no file or folder of it",
            where="--include",
            expected=f"a name within {target}",
            cure="leave it out",
        )
    if wrong := next(strays(path), None) if path.is_dir() else None:
        raise RunDirectoryError(f"is {wrong[1]}", where=wrong[0], cure="leave --include out")
    found = [path] if path.is_file() else [each for each in sorted(path.rglob("*")) if each.is_file()]
    top = target / "model" if name.startswith("model/") and not is_export(target) else target
    return [Upload(each.relative_to(top).as_posix(), each) for each in found]


def _require_private(uploads: Sequence[Upload]) -> None:
    """ModelError for files that name places of this machine."""
    problems = []
    for upload in uploads:
        if Path(upload.name).name in _VOCABULARIES or Path(upload.name).suffix not in _TEXTS:
            continue
        content = upload.content if isinstance(upload.content, bytes) else upload.content.read_bytes()
        found = next(private_paths(content.decode("utf-8", "replace")), None)
        if found is not None:
            problems.append(
                Problem(
                    f"names a place of this machine: {found[:200]}",
                    where=upload.name,
                    expected="nothing that is private",
                    cure=f"remove it, or send the file as it is: --include model/{upload.name}",
                )
            )
    if problems:
        raise ModelError(problems)


def push(plan: Plan, *, private: bool, reporter: Reporter) -> str:
    """Send the files of a plan as one commit; the repository is made where there is none. Returns its address.

    Raises HubRefused where the hub cannot be reached or refuses.
    """
    if network.offline():
        raise ConfigError(
            "the network is switched off",
            where="ptm push",
            expected="neither PTM_OFFLINE nor HF_HUB_OFFLINE is set",
            cure="see what would be sent with --dry-run, or unset them",
        )
    if not network.reachable():
        raise HubRefused(
            "the hub cannot be reached",
            where=plan.repository,
            cure="try again with a network; nothing was sent",
        )
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    operations = [
        CommitOperationAdd(
            upload.name, upload.content if isinstance(upload.content, bytes) else str(upload.content)
        )
        for upload in plan.uploads
    ]
    try:
        api.create_repo(plan.repository, private=private, exist_ok=True)
        reporter.say(f"sending {len(operations)} files to {plan.repository}")
        commit = api.create_commit(
            plan.repository, operations, commit_message="Model and card, made with ptm"
        )
    except Exception as error:  # of HTTP, of tokens and of files, each with its own
        raise HubRefused(
            f"the hub refuses: {first_line(error)}",
            where=plan.repository,
            expected="a repository that you may write to",
            cure=_CURES.get(_status(error), "try again; nothing of it is there before all is"),
        ) from None
    return str(commit.commit_url)


def _status(error: Exception) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)


_CURES = {
    401: "log in with a token that may write: hf auth login",
    403: "log in with a token that may write there: hf auth login",
    404: "correct owner/name in --to; for a private one: hf auth login",
}
