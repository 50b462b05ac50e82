"""The kinds of files that hold rows, each with its reader: one table for training, evaluation and prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ptm.data.annotated import read_annotated
from ptm.data.annotation_tools import TOOLS
from ptm.data.conll import CONLL_SUFFIXES, read_conll
from ptm.data.fasttext import read_fasttext
from ptm.data.packed import with_packed
from ptm.data.partial import as_rest
from ptm.data.squad import articles_of, read_squad
from ptm.data.tables import READERS, Table, by_role
from ptm.data.text_format import TextFormat
from ptm.data.workbooks import WORKBOOK_SUFFIXES, read_workbook


@dataclass(frozen=True)
class Format:
    """``read(path, roles, written)``: the columns of a file by role; ``roles``: role → column. ``suffixes``: how names
    of such files end. ``inputs``: the roles that it can give; ``texts``: the same with texts in the place of
    words, which a prediction cuts as its model has learned."""

    read: Callable[[Path, Mapping[str, str], TextFormat], Table]
    suffixes: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    texts: Callable[[Path, Mapping[str, str], TextFormat], Table] | None = None


def _by_column(read: Callable[[Path, Sequence[str], TextFormat], Table]) -> Callable[..., Table]:
    """A reader of named columns as one of roles."""

    def read_roles(path: Path, roles: Mapping[str, str], written: TextFormat) -> Table:
        with as_rest(lambda table: by_role(table, roles)):
            return by_role(read(path, list(dict.fromkeys(roles.values())), written), roles)

    return read_roles


_ROWS_OF_JSON = _by_column(READERS["json"][0])


def _rows_or_squad(path: Path, roles: Mapping[str, str], written: TextFormat) -> Table:
    """Files of JSON; where questions are asked for, SQuAD's as well."""
    content = articles_of(path, written) if "question" in roles else None
    if content is None:
        return _ROWS_OF_JSON(path, roles, written)
    return read_squad(path, roles, written, content)


FORMATS: Mapping[str, Format] = {
    **{
        kind: Format(_by_column(read), suffixes if kind == "parquet" else with_packed(suffixes))
        for kind, (read, suffixes) in READERS.items()
    },
    "json": Format(_rows_or_squad, with_packed(READERS["json"][1])),
    "squad": Format(read_squad, with_packed((".json",)), ("question", "context")),
    "conll": Format(read_conll, with_packed((*CONLL_SUFFIXES, ".txt", ".tsv")), ("words",)),
    "xlsx": Format(read_workbook, WORKBOOK_SUFFIXES),
    "fasttext": Format(read_fasttext, with_packed((".txt", ".train", ".valid", ".test", ".ft")), ("text",)),
    **{
        kind: Format(
            partial(read_annotated, kind),
            with_packed((".jsonl", ".json", ".ndjson")),
            ("words", "text"),
            partial(read_annotated, kind, raw=True),
        )
        for kind in TOOLS
    },
}
