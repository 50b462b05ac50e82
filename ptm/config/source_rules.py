"""What must hold between the keys that say what a source is, and how its files are written."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Iterator
from pathlib import PurePath

from ptm.config.spec import DataSpec, RunSpec
from ptm.config.tasks import IMAGE_SOURCES, ROW_SOURCES, SOURCES, TABLE_SOURCES
from ptm.errors import listing

Complaints = Iterator[tuple[tuple[str, ...], str, str]]  # key path, what, cure


def check_source(spec: RunSpec, task_known: bool) -> Complaints:
    """``data.source``: its kind, and whether the task, where it is known, reads it."""
    source = spec.data.source
    kind, colon, place = source.partition(":")
    if not colon or kind not in SOURCES:
        suffix = PurePath(source).suffix.lower().removeprefix(".")
        guess = {"jsonl": "json", "ndjson": "json", "tab": "tsv", "txt": "tsv", "conllu": "conll"}.get(
            suffix, suffix
        )
        kinds = ", ".join(f"{name}:" for name in SOURCES)
        if colon:
            close = difflib.get_close_matches(kind, SOURCES, n=1)
            what = f"unknown kind of source {kind + ':'!r}"
            cure = f"did you mean {close[0]}:{place}" if close else f"begin it with one of {kinds}"
        else:
            what = f"the source {source!r} does not say what it is"
            cure = f"write {guess}:{source}" if guess in ROW_SOURCES else f"begin it with one of {kinds}"
        yield ("data", "source"), what, cure
    elif not place.strip():
        yield ("data", "source"), f"{kind}: names nothing", f"write {kind}:NAME"
    elif task_known and kind not in spec.descriptor.sources:
        holds = "images" if kind in (*IMAGE_SOURCES, "builtin") else "rows of text"
        able = [f"{name}:" for name in spec.descriptor.sources]
        cure = f"use {', '.join(able[:-1])}{' or ' if able[:-1] else ''}{able[-1]}"
        yield ("data", "source"), f"{kind}: holds {holds}, this is {spec.task}", cure
    if spec.data.text_pair is not None and kind in SOURCES and kind not in (*TABLE_SOURCES, "hub"):
        yield ("data", "text_pair"), f"{kind}: has no columns", "remove it, or give a table with two texts"


def check_text_format(data: DataSpec) -> Complaints:
    """Keys that say how files are written, where nothing is read that way."""
    kind = data.source.partition(":")[0]
    for key in ("delimiter", "quoting", "header", "columns"):
        able = ("csv", "tsv", "conll") if key == "columns" else ("csv", "tsv")
        if getattr(data, key) is not None and kind not in able:
            what = (
                f"{key} is for {listing((f'{name}:' for name in able), separator=' and ')}, this is {kind}:"
            )
            yield ("data", key), what, "remove it"
    if data.sheet is not None and kind != "xlsx":
        yield ("data", "sheet"), f"sheet is for xlsx:, this is {kind}:", "remove it"
    if data.delimiter in ('"', "\n", "\r", " "):
        yield ("data", "delimiter"), f"{data.delimiter!r} separates no fields", 'such as ";" or "\\t"'
    if data.columns is not None and len(set(data.columns)) < len(data.columns):
        yield ("data", "columns"), "names of columns repeat", "give each column its own name"
    if data.encoding is not None:
        if kind not in (*ROW_SOURCES, "textfolder") or kind in ("parquet", "xlsx"):
            yield ("data", "encoding"), f"{kind}: has no encoding", "remove it"
        try:
            known = codecs.lookup(data.encoding)._is_text_encoding
        except (LookupError, ValueError):
            known = False
        if not known:
            what = f"there is no encoding {data.encoding!r}"
            yield ("data", "encoding"), what, "such as utf-8, windows-1252, iso-8859-1 or utf-16"
