"""What the columns of a table seem to hold: texts, labels, pairs, words with tags, names of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptm.config.tags import entity_tags
from ptm.config.tasks import QUESTION_ANSWERING, TASKS, TEXT_SIMILARITY
from ptm.data.guess_roles import PAIRS, are_questions, guess_questions, guess_similar
from ptm.data.guess_rows import Guess, Rows, is_flag, is_number, longest_columns, put_columns, read_rows
from ptm.data.image_listing import IMAGE_SUFFIXES
from ptm.data.label_cells import ANNOTATED_CURE, is_annotation
from ptm.errors import DataError, listing

_LONGEST_NUMBER = 18  # digits of a label that is one
MOST_LABELS = 50  # in the config; more are left to be read from the data
_TEXTS = (
    *(
        "text",
        "sentence",
        "review",
        "content",
        "body",
        "comment",
        "message",
        "question",
        "tweet",
        "title",
        "query",
    ),
    *("description", "abstract", "summary", "document", "utterance"),
)
_TRANSLATIONS = (
    *(("text", "target_text"), ("source", "target"), ("src", "tgt"), ("source_text", "target_text")),
    *(
        (a, b)
        for a in ("en", "de", "fr", "es", "zh", "ja", "it", "pt", "ru")
        for b in ("de", "en", "fr", "es", "zh")
    ),
)
_LABELS = (
    *(
        "label",
        "labels",
        "class",
        "category",
        "categories",
        "target",
        "sentiment",
        "intent",
        "topic",
        "y",
        "tag",
    ),
    *("score", "rating", "stars", "value", "grade", "polarity"),
)
_WORDS = (
    ("words", "tags"),
    ("tokens", "tags"),
    ("tokens", "ner_tags"),
    ("words", "labels"),
    ("tokens", "labels"),
)
_IMAGES = ("image", "file", "path", "filename", "file_name", "image_path", "img")


def guess_columns(about: Guess, task: str | None) -> None:
    """Fill in task, columns and labels of a table. Raises DataError where no column holds texts or images."""
    names = [about.data[key] for key in ("train", "eval") if key in about.data and about.data[key] != "20%"]
    files = [about.path / name for name in names] or [about.path]
    read = [read_rows(file, about) for file in files]
    rows = read[0]
    if not rows.rows:
        raise DataError("there are no rows in it", where=files[0], expected="at least one example")
    about.train_examples = len(rows.rows)
    columns = set(rows.columns)
    pair = next((p for p in _TRANSLATIONS if set(p) <= columns), None)
    words = next((p for p in _WORDS if set(p) <= columns and _lists(rows, p)), None)
    label = _label_column(rows)
    image = next((c for c in rows.columns if _names_images(rows, c)), None)
    flags = _flag_columns(rows, label) if image is not None else []
    if image is not None and label is None:
        label = _only_numbers(rows)
    if task == QUESTION_ANSWERING.name or (task is None and are_questions(rows.columns)):
        guess_questions(about, rows, files[0])
    elif task == TEXT_SIMILARITY.name:
        guess_similar(about, rows, read, label, pair, files[0])
    elif words is not None:
        about.task = "token-classification"
        about.reasons["task"] = f"{words[0]} and {words[1]} are lists of one length ({rows.places[0]})"
        put_columns(about, {"text": words[0], "label": words[1]}, {"text": "words", "label": ""}, rows)
        tags = Counter(str(tag) for table in read for tags in table.values(words[1]) for tag in tags)
        about.entities = bool(entity_tags(list(tags)))
        if not all(tag.isdecimal() for tag in tags):
            _put_labels(about, sorted(tags, key=lambda tag: (tag != "O", tag[2:], tag)), tags)
    elif image is not None and (label is not None or flags):
        about.task = "image-classification"
        about.reasons["task"] = f"{image} names images: {rows.values(image)[0]!r} ({rows.places[0]})"
        put_columns(about, {"image": image}, {"image": "image"}, rows)
        if flags:
            _put_flags(about, flags, read)
        else:
            _put_target(about, str(label), read)
    elif task == "translation" or (pair is not None and label is None):
        texts = pair or tuple(longest_columns(rows)[:2])
        if len(texts) < 2:
            raise DataError(
                "a translation needs two columns of texts",
                where=files[0],
                expected=f"two; there is {listing(rows.columns)}",
            )
        about.task = "translation"
        about.reasons["task"] = f"two columns of texts and no label: {texts[0]}, {texts[1]}"
        put_columns(
            about,
            {"text": texts[0], "target_text": texts[1]},
            {"text": "text", "target_text": "target_text"},
            rows,
        )
    else:
        labelled = task is None or bool(TASKS[task].label_types)
        classes = task is None or "classes" in TASKS[task].label_types
        _texts(about, rows, read, label if labelled else None, files[0], may_be_classes=classes)


def _texts(
    about: Guess, rows: Rows, read: Sequence[Rows], label: str | None, file: Path, *, may_be_classes: bool
) -> None:
    pair = next((p for p in PAIRS if set(p) <= set(rows.columns)), None)
    others = [c for c in longest_columns(rows) if c != label]
    text = (
        pair[0] if pair else next((c for c in others if c.lower() in _TEXTS), others[0] if others else None)
    )
    if text is None:
        raise DataError(
            "no column holds texts",
            where=file,
            expected=f"a column of texts, or of names of images; there is {listing(rows.columns)}",
            cure="say what it is for: --task TASK, or write the config by hand (docs/data.md)",
        )
    put_columns(about, {"text": text}, {"text": "text"}, rows)
    flags = _flag_columns(rows, label)
    if flags and may_be_classes:
        about.task = "text-classification"
        about.reasons["task"] = f"texts in {text}, labels in {listing(flags)}"
        _put_flags(about, flags, read)
        return
    if label is None:
        about.task = "masked-lm"
        about.reasons["task"] = f"texts in {text}, and no column with labels"
        return
    about.task = "text-classification"
    about.reasons["task"] = f"texts in {text}, labels in {label}"
    if pair:
        about.say("text_pair", pair[1], f"a second text beside {pair[0]}")
    _put_target(about, label, read)


def _lists(rows: Rows, pair: Sequence[str]) -> bool:
    return all(
        isinstance(row.get(pair[0]), list)
        and isinstance(row.get(pair[1]), list)
        and len(row[pair[0]]) == len(row[pair[1]])
        for row in rows.rows[:20]
    )


def _names_images(rows: Rows, column: str) -> bool:
    values = rows.values(column)[:20]
    as_paths = values and all(isinstance(v, str) and v.lower().endswith(IMAGE_SUFFIXES) for v in values)
    return bool(as_paths) or (column in _IMAGES and bool(values) and all(isinstance(v, dict) for v in values))


def _label_column(rows: Rows) -> str | None:
    named = [c for name in _LABELS for c in rows.columns if c.lower() == name and rows.values(c)]
    if named:
        return named[0]
    few = [c for c in rows.columns if _few_values(rows.values(c))]
    return few[-1] if few else None


def _flag_columns(rows: Rows, label: str | None) -> list[str]:
    """Columns of which each says of one class whether it applies; none where there are fewer than two, or ``label`` is
    another one."""
    flags = [c for c in rows.columns if c.lower() not in _LABELS and _are_flags(rows.values(c))]
    return flags if len(flags) > 1 and (label is None or label in flags) else []


def _put_flags(about: Guess, flags: Sequence[str], read: Sequence[Rows]) -> None:
    place = read[0].places[0]
    about.say("labels_from", list(flags), f"columns of 0 and 1, or true and false ({place})")
    for table in read:
        for place, row in zip(table.places, table.rows, strict=True):
            applying = sum(str(row.get(c)).strip().lower() in ("1", "1.0", "true") for c in flags)
            if applying != 1:
                about.say("label_type", "classes", f"{applying} of them are 1 in {place}")
                return


def _are_flags(values: Sequence[Any]) -> bool:
    return len(values) > 1 and all(map(is_flag, values)) and len(set(map(str, values))) > 1


def _only_numbers(rows: Rows) -> str | None:
    """The one column of numbers beside images; None where there are several, or none."""
    columns = [c for c in rows.columns if rows.values(c) and all(map(is_number, rows.values(c)))]
    return columns[0] if len(columns) == 1 else None


def _few_values(values: Sequence[Any]) -> bool:
    """Whether these look like names of classes: each several times."""
    if len(values) < 4 or not all(isinstance(v, str | int) for v in values):
        return False
    counts = Counter(map(str, values))
    return 1 < len(counts) <= max(2, len(values) // 4) and max(map(len, counts)) < 40


def _put_target(about: Guess, column: str, read: Sequence[Rows]) -> None:
    rows = read[0]
    values = [value for table in read for value in table.values(column)]
    for place, row in zip(rows.places, rows.rows, strict=True):
        if is_annotation(row.get(column)):
            raise DataError(
                f"{column} holds no name of a label but {row[column]!r:.200}",
                where=place,
                expected="a table with a label a row, or a list of labels",
                cure=ANNOTATED_CURE,
            )
    if column != "label":
        about.say("label", column, f"{rows.places[0]}: {rows.values(column)[0]!r}")
    separator = next((mark for mark in "|;," if _repeats_parts(values, mark)), None)
    names: Counter[str]
    if any(isinstance(value, list) for value in values):
        place = next(
            p for p, row in zip(rows.places, rows.rows, strict=True) if isinstance(row.get(column), list)
        )
        about.say("label_type", "classes", f"lists of labels ({place})")
        names = Counter(str(name) for value in values if isinstance(value, list) for name in value)
    elif separator is not None:
        place = next(
            p for p, row in zip(rows.places, rows.rows, strict=True) if separator in str(row.get(column))
        )
        about.say("label_type", "classes", f"several labels in a cell ({place})")
        if separator != "|":
            about.say("label_separator", separator, f"what stands between them ({place})")
        names = Counter(
            part.strip() for value in values for part in str(value).split(separator) if part.strip()
        )
    else:
        names = Counter(str(value) for value in values)
        if _may_be_number(about) and _is_quantity(names):
            about.say(
                "label_type",
                "number",
                f"{len(names)} different numbers, such as {rows.values(column)[0]} ({rows.places[0]})",
            )
            return
    if len(names) == 1 and "label_type" not in about.data:
        raise DataError(
            f"every row that can be read has the {column} {next(iter(names))!r:.200}",
            where=rows.places[0],
            expected="at least two labels, and each row with as many fields as the header",
            cure="correct the file, or write the config by hand (docs/data.md)",
        )
    if all(name.isdecimal() and len(name) <= _LONGEST_NUMBER for name in names):
        about.reasons["labels as numbers"] = f"labels are the numbers {listing(sorted(map(int, names)), 8)}"
        return
    _put_labels(about, sorted(names), names)


def _repeats_parts(values: Sequence[Any], mark: str) -> bool:
    """Whether cells seem to be lists: parts between ``mark`` that other cells have, too."""
    cells = [value for value in values if isinstance(value, str)]
    several = [cell for cell in cells if mark in cell]
    parts = Counter(part.strip() for cell in cells for part in cell.split(mark))
    return len(several) > 1 and all(
        parts[part.strip()] > 1 for cell in several[:5] for part in cell.split(mark)
    )


def _may_be_number(about: Guess) -> bool:
    return about.task is not None and "number" in TASKS[about.task].label_types


def _is_quantity(names: Counter[str]) -> bool:
    if not all(map(is_number, names)):
        return False
    return any(not name.lstrip("-").isdecimal() for name in names) or len(names) > 20


def _put_labels(about: Guess, names: Sequence[str], counts: Counter[str]) -> None:
    text = ", ".join(f"{name} {counts[name]}" for name in names[:8]) + (", …" if len(names) > 8 else "")
    if len(names) <= MOST_LABELS:
        about.say("labels", list(names), f"how often: {text}")
    else:
        about.reasons["labels read"] = f"{len(names)} labels, which are read from train: {text}"


def objection_to_test(about: Guess, file: Path) -> str:
    """Why the rows of ``file`` cannot be a test split of a table whose columns are known; "" where they can."""
    try:
        train, test = (read_rows(path, about) for path in (about.path / about.data["train"], file))
    except DataError as error:
        return error.problems[0].what
    absent = [column for column in train.columns if column not in test.columns]
    if absent:
        return f"it has no column {listing(absent)}"
    column = about.data.get("label", "label")
    if column not in train.columns or about.task in ("masked-lm", "translation"):
        return ""
    number = about.data.get("label_type") == "number"
    known = set(
        about.data.get("labels") or (n for value in train.values(column) for n in _names(about, value))
    )
    for place, row in zip(test.places, test.rows, strict=True):
        value = row.get(column)
        if value is None or (number and not is_number(value)):
            return f"{column} is {value!r} ({place})"
        foreign = [name for name in _names(about, value) if name not in known]
        if foreign and not number:
            return f"{column} is {foreign[0]!r}, which no example of train has ({place})"
    return ""


def _names(about: Guess, value: Any) -> list[str]:
    """The labels in a cell."""
    if isinstance(value, list):
        return [str(name) for name in value]
    if about.data.get("label_type") != "classes":
        return [str(value)]
    parts = str(value).split(about.data.get("label_separator", "|"))
    return [part.strip() for part in parts if part.strip()]
