"""What a file or folder of data seems to hold: its format, splits, columns and labels, each with what led to the guess.

A guess is for a person to read and correct: it is written into a config with its reasons, and never made behind one's
back.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ptm.base.regular import endless
from ptm.config.tasks import ANNOTATED_SOURCES, QUESTION_SOURCES, TABLE_SOURCES, TAGGED_SOURCES, TASKS
from ptm.data.entries import SCHEMA_FILE
from ptm.data.guess_exports import (
    instances_among,
    lists_of_images,
    refuse_unread,
    refuse_unread_file,
    unpacked,
)
from ptm.data.guess_roles import guess_squad, objection_to_questions
from ptm.data.guess_rows import Guess, put_encoding
from ptm.data.guess_table import guess_columns, objection_to_test
from ptm.data.guess_text import guess_labelled, is_textfolder, kind_of_file
from ptm.data.image_files import contents, is_image
from ptm.data.image_listing import is_hidden
from ptm.data.mask_colors import COLOR_FILES
from ptm.data.masks import FOLDERS
from ptm.data.readers import FORMATS
from ptm.data.voc import IMAGE_FOLDERS
from ptm.data.yolo import NAME_FILES, config_of, splits_of
from ptm.errors import ConfigError, DataError, listing

_NAMED = (
    "; where names of images hold their classes: data.source: imagefolder:FOLDER, data.label (docs/data.md)"
)
_TRAIN = ("train", "training")
_TEST = ("test", "testing", "testb")
_EVAL = ("val", "valid", "validation", "dev", "eval", "testa")  # else that of _TEST


def guess(path: Path, task: str | None = None) -> Guess:
    """What is in ``path``. ``task``: as somebody says who knows.

    Raises DataError where nothing is recognised, ConfigError for a task that does not go with it.
    """
    if task is not None and task not in TASKS:
        raise ConfigError(f"there is no task {task!r}", where="--task", expected=f"one of {', '.join(TASKS)}")
    path = unpacked(path)
    kind, why = _kind(path)
    about = Guess(task="", kind=kind, path=path)
    about.reasons["source"] = why
    _splits(about)
    if kind in TABLE_SOURCES:
        guess_columns(about, task)
    elif kind in (*TAGGED_SOURCES, *ANNOTATED_SOURCES, "fasttext", "textfolder"):
        guess_labelled(about, task)
    elif kind in QUESTION_SOURCES:
        guess_squad(about)
    else:
        about.task = {
            "text": "masked-lm",
            "imagefolder": "image-classification",
            "voc": "object-detection",
            "coco": "object-detection",
            "yolo": "object-detection",
            "masks": "semantic-segmentation",
            "labelme": "semantic-segmentation",
        }[kind]
        about.reasons["task"] = f"what {kind}: data are for"
        if kind == "masks":
            _mask_values(about)
        elif kind == "text":
            put_encoding(about, path / about.data.get("train", "") if path.is_dir() else path)
    if (test := about.data.get("test")) and (objection := _objection_to_test(about, test)):
        del about.data["test"]
        about.reasons["test"] = f"{test} is left out: {objection}"
    if task is not None:
        if kind not in TASKS[task].sources:
            raise ConfigError(
                f"{task} does not read {kind}: data",
                where="--task",
                expected=f"{about.task}, or data that {task} reads: {', '.join(TASKS[task].sources)}",
            )
        about.reasons["task"] = "--task"
        about.task = task
    return about


def _kind(path: Path) -> tuple[str, str]:
    if not path.exists():
        raise DataError("there is no such file or folder", where=path, cure="correct the path")
    if (kind_there := endless(path)) is not None:
        raise DataError(f"is {kind_there}", where=path, expected="a file or a folder")
    if path.is_file():
        if config_of(path.parent) == path:
            return "yolo", f"{path.name} names classes"
        refuse_unread_file(path)
        kind, why = kind_of_file(path)
        if kind is None:
            known = sorted({suffix for form in FORMATS.values() for suffix in form.suffixes})
            raise DataError(
                "no kind of file that ptm reads",
                where=path,
                expected=f"one of {', '.join(known)}, or a folder",
                cure="save it as one of these; archives are unpacked first: python -m zipfile -e FILE FOLDER",
            )
        return kind, why
    for images in IMAGE_FOLDERS:
        if (path / images).is_dir() and any((path / "Annotations").rglob("*.xml")):
            return "voc", f"there are Annotations/ and {images}/"
    if (file := _labelme_file(path)) is not None:
        return "labelme", f"{file.relative_to(path)} has imagePath and shapes"
    for file in _coco_files(path):
        return "coco", f"{file.relative_to(path)} has images, annotations and categories"
    if (config := config_of(path)) is not None and _has_boxes_of_yolo(path, config):
        return "yolo", f"{config.name} names classes, and there are labels/ beside images/"
    refuse_unread(path)
    for folder in (path, *_folders(path)):
        for images, masks in FOLDERS:
            if (folder / images).is_dir() and _holds_images(folder / masks):
                return "masks", f"{folder.name}/ holds {images}/ and {masks}/"
    text = is_textfolder(path)
    if text is not None:
        return "textfolder", f"texts in folders: {text}"
    kinds = {file.name: found for file in _files(path) if (found := kind_of_file(file))[0] is not None}
    if kinds:
        kind = str(Counter(kind for kind, _ in kinds.values()).most_common(1)[0][0])
        reasons = {name: why for name, (other, why) in kinds.items() if other == kind}
        return kind, f"it holds {listing(reasons, 4)}: {next(iter(reasons.values()))}"
    for folder in (path, *_folders(path)):
        image = next(
            (
                file
                for inner in _folders(folder)
                for file in sorted(inner.rglob("*"))
                if is_image(file, folder)
            ),
            None,
        )
        if image is not None:
            return "imagefolder", f"images in folders: {image.relative_to(path)}"
    raise DataError(
        "nothing in it is recognised",
        where=path,
        expected="tables, texts, folders of images, VOC, COCO, or images with masks",
        cure=f"there is: {contents(path)}{_NAMED if any(is_image(file, path) for file in _files(path)) else ''}",
    )


def _has_boxes_of_yolo(path: Path, config: Path) -> bool:
    if config.name not in NAME_FILES:
        return True
    return any(any(folder.rglob("*.txt")) for folder in _folders(path) if not folder.name.startswith("image"))


def _holds_images(folder: Path) -> bool:
    return folder.is_dir() and any(is_image(file, folder) for file in folder.iterdir())


def _files(path: Path) -> list[Path]:
    files = (entry for entry in path.iterdir() if entry.is_file() and not is_hidden(entry.name))
    return sorted(file for file in files if file.name != SCHEMA_FILE)


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not is_hidden(entry.name))


def _coco_files(path: Path) -> list[Path]:
    candidates = [*path.glob("*.json"), *path.glob("annotations/*.json"), *path.glob("*/*.json")]
    return instances_among([file for file in dict.fromkeys(sorted(candidates)) if _is_coco(file)])


def _is_coco(path: Path) -> bool:
    return {"images", "annotations", "categories"} <= _keys(path)


def _keys(path: Path) -> set[str]:
    """The keys of a JSON object; none of anything else."""
    if endless(path) is not None:
        return set()
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return set()
    return set(content) if isinstance(content, dict) else set()


def _labelme_file(path: Path) -> Path | None:
    """The first JSON file of a folder or of those in it, where it is one of LabelMe's."""
    for folder in (path, *_folders(path)):
        first = next((file for file in _files(folder) if file.suffix.lower() == ".json"), None)
        if first is not None and {"imagePath", "shapes"} <= _keys(first):
            return first
    return None


# --- splits


def _splits(about: Guess) -> None:
    """``train``, ``eval`` and, beside both, ``test`` by their names; without an ``eval`` a fifth is held out."""
    names = _split_names(about)
    train = _named(names, _TRAIN)
    others = {name: file for name, file in names.items() if file != train}
    evaluated = _named(others, _EVAL) or _named(others, _TEST)
    if train is not None:
        about.say("train", train, f"of {listing(names.values(), 6)}")
    elif len(names) == 1:
        only = next(iter(names.values()))
        about.say("train", only, "the only one there is")
    elif names:
        raise DataError(
            "no split is called train",
            where=about.path,
            expected=f"a file or folder called train; there is: {listing(names.values(), 6)}",
            cure="name the file to learn from instead of the folder",
        )
    if evaluated is not None and train is not None:
        about.say("eval", evaluated, f"of {listing(names.values(), 6)}")
        test = _named({name: file for name, file in others.items() if file != evaluated}, _TEST)
        if test is not None:
            about.say("test", test, "measured once, by what eval has chosen")
    else:
        about.say(
            "eval",
            "20%",
            "nothing is called val, dev or test: a fifth of train is held out, always the same rows",
        )


def _objection_to_test(about: Guess, test: str) -> str:
    """Why a test split cannot be measured, such as one whose labels a contest keeps to itself; "" where it can."""
    place = about.path / test
    if about.kind in TABLE_SOURCES:
        return objection_to_test(about, place)
    if about.kind in QUESTION_SOURCES:
        return objection_to_questions(place)
    if about.kind == "imagefolder":
        classes = {folder.name for folder in _folders(place)}
        known = {folder.name for folder in _folders(about.path / about.data["train"])}
        return "" if classes and classes <= known else "its folders are not the classes of train"
    if about.kind == "masks":
        return "" if any((place / masks).is_dir() for _, masks in FOLDERS) else "there are no masks in it"
    if about.kind == "voc":
        names = (about.path / "ImageSets" / "Main" / f"{test}.txt").read_text(encoding="utf-8").split()
        there = names and (about.path / "Annotations" / f"{names[0]}.xml").is_file()
        return "" if there else "its images have no annotations"
    return ""


def _split_names(about: Guess) -> dict[str, str]:
    """What may be a split, in lower case without its suffix → as the config names it."""
    path, kind = about.path, about.kind
    if kind == "yolo":
        return {name: name for name in splits_of(path)}
    if path.is_file():
        return {}
    if kind == "voc":
        lists = lists_of_images(sorted((path / "ImageSets" / "Main").glob("*.txt")))
        return {file.stem.lower(): file.stem for file in lists}
    if kind == "coco":
        stems = [file.stem for file in _coco_files(path)]
        if len(stems) == 1 and (path / f"{stems[0]}.json").is_file():
            return {_coco_name(stems[0]): stems[0]}
        splits = {file: _coco_split(path, file) for file in _coco_files(path)}
        # A file in a folder of its own is the split that the folder is called (Roboflow's are all of one name).
        return {
            _coco_name(file.stem) if split == file.name else split.lower(): split
            for file, split in splits.items()
        }
    if kind in ("imagefolder", "masks", "textfolder", "labelme"):
        folders = {folder.name.lower(): folder.name for folder in _folders(path)}
        return folders if _named(folders, (*_TRAIN, *_EVAL, *_TEST)) else {}
    files = [file for file in _files(path) if kind_of_file(file)[0] == kind]
    sharing = Counter(file.stem for file in files)  # eng.train and eng.testa share theirs
    return {(file.stem if sharing[file.stem] == 1 else file.name).lower(): file.name for file in files}


def _coco_name(stem: str) -> str:
    """``instances_train2017`` → ``train``."""
    return stem.lower().removeprefix("instances_").removeprefix("annotations_").rstrip("0123456789_")


def _coco_split(path: Path, file: Path) -> str:
    inside = file.parent in (path, path / "annotations")
    return file.name if inside else file.parent.name


def _named(names: Mapping[str, str], usual: Sequence[str]) -> str | None:
    """The first name that is one of these, or has one as a part: ``reviews_train.csv``."""
    for word in usual:
        if word in names:
            return names[word]
    for word in usual:
        for name, file in names.items():
            if word in name.replace("-", "_").replace(".", "_").split("_"):
                return file
    return None


def _mask_values(about: Guess) -> None:
    """Which values or colours the masks have: names for them are for a person to give."""
    import numpy as np

    from ptm.data.mask_files import color_counts, read_values

    folders = [
        folder
        for folder in about.path.rglob("*")
        if folder.is_dir() and folder.name in {m for _, m in FOLDERS}
    ]
    files = [
        file for folder in sorted(folders) for file in sorted(folder.iterdir()) if is_image(file, folder)
    ]
    map_file = next((file for name in COLOR_FILES for file in sorted(about.path.glob(name))), None)
    if map_file is not None:
        about.say(
            "mask_colors", str(map_file.absolute()), f"{map_file.name} says which colour is which class"
        )
        return
    colors: Counter[str] = Counter()
    for file in files[:200]:
        with suppress(DataError):  # whoever trains on it says what is wrong with it
            colors.update(color_counts(file))
    if 1 < len(colors) <= 64:
        about.say(
            "mask_colors",
            {f"class_{number}": color for number, color in enumerate(sorted(colors))},
            f"of {min(len(files), 200)} masks in colours; names for them are yours to give",
        )
        return
    values: set[int] = set()
    for file in files:
        with suppress(DataError):  # whoever trains on it says what is wrong with it
            values |= set(np.unique(read_values(file)).tolist())
    whole = sorted(int(value) for value in values)
    if not whole:
        return
    if whole[-1] == 255 and len(whole) > 2:
        whole.remove(255)
        about.say(
            "ignore_value", 255, f"the highest value of {len(files)} masks, which often means: no class"
        )
    about.say(
        "labels",
        [f"class_{value}" for value in whole],
        "names for them are yours to give, in the order of the values",
    )
    about.say("mask_values", whole, f"of {len(files)} masks, such as {files[0].relative_to(about.path)}")
