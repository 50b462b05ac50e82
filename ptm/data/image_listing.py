"""Which files in a folder are images, by their names, with what the system says of each: 4 µs a file."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ptm.data.arrow import Texts, text_part
from ptm.data.entries import files_among, refuse_links
from ptm.data.file_column import Files, facts_among
from ptm.data.file_digests import FACTS
from ptm.errors import DataError

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif", ".tga"),
)
ARCHIVE = "__MACOSX"  # what macOS puts into archives beside the files
_IMAGES = frozenset(IMAGE_SUFFIXES)


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name == ARCHIVE


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is one, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads round in a circle
        return False


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is one, or a link to one."""
    try:
        return entry.is_file()
    except OSError:
        return False


def has_image_name(name: str) -> bool:
    """Whether a file of this name, without its folder, is taken for an image."""
    return name[name.rfind(".") :].lower() in _IMAGES and not is_hidden(name)


class Listed(NamedTuple):
    """Images below a folder: their paths below it, what the system says of them (FACTS [n]), and how many stand in each
    of the folders that were asked for."""

    names: Texts
    facts: np.ndarray
    counts: tuple[int, ...]

    def hashed(self, root: Path) -> Files:
        """With their digests. Raises DataError for one that cannot be read."""
        return Files.read(root, root, self.names, self.facts)


def list_images(root: Path, folders: Sequence[str] = ("",)) -> Listed:
    """The images in these folders of ``root`` and in the folders in them, one folder after the other, sorted. Hidden
    ones are left out. Raises DataError for links to folders, which may lead round in a circle, and for what is called
    like an image and is no file; OSError for a folder that cannot be listed."""
    facts: list[np.ndarray] = [np.empty(0, FACTS)]
    counts: list[int] = []

    def names() -> Iterator[Sequence[str]]:
        for folder in folders:
            odd = _Odd([], [])
            pieces = len(facts)
            for some, facts_there in _below(root / folder, f"{folder}/" if folder else "", odd):
                facts.append(facts_there)
                yield some
            refuse_links(odd.links)
            files_among(odd.no_files)
            counts.append(sum(map(len, facts[pieces:])))

    found = Texts([text_part(names())])
    return Listed(found, np.concatenate(facts), tuple(counts))


class _Odd(NamedTuple):
    links: list[Path]  # to folders
    no_files: list[Path]  # called like images


def _below(folder: Path, prefix: str, odd: _Odd) -> Iterator[tuple[list[str], np.ndarray]]:
    """(paths below the root, which begin with ``prefix``, FACTS [n]) of some images at a time, sorted as paths are: by
    their parts, so that what is in a folder stands where its name does."""
    images, folders = _names_in(folder, odd)
    facts, at = _facts(images, folder), 0
    for name in folders:
        end = bisect_left(images, name)
        if at < end:
            yield [prefix + image for image in images[at:end]], facts[at:end]
        yield from _below(folder / name, f"{prefix}{name}/", odd)
        at = end
    if at < len(images):
        yield [prefix + image for image in images[at:]], facts[at:]


def _names_in(folder: Path, odd: _Odd) -> tuple[list[str], list[str]]:
    """The names of images, and those of folders, sorted."""
    images: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if is_folder(entry):
                if entry.is_symlink():
                    odd.links.extend([] if name.startswith(".") else [folder / name])
                elif not is_hidden(name):
                    folders.append(name)
            elif has_image_name(name):
                if is_file(entry):
                    images.append(name)
                else:
                    odd.no_files.append(folder / name)
    return sorted(images), sorted(folders)


def _facts(names: Sequence[str], folder: Path) -> np.ndarray:
    """What the system says of these files of a folder, FACTS [n]."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return facts_among(os.stat(name, dir_fd=descriptor) for name in names)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=folder / str(error.filename)) from None
    finally:
        os.close(descriptor)
