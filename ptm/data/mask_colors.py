"""Colours that stand for classes: ``data.mask_colors``, or a file of colours as data sets carry it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ptm.data.given_paths import read_text_file
from ptm.data.tables import lines_of
from ptm.errors import ConfigError, DataError, Problem, refuse

Color = tuple[int, int, int]

COLOR_FILES = ("label_colors.txt", "labelmap.txt", "class_dict.csv")  # as data sets call them
MOST = 250  # classes that a byte can tell apart, beside those that are reserved
_HEX = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
_NUMBERS = r"(\d{1,3})[ ,\t]+(\d{1,3})[ ,\t]+(\d{1,3})"
_LINES = (
    re.compile(rf"{_NUMBERS}[ ,\t]+(?P<name>\S.*)"),  # CamVid's label_colors.txt: 64 128 64<tab>Animal
    re.compile(rf"(?P<name>[^:]+):{_NUMBERS}(?::.*)?"),  # CVAT's labelmap.txt: cat:128,0,0::
    re.compile(rf"(?P<name>.*[^\s,])[ ,\t]+{_NUMBERS}"),  # class_dict.csv: name,r,g,b
)
_HEADER = re.compile(r"\W*(name|label|class|r)\b[^0-9]*", re.IGNORECASE)


def read_colors(stated: Mapping[str, str] | str) -> dict[str, Color]:
    """Name → red, green, blue. Raises ConfigError, or DataError with the line of a file."""
    colors = _of_file(Path(stated)) if isinstance(stated, str) else _of_config(stated)
    if len(colors) > MOST:
        raise ConfigError(f"{len(colors)} colours", where="data.mask_colors", expected=f"at most {MOST}")
    return colors


def written(color: Color) -> str:
    """``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def _of_config(stated: Mapping[str, str]) -> dict[str, Color]:
    colors: dict[str, Color] = {}
    for name, text in stated.items():
        match = _HEX.fullmatch(text)
        if match is None:
            raise ConfigError(
                f"{name} is {text!r}",
                where="data.mask_colors",
                expected='a colour in quotes, such as "#ff8000"',
            )
        color = _color(match)
        if color in colors.values():
            raise ConfigError(
                f"{text} stands for two classes", where="data.mask_colors", expected="a colour a class"
            )
        colors[name] = color
    return colors


def _of_file(path: Path) -> dict[str, Color]:
    lines = lines_of(read_text_file(path, "correct data.mask_colors"))
    colors: dict[str, Color] = {}
    problems: list[Problem] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#") or (number == 1 and _HEADER.fullmatch(text)):
            continue
        match = next((found for form in _LINES if (found := form.fullmatch(text))), None)
        numbers = [int(part) for part in match.groups() if part.isdecimal()][:3] if match else []
        what = ""
        if match is None or max(numbers) > 255:
            what = f"{text[:60]!r} is no colour with a name"
        elif match["name"].strip() in colors or tuple(numbers) in colors.values():
            what = f"{text[:60]!r} repeats a name or a colour"
        if what:
            expected = "64 128 64 Animal, Animal:64,128,64 or Animal,64,128,64, each once"
            problems.append(Problem(what, f"{path}:{number}", expected, "correct the line"))
        else:
            assert match is not None
            colors[match["name"].strip()] = (numbers[0], numbers[1], numbers[2])
    refuse(problems, noun="lines")
    if not colors:
        raise DataError("there is no colour in it", where=path, expected="a line such as 64 128 64 Animal")
    return colors


def _color(match: re.Match[str]) -> Color:
    red, green, blue = (int(part, 16) for part in match.groups())
    return red, green, blue
