"""``csv:-`` and the like: data on the standard input, in the place of a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ptm.base.standard_input import STANDARD_INPUT, standard_input
from ptm.errors import ConfigError, PtmError

_SUFFIXES = {
    "csv": "csv",
    "tsv": "tsv",
    "json": "jsonl",
    "parquet": "parquet",
    "text": "txt",
    "conll": "conll",
    "prodigy": "jsonl",
    "labelstudio": "json",
    "doccano": "jsonl",
    "xlsx": "xlsx",
    "fasttext": "txt",
}


@contextmanager
def piped_source(source: str | None, config: Path) -> Iterator[str | None]:
    """A source that names ``-`` as one of a file, which is there inside; another as it is.

    What is wrong with it is told of the standard input. Raises ConfigError where the config is read from there too, or
    the source is one of folders.
    """
    kind, _, place = (source or "").partition(":")
    if place.strip() != STANDARD_INPUT:
        yield source
        return
    if kind not in _SUFFIXES:
        expected = f"one of {', '.join(f'{name}:-' for name in _SUFFIXES)}"
        raise ConfigError("is no file that can be piped in", where=f"--data {source}", expected=expected)
    if str(config) == STANDARD_INPUT:
        raise ConfigError(
            "the config and the data cannot both be standard input",
            where="--data",
            cure="write one into a file",
        )
    with TemporaryDirectory(prefix="ptm-stdin-") as folder:
        file = Path(folder) / f"standard input.{_SUFFIXES[kind]}"
        file.write_bytes(standard_input())
        try:
            yield f"{kind}:{file}"
        except PtmError as error:
            problems = [
                replace(
                    problem,
                    what=problem.what.replace(str(file), "standard input"),
                    where=problem.where.replace(str(file), "standard input"),
                )
                for problem in error.problems
            ]
            renamed_error = type(error)(problems)
            renamed_error.exit_code = error.exit_code
            raise renamed_error from error
