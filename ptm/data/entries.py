"""What lies in a folder of data: files are read, and what cannot be read is told. Nothing is left out in silence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ptm.base.regular import endless
from ptm.errors import Problem, refuse

SCHEMA_FILE = (
    "ptm.schema.json"  # ptm init writes it beside a config: no data, though it is JSON in their folder
)


def files_among(paths: Iterable[Path]) -> list[Path]:
    """Those that are files, links to files among them, sorted; folders are left out. DataError names whatever else
    stands there: links that lead nowhere, named pipes, devices."""
    present = sorted(paths)
    problems = (
        Problem(
            "a link that leads nowhere"
            if kind is None
            else f"leads to {kind}"
            if path.is_symlink()
            else kind,
            str(path),
            "a file, or a link to one",
            "put a file there, or remove it",
        )
        for path in present
        if ((kind := endless(path)) or not path.exists()) and os.path.lexists(path)
    )
    refuse(problems, noun="files")
    return [path for path in present if path.is_file()]


def below(folder: Path) -> Iterator[Path]:
    """All that lies in a folder and in the folders in it, except in hidden ones. Raises OSError for a folder that
    cannot be listed, DataError for links to folders, which may lead round in a circle and are not followed."""
    links: list[Path] = []
    if not folder.is_dir():
        return
    for place, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inner = [Path(place, name) for name in folders]
        links += [path for path in inner if path.is_symlink()]
        yield from inner
        yield from (Path(place, name) for name in files)
    refuse_links(links)


def refuse_links(links: Iterable[Path]) -> None:
    """DataError for links to folders."""
    refuse(
        (
            Problem(
                "a link to a folder, which is not followed",
                str(path),
                "folders and files",
                "move the folder there, or remove the link",
            )
            for path in links
        ),
        noun="links",
    )


def _raise(error: OSError) -> None:
    raise error
