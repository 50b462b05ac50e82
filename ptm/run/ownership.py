"""What in a directory ptm wrote, and what it may therefore delete: the rest is somebody's work.

A run directory carries a mark of ptm's own. ``--overwrite`` deletes in a directory that has it (or, of runs made before
there was one, a manifest or a checkpoint that only ptm writes), and refuses by name whatever else is in there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from ptm.base import files
from ptm.base.regular import kind_of, open_regular, read_bytes
from ptm.config.folds import is_share
from ptm.config.keys import AND
from ptm.config.spec import RunSpec
from ptm.config.tasks import FILE_SOURCES
from ptm.data.patterns import before_pattern, matches
from ptm.errors import PtmError, RunDirectoryError
from ptm.models.packages import is_package, package_path

LOCK = ".lock"
MARK = ".ptm-run"
_MARK = b"ptm run directory, format 1: ptm --overwrite deletes what it wrote in here\n"
# Runs that an earlier version made have the number alone.
_OWNER = re.compile(rb"(ptm process )?(?P<number>[0-9]{1,20})\n")
FILES = (
    LOCK,
    MARK,
    "config.yaml",
    "config.lock",
    "manifest.json",
    "metrics.jsonl",
    "results.json",
    "predictions.jsonl",
    "test_predictions.jsonl",
    "report.html",
    "shown.json",
    "README.md",
)
CHECKPOINT = re.compile(r"step-[0-9]{6,15}")
OVERWRITING = (
    ".overwriting"  # in the folder of a distillation with its control: which arms are still the old ones
)
_ARM = re.compile(r"(distilled|control)-[0-9]+")
# What is saved into model/ by ptm, transformers, tokenizers and peft: known where its seal is lost.
_OF_MODEL = re.compile(
    r"(model|adapter_model|pytorch_model)(-\d+-of-\d+)?\.safetensors(\.index\.json)?|"
    r"(config|generation_config|preprocessor_config|model|adapter_config|manifest|decisions|conformal|window_pool|"
    r"modules|sentence_bert_config|"
    r"tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|merges|source|target|target_vocab|tokenizer\.model|spiece|"
    r"sentencepiece\.bpe|spm|bpe|chat_template|dict)\.(json|txt|model|spm|jinja|codes)|README\.md|"
    r"1_Pooling(/config\.json)?"
)
_SUFFIXES_OF_MODELS = frozenset(
    {".safetensors", ".json", ".txt", ".model", ".spm", ".bpe", ".jinja", ".codes", ".vocab", ".md", ""}
)
_OF_CHECKPOINT = frozenset(
    {
        *(f"{name}.safetensors" for name in ("model", "objective", "optimizer", "average")),
        "state.json",
        "manifest.json",
    }
)


_MOST_BYTES = 64_000_000  # of a record that ptm wrote: what is larger is somebody else's, and is not read


def is_run(path: Path) -> bool:
    """Whether ptm made a directory: it has a config, and ptm's mark, manifest or a checkpoint."""
    return os.path.lexists(path / "config.yaml") and (
        has_mark(path) or _has_manifest(path) or any(map(_is_checkpoint, _checkpoints(path)))
    )


def has_mark(path: Path) -> bool:
    try:
        return read_bytes(path / MARK, len(_MARK)) == _MARK
    except (OSError, ValueError):
        return False


def put_mark(path: Path) -> None:
    """From here on the directory is ptm's. Raises StorageError."""
    files.write_file(path / MARK, _MARK)


def lock_content(process: int) -> bytes:
    """What ptm writes into the lock of a run: digits alone are in locks of other programs, too."""
    return b"ptm process %d\n" % process


def owner(content: bytes) -> str:
    """The number of the process in a lock; ``unknown`` where there is none."""
    found = _OWNER.fullmatch(content)
    return found["number"].decode() if found else "unknown"


def is_lock(path: Path) -> bool:
    """Whether a file is a lock of a run: what ptm writes into one, or nothing. This process must not hold it.

    Closing a file gives up every lock that the process holds on it.
    """
    try:
        with open_regular(path) as file:
            content: bytes = file.read(64)
    except OSError:
        return False
    # Empty: a kill came between the making of the file and the writing.
    return not content or (content.startswith(b"ptm ") and _OWNER.fullmatch(content) is not None)


def _has_manifest(path: Path) -> bool:
    manifest = _read_json(path / "manifest.json")
    return isinstance(manifest.get("ptm"), str) and isinstance(manifest.get("digests"), dict)


def _checkpoints(path: Path) -> list[Path]:
    folder = path / "checkpoints"
    if kind_of(folder) != "a directory":
        return []
    return [entry for entry in folder.iterdir() if CHECKPOINT.fullmatch(entry.name)]


def _is_checkpoint(path: Path) -> bool:
    """Whether it has the two records that ptm writes into one."""
    state, sealed = _read_json(path / "state.json"), _read_json(path / "manifest.json")
    return isinstance(state.get("step"), int) and isinstance(sealed.get("files"), dict)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_bytes(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def foreign_entries(path: Path) -> list[str]:
    """What in a run directory ptm did not write, by names relative to it: no file or folder of ptm's is a link.

    Raises OSError where it cannot be looked at.
    """
    foreign: list[str] = []
    for entry in sorted(path.iterdir()):
        kind = kind_of(entry)
        if files.is_debris(entry.name):
            continue
        if entry.name == "checkpoints" and kind == "a directory":
            foreign += _foreign_checkpoints(entry)
        elif entry.name == "model" and kind == "a directory":
            foreign += _foreign_in_model(entry)
        elif entry.name not in FILES or kind is not None:
            foreign.append(entry.name)
    return foreign


def _foreign_checkpoints(folder: Path) -> Iterator[str]:
    for checkpoint in sorted(folder.iterdir()):
        if files.is_debris(checkpoint.name):
            continue
        if not CHECKPOINT.fullmatch(checkpoint.name) or kind_of(checkpoint) != "a directory":
            yield f"{folder.name}/{checkpoint.name}"
            continue
        yield from (f"{folder.name}/{checkpoint.name}/{name}" for name in foreign_in_checkpoint(checkpoint))


def foreign_in_checkpoint(checkpoint: Path) -> list[str]:
    """Names of what ptm did not write into a checkpoint. Raises OSError."""
    entries = sorted(checkpoint.iterdir())
    return [e.name for e in entries if e.name not in _OF_CHECKPOINT or kind_of(e) is not None]


def may_be_of_model(name: str) -> bool:
    """Whether a file that a seal lists may be part of a saved model: one that was received may list pictures and tables
    as well, which are somebody's data."""
    return PurePath(name).suffix in _SUFFIXES_OF_MODELS


def _foreign_in_model(folder: Path) -> Iterator[str]:
    """What its seal does not list; where that is lost, what has none of the names that models are saved under."""
    sealed = _read_json(folder / "manifest.json").get("files")
    known = {"manifest.json", *map(str, sealed)} if isinstance(sealed, dict) else None

    def is_known(name: str) -> bool:
        if known is None:
            return _OF_MODEL.fullmatch(name) is not None
        return name in known and may_be_of_model(name)

    def is_known_folder(name: str) -> bool:
        return is_known(name) if known is None else any(other.startswith(f"{name}/") for other in known)

    for entry in sorted(folder.rglob("*")):
        name = entry.relative_to(folder).as_posix()
        kind = kind_of(entry)
        if not (is_known_folder(name) if kind == "a directory" else kind is None and is_known(name)):
            yield f"{folder.name}/{name}"


def refuse_foreign_entries(path: Path) -> None:
    """Raise RunDirectoryError with the names of what ``--overwrite`` would delete without having written it."""
    foreign = _foreign(path)
    if foreign:
        raise RunDirectoryError(
            f"--overwrite would delete what ptm did not write: {_listed(foreign)}",
            where=path,
            cure="move it elsewhere, or choose another --output",
        )


def _foreign(path: Path) -> list[str]:
    try:
        return foreign_entries(path)
    except OSError as error:
        raise RunDirectoryError(
            f"cannot be looked at: {error.strerror}",
            where=error.filename or path,
            cure="change its permissions, or choose another --output",
        ) from error


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def refuse_foreign_parts(path: Path) -> None:
    """Raise RunDirectoryError with the names of what a run that goes on would delete without having written it: in
    ``model/``, which is written anew, and in checkpoints, the older of which go. The rest of the directory stays."""
    foreign = [name for name in _foreign(path) if name.startswith(("model/", "checkpoints/step-"))]
    if foreign:
        raise RunDirectoryError(
            f"the run would delete what ptm did not write: {_listed(foreign)}",
            where=path,
            cure="move it elsewhere; the same command with --resume then goes on",
        )


def delete_run(path: Path) -> None:
    """Delete what a run left, but its lock, its mark and its config. Raises RunDirectoryError, before anything is
    deleted, when there is something else."""
    refuse_foreign_entries(path)
    with files.storage_errors(path):
        for entry in path.iterdir():
            if entry.name not in (LOCK, MARK, "config.yaml"):
                shutil.rmtree(entry) if kind_of(entry) == "a directory" else entry.unlink()


def refuse_foreign_distillation(path: Path) -> None:
    """Raise RunDirectoryError when the folder of a distillation with its control holds anything but the two arms of
    each seed and a verdict: the verdict would replace another file of that name."""
    if not path.is_dir():
        return
    foreign = [
        entry.name
        for entry in sorted(path.iterdir())
        if not (_is_arm(entry) or files.is_debris(entry.name) or _is_of_distillation(entry))
    ]
    if foreign:
        names = ", ".join(foreign[:3]) + (", …" if len(foreign) > 3 else "")
        raise RunDirectoryError(
            f"holds files that are not a distillation with its control ({names})",
            where=path,
            cure="choose another --output",
        )


def _is_arm(path: Path) -> bool:
    """Not a link: what it leads to is another run, perhaps one that is finished and dear."""
    return _ARM.fullmatch(path.name) is not None and kind_of(path) == "a directory"


def _is_of_distillation(path: Path) -> bool:
    keys = {"verdict.json": {"metric", "seeds", "sentence"}, OVERWRITING: {"config", "arms"}}.get(path.name)
    return keys is not None and keys <= set(_read_json(path))


# --- what a run reads


def input_paths(spec: RunSpec) -> Iterator[tuple[str, Path]]:
    """Key and path of every file and folder that a config names for reading."""
    data, model, teacher = spec.data, spec.model, spec.teacher
    kind, _, place = data.source.partition(":")
    if kind in FILE_SOURCES:
        for part in map(Path, place.split(AND)):
            yield "data.source", before_pattern(part)
            yield from (("data.source", path) for path in matches(part))
        for key in ("train", "eval", "test", "unlabelled"):
            split = getattr(data, key)
            if split and not is_share(split):
                for part in (Path(place) / part for part in split.split(AND)):
                    yield f"data.{key}", before_pattern(part)
                    yield from ((f"data.{key}", path) for path in matches(part))
    if isinstance(data.mask_colors, str):
        yield "data.mask_colors", Path(data.mask_colors)
    names = [(f"model.{key}", getattr(model, key)) for key in ("name", "decoder", "tokenizer", "weights")]
    if teacher is not None:
        names += [("teacher.name", teacher.name), ("teacher.weights", teacher.weights)]
        names += [("teacher.others", other) for other in teacher.others]
    if spec.distill is not None:
        names.append(("distill.store", spec.distill.store))
    for key, name in names:
        if name and is_package(name):
            with suppress(PtmError):  # whoever reads it says what is wrong with it
                yield key, package_path(name, key)
        elif name and (
            Path(name).is_absolute() or os.path.lexists(name)
        ):  # a name alone may be a folder here, too
            yield key, Path(name)


def _identity(path: Path) -> tuple[int, int]:
    """The same for two names of one file; (0, 0) where there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def _names(path: Path) -> int:
    """How many names a file has; 1 of a directory, and of nothing."""
    try:
        status = path.lstat()
    except OSError:
        return 1
    return status.st_nlink if stat.S_ISREG(status.st_mode) else 1


def _places(key: str, path: Path) -> Iterator[str]:
    """Where an input really lies: the path itself, and what the links in its folder lead to.

    A split may be a name without its suffix, or that of shards: ``train`` is ``train.csv``. Not of the whole source,
    which may be a project with a link to its last run: what is read of it are the splits.
    """
    yield os.path.realpath(path)
    if key == "data.source":
        return
    if key.startswith("data.") and not path.exists() and path.parent.is_dir():
        alike = [other for other in path.parent.iterdir() if other.name.startswith(path.name)]
        yield from map(os.path.realpath, alike)
    for place, folders, names in os.walk(path):
        for entry in (os.path.join(place, name) for name in (*folders, *names)):  # noqa: PTH118 - many
            if os.path.islink(entry):  # noqa: PTH114
                yield os.path.realpath(entry)


def refuse_inputs_below(output: Path, inputs: Sequence[tuple[str, Path]]) -> None:
    """Raise RunDirectoryError for inputs that ``--overwrite`` would delete, or something of them, by whatever name."""
    below = os.path.realpath(output)
    twins = {_identity(path) for path in Path(below).rglob("*") if _names(path) > 1}
    for key, path in inputs:
        within = any(place == below or place.startswith(below + os.sep) for place in _places(key, path))
        if within or (twins and _identity(path) in twins):
            raise RunDirectoryError(
                f"--overwrite would delete an input of the run: {key} is {path}",
                where=output,
                cure="choose another --output",
            )
