"""Several files in the place of one: patterns (``part-*.csv``) and lists, which a config holds as ``a.csv + b.csv``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ptm.config.keys import AND
from ptm.data.entries import SCHEMA_FILE, files_among
from ptm.data.packed import suffix_of
from ptm.errors import DataError


def is_several(path: Path) -> bool:
    """Whether it is a pattern or a list, and no name of something that is there."""
    return (AND in str(path) or _has_magic(path)) and not path.exists()


def has_pattern(path: Path) -> bool:
    return _has_magic(path) and not path.exists()


def _has_magic(path: Path) -> bool:
    """Brackets alone are a name: ``reviews[1].csv``."""
    return "*" in str(path) or "?" in str(path)


def before_pattern(path: Path) -> Path:
    """The folder in which the pattern of a path begins; another path as it is."""
    if not has_pattern(path):
        return path
    return next(parent for parent in path.parents if not _has_magic(parent))


def matches(path: Path) -> list[Path]:
    """All that a pattern matches, whatever it is; of another path nothing, and nothing where it cannot be looked at."""
    if not has_pattern(path):
        return []
    folder = before_pattern(path)
    try:
        return list(folder.glob(str(path.relative_to(folder))))
    except (OSError, ValueError, NotImplementedError):  # whoever reads them says what is wrong
        return []


def parts_of(path: Path | str) -> list[Path]:
    """The parts of a list, in its order."""
    return [Path(part.strip()) for part in str(path).split(AND)]


def matched(pattern: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files that a pattern matches, sorted by path; hidden ones are left out, and, where the pattern does not say
    how names end, those of other kinds. Raises DataError where there is none."""
    folder = before_pattern(pattern)
    try:
        found = sorted(folder.glob(str(pattern.relative_to(folder))))
    except (ValueError, NotImplementedError) as error:
        raise DataError(
            f"is no pattern: {error}",
            where=pattern,
            expected="* and ? within a name, ** as the whole name of a folder: **/part-*.csv",
            cure="correct the pattern",
        ) from None
    seen = [
        path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if pattern.name != SCHEMA_FILE:
        seen = [path for path in seen if path.name != SCHEMA_FILE]
    if pattern.name.endswith("*"):
        seen = [path for path in seen if suffix_of(path) in suffixes]
    files = files_among(seen)
    if not files:
        there = "" if folder.is_dir() else f"; there is no folder {folder}"
        raise DataError(
            "no file matches this pattern",
            where=pattern,
            expected=f"files that end in {' or '.join(suffixes)}{there}",
            cure="correct the pattern: * stands for any characters but /, ** for any folders",
        )
    return files


def expanded(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files that a pattern or a list names, in their order; any other path as it is. Raises DataError for a pattern
    that matches nothing and for a file that comes twice."""
    if not is_several(path):
        return [path]
    parts = [(str(part), matched(part, suffixes) if has_pattern(part) else [part]) for part in parts_of(path)]
    return require_once(parts)


def require_once(parts: Sequence[tuple[str, Sequence[Path]]]) -> list[Path]:
    """The files of all parts, one after the other. Raises DataError for one that comes twice."""
    owners: dict[str, str] = {}
    for part, files in parts:
        for path in files:
            real = os.path.realpath(path)
            if real in owners:
                raise DataError(
                    f"this file comes twice: by {owners[real]} and by {part}",
                    where=path,
                    expected="each file once a split",
                    cure="take it out of one of them",
                )
            owners[real] = part
    return [path for _, files in parts for path in files]
