"""The configs that ptm ships: in the wheel beside the code, in a clone in ``configs/``."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import ptm
from ptm.errors import ConfigError

SAMPLES = "samples"  # the folder of data that some of them read


def examples_folder() -> Path:
    """Where they are. Raises ConfigError where they were left out."""
    package = Path(ptm.__file__).parent
    for folder in (package / "examples", package.parent / "configs"):
        if (folder / "quickstart.yaml").is_file():
            return folder
    raise ConfigError(
        "the example configs are not there", where=package, cure="install ptm from its wheel or a clone"
    )


def example_names() -> dict[str, str]:
    """Name → what it is, in the words of its first comment."""
    files = sorted(examples_folder().glob("*.yaml"))
    return {file.stem: _about(file.read_text(encoding="utf-8")) for file in files}


def example_files(name: str) -> dict[str, bytes]:
    """The files of an example by their paths: the config, and the samples that it reads. Raises ConfigError."""
    folder = examples_folder()
    stem = name.removesuffix(".yaml")
    path = folder / f"{stem}.yaml"
    if "/" in stem or not path.is_file():
        names = [file.stem for file in sorted(folder.glob("*.yaml"))]
        close = difflib.get_close_matches(stem, names, n=1)
        raise ConfigError(
            f"there is no example {name!r}",
            where="--example",
            expected="a name that ptm init --list prints",
            cure=f"did you mean {close[0]}?" if close else "",
        )
    text = path.read_text(encoding="utf-8")
    content = {path.name: text.encode()}
    for file in sorted((folder / SAMPLES).iterdir()):
        if re.search(rf"\b{re.escape(file.name)}\b", text):
            content[f"{SAMPLES}/{file.name}"] = file.read_bytes()
    return content


def _about(text: str) -> str:
    """The first sentence of the comment below the command and its figures."""
    comment = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    blank = comment.index("") if "" in comment else 0
    prose = " ".join(line for line in comment[blank + 1 :] if line)
    return re.split(r"(?<=\.)\s|: ", prose)[0] if prose else comment[0] if comment else ""
