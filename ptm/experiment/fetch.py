"""``ptm fetch``: all that a set of configs would download, listed and downloaded ahead, so that they run offline."""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ptm.base import network
from ptm.base.console import Reporter
from ptm.base.files import file_digest
from ptm.config.load import load_config
from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.errors import MissingDownload, Problem, PtmError, first_line

# Of a model's repository, what transformers reads; of weights the first kind that is there.
_SMALL = ("*.json", "*.txt", "*.model", "*.jinja", "*.spm", "LICENSE*", "README.md")
_NESTED = ("1_Pooling/config.json",)  # how an encoder of sentence-transformers pools its states
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True, kw_only=True)
class Download:
    """Something that is downloaded. ``bytes``, ``licence``, ``commit``: None where the hub was not asked or does not
    say; ``here``: whether nothing is left to be downloaded; ``key``: of a config, that says its revision, if one does.
    """

    kind: str  # model, weights, data
    name: str
    revision: str | None = None
    url: str = ""
    config: str | None = None  # of a data set
    files: tuple[str, ...] = ()
    bytes: int | None = None
    licence: str | None = None
    commit: str | None = None
    here: bool = False
    key: str | None = None
    needed_by: tuple[str, ...] = field(default=())

    @property
    def where(self) -> str:
        return f"{self.kind} {self.name}" + (f" ({self.revision})" if self.revision else "")

    @property
    def pin(self) -> str | None:
        """The change of a config that asks for this commit from now on; None where it does so already."""
        if self.key is None or self.commit is None or self.revision == self.commit:
            return None
        return f"{self.key}={self.commit}"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "pin": self.pin}


def needs(configs: Sequence[Path], changes: Sequence[str] = ()) -> list[Download]:
    """All that these configs name on a hub or in the list of torchvision, each once. Raises ConfigError, ModelError."""
    downloads: dict[tuple[str, str, str | None, str | None], Download] = {}
    for path in configs:
        for download in _of(load_config(path, changes)):
            key = (download.kind, download.name, download.revision, download.config)
            known = downloads.get(key, download)
            downloads[key] = replace(known, needed_by=(*known.needed_by, str(path)))
    return [described(download) for download in downloads.values()]


def _of(spec: RunSpec) -> Iterator[Download]:
    refs = [spec.model.ref(), *(spec.teacher.refs() if spec.teacher else ())]
    pinnable = refs[:2]  # further teachers have no revision of their own
    if spec.descriptor.modality == "text":
        for ref in refs:
            yield from _text_models(ref, pinnable=ref in pinnable)
        if spec.model.decoder is not None:
            yield from _text_models(ModelRef(name=spec.model.decoder), pinnable=False)
    else:
        for ref in refs:
            yield from _vision_weights(spec, ref)
    kind, _, place = spec.data.source.partition(":")
    if kind == "hub":
        from ptm.data.hub import missing_dataset, split_place

        name, config = split_place(place)
        here = not _offline_problems(lambda: missing_dataset(place))
        yield Download(kind="data", name=name, config=config, here=here)


def _offline_problems(ask: Any) -> list[Problem]:
    """What is missing when no network may be used."""
    with network.forbidden():
        problems: list[Problem] = ask()
    return problems


def _text_models(ref: ModelRef, *, pinnable: bool) -> Iterator[Download]:
    from ptm.models.hub import missing_model
    from ptm.text import scratch
    from ptm.text.origins import locate

    names = [] if scratch.is_new(ref.name) else [(ref.name, ref.revision, ref.weights == "default")]
    names += [(ref.tokenizer, None, False)] if ref.tokenizer not in (None, "train") else []
    for name, revision, weights in names:
        assert name is not None
        place, local = locate(name, ref.role)
        if not local:
            here = not _offline_problems(
                lambda p=place, r=revision, w=weights: missing_model(p, r, ref.role, weights=w)
            )
            key = ref.key("revision") if pinnable and name == ref.name else None
            yield Download(kind="model", name=place, revision=revision, here=here, key=key)


def _vision_weights(spec: RunSpec, ref: ModelRef) -> Iterator[Download]:
    from torchvision.models import WeightsEnum

    from ptm.config import tasks
    from ptm.vision.classifier_plan import plan_classifier
    from ptm.vision.detector_plan import plan_detector
    from ptm.vision.downloads import cached_file
    from ptm.vision.segmenter_plan import plan_segmenter
    from ptm.vision.timm_models import TimmWeights, missing_weights

    plans: dict[str, Any] = {
        tasks.OBJECT_DETECTION.name: plan_detector,
        tasks.INSTANCE_SEGMENTATION.name: partial(plan_detector, masks=True),
        tasks.SEMANTIC_SEGMENTATION.name: plan_segmenter,
    }
    weights = plans.get(spec.task, plan_classifier)(ref).weights
    if isinstance(weights, WeightsEnum):
        size = weights.meta.get("_file_size")
        yield Download(
            kind="weights",
            name=str(weights),
            url=weights.url,
            bytes=None if size is None else round(size * 2**20),
            here=cached_file(weights.url).is_file(),
        )
    elif isinstance(weights, TimmWeights):
        here = not _offline_problems(lambda: missing_weights(weights, ref))
        yield Download(kind="weights", name=weights.repository, files=weights.files, here=here)


def described(download: Download) -> Download:
    """With what the hub says of it: files, sizes, licence, the commit that its revision is; as it is without a hub."""
    if download.url or not network.reachable():
        return download
    from huggingface_hub import HfApi

    ask = HfApi().dataset_info if download.kind == "data" else HfApi().model_info
    try:
        info: Any = ask(download.name, revision=download.revision, files_metadata=True, timeout=20)
    except Exception as error:
        if download.here:  # it is in the cache, whatever became of the repository
            return download
        raise MissingDownload(
            f"the hub does not have it: {first_line(error)}",
            where=download.where,
            expected="a name and a revision that are on the hub, and may be read",
            cure="correct the name; for a private one: hf auth login",
        ) from None
    # A mirror may say anything.
    named = {file.rfilename: file.size for file in info.siblings or () if isinstance(file.rfilename, str)}
    sizes = {name: size if isinstance(size, int) and size > 0 else 0 for name, size in named.items()}
    files = tuple(sizes) if download.kind == "data" else _wanted(tuple(sizes), download)
    licence = (info.card_data or {}).get("license") if info.card_data is not None else None
    return replace(
        download,
        files=files,
        bytes=sum(sizes[name] for name in files),
        licence=None if licence is None else str(licence),
        commit=info.sha,
    )


def _wanted(names: Sequence[str], download: Download) -> tuple[str, ...]:
    """The files of a model's repository that are read; but for one they stand at its top."""
    if download.kind == "weights":
        first = next((name for name in download.files if name in names), None)
        return () if first is None else (first,)
    top = [name for name in names if "/" not in name]
    small = [name for name in top if any(fnmatch.fnmatch(name, pattern) for pattern in _SMALL)]
    small += [name for name in _NESTED if name in names]
    for pattern in _WEIGHTS:
        weights = [name for name in top if fnmatch.fnmatch(name, pattern)]
        if weights:
            return (*small, *weights)
    return tuple(small)


def fetch_all(downloads: Sequence[Download], reporter: Reporter) -> list[Problem]:
    """Download what is not here. Returns what could not be had, all of it."""
    problems: list[Problem] = []
    for number, download in enumerate(downloads, start=1):
        if download.here:
            continue
        reporter.say(f"[{number}/{len(downloads)}] {download.where}")
        try:
            _fetch(download, reporter)
        except PtmError as error:
            problems += error.problems
    return problems


def _fetch(download: Download, reporter: Reporter) -> None:
    if download.url:
        from ptm.vision.downloads import fetch

        fetch(download.url)
        return
    if not network.reachable():
        what = "the network is switched off" if network.offline() else "the hub cannot be reached"
        raise MissingDownload(
            f"is not in the cache, and {what}", where=download.where, cure="try again with a network"
        )
    try:
        if download.kind == "data":
            import datasets

            if not sys.stderr.isatty():  # its bars are for terminals alone
                datasets.disable_progress_bars()
            datasets.load_dataset(f"hf://datasets/{download.name}", download.config)
            return
        _fetch_files(download, reporter)
    except PtmError:
        raise
    except Exception as error:  # of HTTP, disks and formats, each library with its own
        raise MissingDownload(
            f"cannot be downloaded: {first_line(error)}",
            where=download.where,
            cure="try again; what was downloaded is kept",
        ) from None


def _fetch_files(download: Download, reporter: Reporter) -> None:
    from huggingface_hub import hf_hub_download

    reporter.begin("files", len(download.files))
    for done, file in enumerate(download.files, start=1):
        # By the revision as the config names it: the cache knows by it which commit that was.
        path = Path(hf_hub_download(download.name, file, revision=download.revision))
        commit = path.parents[file.count("/")].name
        if download.commit is not None and commit != download.commit:
            raise MissingDownload(
                f"changed on the hub while it was downloaded: {download.commit[:8]} became {commit[:8]}",
                where=download.where,
                cure="the same command again",
            )
        _require_content(path, download)
        reporter.advance(done, file)
    reporter.end()


def _require_content(path: Path, download: Download) -> None:
    """Raise MissingDownload for a file of LFS, which the cache keeps under its SHA-256, that holds something else; it
    is removed, to be downloaded again. The hub's client compares the length alone."""
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) and file_digest(blob) != blob.name:
        blob.unlink()
        raise MissingDownload(
            f"{path.name} is not what the hub says it is: its SHA-256 is another",
            where=download.where,
            expected=blob.name,
            cure="the same command again; if it stays so, a proxy or the hub gives something else",
        )
