"""YAML text to a tree that knows where everything stands: a strict subset, read the same way everywhere.

What is left out makes a config longer to explain than to write (anchors, aliases, merge keys, tags, several
documents), and what YAML 1.1 guesses is not guessed: ``no`` is a text, ``1e-5`` a number, ``012`` a text.
PyYAML supplies the events; the tree is made here, so depth and size are checked before anything recurses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from ptm.errors import Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_DIGITS = 30
MAX_VALUES = 100_000  # about 2 s of PyYAML's scanner
_MOST_FINDINGS = 200  # after so many nothing more is read

_SMALL = "a config of some kilobytes"

_WHOLE = r"(?:0|[1-9][0-9]*(?:_[0-9]+)*)"
_INTEGER = re.compile(rf"[-+]?{_WHOLE}")
_NUMBER = re.compile(rf"[-+]?(?:{_WHOLE}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}

# What no editor shows: C0 and C1 controls, line separators that only some programs see as such, halves of
# characters, non-characters, byte order marks.
_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # nor as an escape in double quotes


@dataclass(frozen=True, order=True)
class Place:
    """Where something stands. ``order`` sorts; ``text`` is for users: ``run.yaml:3:5``, or an override."""

    order: tuple[int, int, int]
    text: str = field(compare=False)

    @property
    def in_file(self) -> bool:
        """Whether it stands in a file, where it has a line."""
        return self.order[0] == 0


@dataclass(frozen=True)
class Finding:
    """A problem and the place by which it is sorted."""

    place: Place
    problem: Problem


@dataclass(frozen=True)
class Scalar:
    """One value. ``text`` is what was written, without quotes; ``plain`` whether it had none."""

    place: Place
    text: str
    plain: bool
    value: str | int | float | bool | None


@dataclass(frozen=True)
class Listing:
    """A sequence."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Section:
    """A mapping. ``keys`` says where each key stands, ``incomplete`` that some could not be read."""

    place: Place
    keys: Mapping[str, Place]
    values: Mapping[str, Node]
    incomplete: bool = False


@dataclass(frozen=True)
class Unread:
    """A value that was refused: its problem is known already, so nothing else is message about it."""

    place: Place


Node = Scalar | Listing | Section | Unread


def finding_at(place: Place, what: str, expected: str = "", cure: str = "") -> Finding:
    """A finding whose problem shows its place."""
    return Finding(place, Problem(what, place.text, expected, cure))


def show(text: str, most: int = 60) -> str:
    """A user's text for a message: one line, nothing that a terminal obeys, cut to ``most`` characters."""
    clean = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: most + 1])
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def plain_value(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means. Numbers are decimal; a leading 0 makes a text; what overflows is inf."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= 2 * MAX_DIGITS else math.inf
    return float(text) if _NUMBER.fullmatch(text) else text


def to_data(node: Node) -> Any:
    """The bare values of a tree; None where something was refused."""
    match node:
        case Scalar():
            return node.value
        case Listing():
            return [to_data(item) for item in node.items]
        case Section():
            return {key: to_data(value) for key, value in node.values.items()}
    return None


def read_yaml(text: str, name: str) -> tuple[Section | None, list[Finding]]:
    """The top-level mapping of a file's text (None: it could not be read to its end), and what is wrong.

    ``name`` is the file as the user named it; places read ``name:line:column``, counted from 1.
    """

    def place(line: int, column: int) -> Place:
        return Place((0, line, column), f"{name}:{line + 1}:{column + 1}")

    root, findings = _compose(text.removeprefix("\ufeff"), place)
    if isinstance(root, Section) or findings:
        return root if isinstance(root, Section) else None, findings
    keys = "keys such as version:, task:, model:, data:, train:, output:"
    if root is None or (isinstance(root, Scalar) and root.value is None):
        whole = Place((0, 0, 0), name)
        return None, [finding_at(whole, "the file is empty", keys, "start from one of the files in configs/")]
    what = "the file holds a list" if isinstance(root, Listing) else "the file holds a single value"
    return None, [finding_at(root.place, what, keys, "write `key: value`, with a space after the colon")]


def read_value(text: str, where: Place) -> tuple[Node, list[Finding]]:
    """The value of an override: a list, mapping or quoted text as in a file, all else one plain scalar."""
    stripped = text.strip()
    if stripped[:1] in tuple("[{\"'"):
        node, findings = _compose(stripped, lambda line, column: where)
        return node or Unread(where), findings
    findings = _text_findings(text, lambda line, column: where)
    return (Unread(where), findings) if findings else _scalar(stripped, True, where)


def decode(raw: bytes, name: str) -> tuple[str, list[Finding]]:
    """A file's bytes as text: UTF-8, with or without a byte order mark, at most 1 MiB."""
    whole = Place((0, 0, 0), name)
    if len(raw) > MAX_BYTES:
        return "", [finding_at(whole, "the file is larger than 1 MiB", _SMALL, "is this the config?")]
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        cure = f"save it as UTF-8, or: iconv -f UTF-16 -t UTF-8 {name} > new.yaml"
        return "", [finding_at(whole, "the file is UTF-16", "text in UTF-8", cure)]
    try:
        return raw.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        line, column = _position(error.object[: error.start].decode("utf-8", "replace"))  # without the mark
        place = Place((0, line, column), f"{name}:{line + 1}:{column + 1}")
        what = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        return "", [finding_at(place, what, "text in UTF-8", "save the file as UTF-8 in your editor")]


class _Refused(Exception):
    """Reading cannot go on."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding


_PlaceOf = Callable[[int, int], Place]


def _compose(text: str, place: _PlaceOf) -> tuple[Node | None, list[Finding]]:
    """The first document as a tree (None: there is none, or it breaks off), and all that is wrong."""
    findings = _text_findings(text, place)
    if findings:
        return None, findings
    try:
        reader = _Reader(_events(text, place), place, findings)
        return reader.document(), findings
    except _Refused as refusal:
        return None, [*findings, refusal.finding]


def _text_findings(text: str, place: _PlaceOf) -> list[Finding]:
    """The first character that cannot be seen, if there is one."""
    if len(text) > MAX_BYTES:
        return [finding_at(place(0, 0), "the text is longer than 1 MiB", _SMALL)]
    hit = _INVISIBLE.search(text)
    if hit is None:
        return []
    many = len(_INVISIBLE.findall(text)) - 1
    others = f", and {many} more of the kind" if many else ""
    what = f"an invisible character, U+{ord(hit.group()):04X}{others}"
    cure = "is this a text file?" if hit.group() == "\0" else "delete it; the line will look the same"
    return [
        finding_at(
            place(*_position(text[: hit.start()])), what, "visible characters, spaces and line ends", cure
        )
    ]


def _events(text: str, place: _PlaceOf) -> Iterator[yaml.Event]:
    """PyYAML's events (pure Python: the C scanner's messages differ); its errors become _Refused."""
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    except yaml.MarkedYAMLError as error:
        raise _Refused(_syntax_finding(error, place, text)) from None
    except (ValueError, OverflowError):  # an escape such as "\UFFFFFFFF", or a directive's number
        where = _marked(loader.get_mark(), place)
        raise _Refused(finding_at(where, "this number is not one of a character")) from None
    finally:
        loader.dispose()


class _Reader:
    """Events to a tree. Findings that do not stop the reading are added to ``findings``."""

    def __init__(self, events: Iterator[yaml.Event], place: _PlaceOf, findings: list[Finding]) -> None:
        self._events = events
        self._place = place
        self._findings = findings
        self._values = 0

    def document(self) -> Node | None:
        """The first document, once all events are seen to be well-formed."""
        root: Node | None = None
        started = False
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if started:
                    cure = "one file is one run: remove `---` and what follows"
                    self._refuse(self._at(event), "a second document begins here", cure)
                    break
                started = True
                root = self._node(next(self._events), 1)
        return root

    def _at(self, event: yaml.Event) -> Place:
        return _marked(event.start_mark, self._place)

    def _node(self, event: yaml.Event, depth: int) -> Node:
        place = self._at(event)
        self._values += 1
        if depth > MAX_DEPTH:
            raise _Refused(
                finding_at(place, f"nested deeper than {MAX_DEPTH} levels", "sections, keys, lists")
            )
        if self._values > MAX_VALUES:
            raise _Refused(finding_at(place, f"more than {MAX_VALUES:,} values", _SMALL))
        if isinstance(event, yaml.AliasEvent):
            alias = show(event.anchor or "")
            self._refuse(place, f"an alias, `*{alias}`", "write out the value; quote a text with `*`")
            return Unread(place)
        self._refuse_properties(event, place)
        if isinstance(event, yaml.ScalarEvent):
            node, findings = _scalar(event.value, event.style is None, place)
            self._findings += findings
            return node
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(inner, depth + 1))
            return Listing(place, tuple(items))
        return self._section(place, depth)

    def _refuse(self, place: Place, what: str, cure: str) -> None:
        finding = finding_at(place, what, cure=cure)
        if len(self._findings) >= _MOST_FINDINGS:  # nobody reads on, and each takes its time
            raise _Refused(finding)
        self._findings.append(finding)

    def _refuse_properties(self, event: Any, place: Place) -> None:
        if event.anchor is not None:
            self._refuse(place, f"an anchor, `&{show(event.anchor)}`", "remove it; quote a text with `&`")
        if event.tag is not None:
            tag = show(event.tag.replace("tag:yaml.org,2002:", "!!"))
            self._refuse(place, f"a tag, `{tag}`", "remove it; quote a text that starts with `!`")

    def _section(self, place: Place, depth: int) -> Section:
        keys: dict[str, Place] = {}
        values: dict[str, Node] = {}
        incomplete = False
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            known = len(self._findings)
            value = self._node(next(self._events), depth + 1)
            if not isinstance(key, Scalar):
                incomplete = True
                if not isinstance(key, Unread):
                    self._refuse(key.place, "a list or a mapping as a key", "a key is one word")
            elif key.text == "<<" and key.plain:
                incomplete = True
                if isinstance(value, Unread):
                    del self._findings[known:]  # the alias after it needs no message of its own
                self._refuse(key.place, "a merge key, `<<`", "write out the keys")
            elif key.text in keys:
                what = f"the key {show(key.text)!r} stands here again, after {keys[key.text].text}"
                self._refuse(key.place, what, "remove one of them")
            else:
                keys[key.text], values[key.text] = key.place, value
        return Section(place, keys, values, incomplete)


def _scalar(text: str, plain: bool, place: Place) -> tuple[Node, list[Finding]]:
    # JSON writes characters beyond U+FFFF as two escapes; this makes one character of them.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    if hit := _CONTROL.search(text):
        what = f"a control character, U+{ord(hit.group()):04X}, in a text"
        return Unread(place), [finding_at(place, what, "characters that can be seen", "remove it")]
    value = plain_value(text) if plain else text
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**MAX_DIGITS:
        value = math.inf
    if isinstance(value, float) and not math.isfinite(value):
        what = f"the number {show(text, 20)} is too large"
        expected = f"a whole number of at most {MAX_DIGITS} digits, or a float"
        return Unread(place), [finding_at(place, what, expected, "put it in quotes if it is meant as a text")]
    return Scalar(place, text, plain, value), []


# What PyYAML says, in words: part of its message, what is wrong, what to do. The first that fits counts.
_SYNTAX: tuple[tuple[str, str, str], ...] = (
    (r"'\t' that cannot start", "a tab", "use spaces; tabs cannot indent or separate in YAML"),
    ("'>' that cannot start", "`>` begins a folded text", 'put the value in quotes: ">= 0.9"'),
    ("that cannot start any token", "a value cannot begin with this character", "put the value in quotes"),
    (
        "mapping values are not allowed",
        "a `: ` where none can be",
        "quote a text with `: `; indent keys alike",
    ),
    ("but found '<block mapping start>'", "indented differently", "indent all keys of a section alike"),
    ("but found '<block sequence start>'", "indented differently", "indent all items of a list alike"),
    (
        "sequence entries are not allowed",
        "a list item where none can be",
        "begin the list on a line of its own, or write [a, b]",
    ),
    ("expected <block end>", "something follows a complete value", "put the value in quotes, or add a comma"),
    ("expected ',' or ']'", "a list without its end", "separate items by `,` and close the list with `]`"),
    ("expected ',' or '}'", "a mapping without its end", "separate pairs by `,` and close it with `}`"),
    ("unknown escape", "an unknown escape in double quotes", "use single quotes, or double the backslash"),
    ("undefined tag handle", "a tag", "remove it; quote a text that starts with `!`"),
    ("expected the node content", "a value is missing", "give the value, and close every bracket"),
)
# The same where the place is better shown at which the thing began.
_SYNTAX_AT_START: tuple[tuple[str, str, str], ...] = (
    ("chomping or indentation", "`>` and `|` begin a folded text", 'put the value in quotes: ">= 0.9"'),
    ("could not find expected ':'", "not `key: value`", "write a space after the colon; quote long texts"),
    ("unexpected end of stream", "a quote that is never closed", "close it"),
    ("found unexpected document separator", "a quote that is never closed", "close it"),
)


_NO_SPACE = re.compile(r"( *[\w.-]+):[^\s/][^:]*")


def _syntax_finding(error: yaml.MarkedYAMLError, place: _PlaceOf, text: str) -> Finding:
    message = f"{error.problem} {error.context}"
    if "mapping values are not allowed" in message and error.problem_mark is not None:
        # `epochs:3` is a text to YAML, so it complains about the line below.
        above = error.problem_mark.line - 1
        culprit = _NO_SPACE.fullmatch(text.splitlines()[above]) if above >= 0 else None
        if culprit:
            where = place(above, culprit.end(1))
            return finding_at(where, "no space after the colon", cure="write `key: value`")
    at_start = next((row for row in _SYNTAX_AT_START if row[0] in message), None)
    row = at_start or next((row for row in _SYNTAX if row[0] in message), None)
    _, what, cure = row or ("", f"not YAML: {error.problem or error.context}", "")
    marks = (error.context_mark, error.problem_mark) if at_start else (error.problem_mark, error.context_mark)
    return finding_at(_marked(marks[0] or marks[1], place), what, cure=cure)


def _marked(mark: Any, place: _PlaceOf) -> Place:
    return place(mark.line, mark.column) if mark is not None else place(0, 0)


def _position(before: str) -> tuple[int, int]:
    """Line and column, from 0, of what follows this text."""
    lines = before.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return len(lines) - 1, len(lines[-1])
