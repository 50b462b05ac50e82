"""What a file of text seems to hold: its kind by its name and its first lines, and the tags of one that has them."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import cast

from ptm.config.tags import OUTSIDE, entity_tags
from ptm.data.annotated import NO_SPANS
from ptm.data.annotation_tools import TOOLS, tool_of
from ptm.data.conll import CONLL_SUFFIXES, CONLLU_SUFFIX, DOCUMENT
from ptm.data.fasttext import PREFIX
from ptm.data.guess_rows import Guess, encoding_of, put_encoding
from ptm.data.input_lines import opened
from ptm.data.packed import GZIP_SUFFIX, suffix_of
from ptm.data.readers import FORMATS
from ptm.data.squad import seems_squad
from ptm.data.tables import Table
from ptm.data.text_folders import read_textfolder, text_files
from ptm.data.text_format import TextFormat
from ptm.errors import DataError, listing

_FIRST_LINES = 40  # looked at
_FIRST_RECORDS = 1000  # of annotation tools, of which any may be without a name in it
_CONLL_2003 = (".train", ".testa", ".testb", ".dev", ".test")  # as the shared task called its files
_TAG = re.compile(r"O|[BIESLUMW][-_].+|.+[-_][BIESLUMW]")


def kind_of_file(path: Path) -> tuple[str | None, str]:
    """The kind of ``data.source`` that a file is, None where it is none that is read; and what led to it."""
    suffix = suffix_of(path).removesuffix(GZIP_SUFFIX)
    ends = f"{path.name} ends in {suffix_of(path)}"
    if suffix in CONLL_SUFFIXES:
        return "conll", ends
    if suffix in _CONLL_2003 and _is_tagged(_first_lines(path)):
        return "conll", f"a word a line with a tag behind it in {path.name}, and blank lines"
    if suffix in (".txt", ".text", ".tsv"):
        lines = _first_lines(path)
        if lines and any(lines[0].split()[place].startswith(PREFIX) for place in (0, -1) if lines[0].split()):
            return "fasttext", f"the first line of {path.name} has {PREFIX}"
        if _is_tagged(lines):
            return "conll", f"a word a line with a tag behind it in {path.name}, and blank lines"
        if suffix != ".tsv":
            return ("tsv", f"tabs in {path.name}") if "\t" in "".join(lines[:1]) else ("text", ends)
    if suffix in (".json", ".jsonl", ".ndjson") and (tool := tool_of(_first_records(path))) is not None:
        return tool, f"{path.name} holds records as {TOOLS[tool]} writes them"
    if suffix == ".json" and seems_squad(path, TextFormat(encoding=encoding_of(path)[0])):
        return "squad", f"{path.name} holds articles with paragraphs, as SQuAD does"
    return next((kind for kind, form in FORMATS.items() if suffix in form.suffixes), None), ends


def _first_records(path: Path) -> list[object]:
    """Of JSON, an object a line or a list; none where there is none."""
    try:
        with _readable(path) as text:
            lines = (line for line in text if line.strip())
            first = next(lines, "")
            if not first.lstrip().startswith("["):
                return [json.loads(line) for line in (first, *islice(lines, _FIRST_RECORDS - 1))]
            records = json.loads(first + "".join(lines))
            return records[:_FIRST_RECORDS] if isinstance(records, list) else []
    except (DataError, ValueError, RecursionError):
        return []


def _first_lines(path: Path) -> list[str]:
    with _readable(path) as text:
        return [line[:10_000].rstrip("\r\n") for line in islice(text, _FIRST_LINES)]


@contextmanager
def _readable(path: Path) -> Iterator[io.TextIOWrapper]:
    """The text of a file whatever it is written in: UTF-16 by its mark, else UTF-8 with a sign for what is none."""
    with opened(path) as stream:
        buffered = cast("io.BufferedReader", stream)
        wide = buffered.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding = "utf-16" if wide else "utf-8-sig"
        text = io.TextIOWrapper(buffered, encoding=encoding, errors="replace", newline="\n")
        try:
            yield text
        finally:
            text.detach()  # the file is closed where it was opened


def _is_tagged(lines: list[str]) -> bool:
    """Whether lines are words with tags by IOB and its kin, and some sentence ends in a blank line."""
    rows = [line.split() for line in lines if line.strip() and not line.startswith(("# ", DOCUMENT))]
    tags = {row[-1] for row in rows if len(row) > 1}
    alike = len(rows) > 1 and len({len(row) for row in rows}) == 1 and len(rows[0]) > 1
    return (
        alike
        and any(not line.strip() for line in lines)
        and OUTSIDE in tags
        and all(map(_TAG.fullmatch, tags))
    )


def is_textfolder(path: Path) -> str | None:
    """A text in a folder of texts, if there are several such folders in ``path`` or in a folder of it; else None."""
    for folder in (path, *sorted(entry for entry in path.iterdir() if entry.is_dir())):
        inner = {
            file.relative_to(folder).parts[0]: file for file in text_files(folder) if file.parent != folder
        }
        shallow = {name: file for name, file in inner.items() if file.parent == folder / name}
        if len(shallow) > 1:
            return str(next(iter(shallow.values())).relative_to(path))
    return None


def guess_labelled(about: Guess, task: str | None = None) -> None:
    """The task and the labels of texts that come with them; read as a training reads them. ``task``: as somebody says
    who knows. Raises DataError."""
    name = about.data.get("train")
    path = about.path / name if name else about.path
    if about.kind == "textfolder":
        read: Callable[..., Table] = lambda path, *how: read_textfolder(path, None, *how)  # noqa: E731
        inputs: tuple[str, ...] = ("text",)
    else:
        read, inputs = FORMATS[about.kind].read, FORMATS[about.kind].inputs
    label = "label"
    if about.kind == "conll" and suffix_of(path).removesuffix(GZIP_SUFFIX) == CONLLU_SUFFIX:
        inputs, label = (inputs[0],), "3"
        about.say("text", "1", f"the words of CoNLL-U ({path.name})")
        about.say(
            "label", label, "their classes (UPOS); others stand in the columns 4 (XPOS) and 7 (relations)"
        )
    if len(inputs) > 1 and task == "text-classification":
        inputs = inputs[1:]
    put_encoding(about, path)
    written = TextFormat(encoding=about.data.get("encoding"))
    try:
        table = read(path, {inputs[0]: about.data.get("text", inputs[0]), "label": label}, written)
    except DataError as of_words:
        if len(inputs) < 2:
            raise
        try:
            table = read(path, {inputs[1]: inputs[1], "label": "label"}, written)
        except DataError as of_texts:
            raise (of_texts if NO_SPANS in {p.what for p in of_words.problems} else of_words) from None
    about.train_examples = len(table)
    first, labels = next(iter(table.columns.values()))[0], table.columns["label"]
    if "words" in table.columns:
        about.task = "token-classification"
        about.entities = bool(entity_tags([tag for tags in labels for tag in tags]))
        about.reasons["task"] = f"{first[0]!r} has the tag {labels[0][0]!r} ({table.where(0)})"
    else:
        about.task = "text-classification"
        about.reasons["task"] = f"{first[:40]!r} has the label {labels[0]!r} ({table.where(0)})"
        if any(isinstance(label, list) for label in labels):
            about.say("label_type", "classes", "some texts have several labels, or none")
    cells = [label if isinstance(label, list) else [label] for label in labels]
    counts = Counter(label for cell in cells for label in cell)
    names = sorted(
        counts, key=lambda tag: (tag != OUTSIDE, tag[2:], tag) if "words" in table.columns else tag
    )
    frequent = listing((f"{name} {counts[name]}" for name in names), 8)
    about.reasons["labels read"] = f"{len(names)} labels, which are read from train: {frequent}"
