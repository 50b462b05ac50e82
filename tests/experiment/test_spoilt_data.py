"""Files as people have them, for every task: ``ptm check --data`` and ``ptm finetune`` say the same of them."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import tiny
from helpers import Saying, run
from ptm.config.load import load_config
from ptm.errors import PtmError
from ptm.experiment.check import check_inputs
from ptm.experiment.prepare import WARNING

EXAMPLES = int(os.environ.get("PTM_SPOILT_EXAMPLES", "6"))  # a task
TASKS = (
    "text-classification",
    "text-classification-pairs",
    "text-classification-multilabel",
    "text-classification-regression",
    "token-classification",
    "question-answering",
    "causal-lm",
    "masked-lm",
    "translation",
    "image-classification",
    "image-classification-multilabel",
    "object-detection",
    "semantic-segmentation",
)
TEXT = (".csv", ".jsonl", ".txt", ".xml")
CELLS = ("", " ", "\u200b", "nan", "a|b", "['a', 'b']", "1e999", "-3", "x" * 3000, "\u2028a", "[1, 0]", '"')
VALUES = ("", None, 3, True, ["x"], [], {}, [None], ["a", 3], "\u200b", "fine", 1e400, "\ud800")


def picture(mode: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    return buffer.getvalue()


def in_the_middle(content: bytes, inserted: bytes) -> bytes:
    return content[: len(content) // 2] + inserted + content[len(content) // 2 :]


# What happens to a file as a whole. None: it is gone.
BYTES: dict[str, Callable[[bytes], bytes | None]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "cut at its end": lambda content: content[:-20],
    "other bytes": lambda content: b"this is nothing of the kind\n",
    "gone": lambda content: None,
    "a byte of another encoding": lambda content: in_the_middle(content, b"\x93"),
    "NUL": lambda content: in_the_middle(content, b"\0"),
    "a mark of byte order": lambda content: b"\xef\xbb\xbf" + content,
    "more at the end": lambda content: content + b"\n\xff\0",
    "one pixel": lambda content: picture("L", (1, 1)),
    "an alpha channel": lambda content: picture("RGBA", (40, 24)),
    "a long strip": lambda content: picture("L", (3000, 1)),
}


def spoil_row(path: Path, row: int, column: int, cell: str, value: object) -> None:
    """Another value in a row of a table, another number or word in an annotation."""
    lines = path.read_text(encoding="utf-8").split("\n")
    number = 1 + row % max(1, len(lines) - 2)
    if path.suffix == ".jsonl":
        record = json.loads(lines[number - 1])
        record[list(record)[column % len(record)]] = value
        lines[number - 1] = json.dumps(record)
    elif path.suffix == ".csv":
        cells = lines[number].split(",")
        cells[column % len(cells)] = cell
        lines[number] = ",".join(cells)
    elif path.suffix == ".xml":
        marks = ("<xmin>", "<ymax>", "<name>", "<width>", "</object>", "<bndbox>")
        lines = ["\n".join(lines).replace(marks[column % 6], f"{marks[column % 6]}{cell[:9]}", 1)]
    else:
        lines[number] = cell
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))


spoils = st.lists(
    st.tuples(
        st.integers(0, 200),  # the file
        st.one_of(
            st.sampled_from(sorted(BYTES)),
            st.tuples(st.integers(0, 30), st.integers(0, 5), st.sampled_from(CELLS), st.sampled_from(VALUES)),
        ),
    ),
    min_size=1,
    max_size=2,
)


def spoil(folder: Path, spoilt: list) -> None:
    for which, how in spoilt:
        files = sorted(path for path in folder.rglob("*") if path.is_file() and "bert" not in path.parts)
        path = files[which % len(files)]
        if isinstance(how, str):
            content = BYTES[how](path.read_bytes())
            path.unlink()
            if content is not None:
                path.write_bytes(content)
        elif path.suffix in TEXT:
            with suppress(ValueError, IndexError):  # another spoil came before
                spoil_row(path, *how)


def said_by_run(spec) -> tuple[list[str], list[str]]:
    """What finetune refuses and warns of before it trains."""
    heard = Saying()
    try:
        run(spec, "overwrite", heard)
    except PtmError as error:
        problems = list(dict.fromkeys(map(str, error.problems)))
    else:
        problems = []
    return problems, [line for line in heard.lines if line.startswith(WARNING)]


def said_by_check(spec) -> tuple[list[str], list[str]]:
    found = check_inputs(spec)
    return [str(problem) for problem in found.problems], list(found.warnings)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The config of a task with a few examples beside it, made once."""
    configs: dict[str, Path] = {}

    def config(task: str) -> Path:
        if task not in configs:
            configs[task] = tiny.prepare(task, tmp_path_factory.mktemp("made"))
            for path in configs[task].parent.glob("data/*/*"):
                if path.suffix in TEXT:
                    path.write_text("\n".join(path.read_text().split("\n")[:9]) + "\n")
        return configs[task]

    return config


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_10_20_check_and_finetune_say_the_same_of_spoilt_files(task, made, tmp_path_factory):
    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(spoilt=spoils)
    def compare(spoilt):
        folder = tmp_path_factory.mktemp("spoilt")
        config = shutil.copytree(made(task).parent, folder / "c") / made(task).name
        spoil(folder / "c" / "data" / task, spoilt)
        spec = load_config(config, [f"output={json.dumps(str(folder / 'r'))}"])
        spec = replace(spec, train=replace(spec.train, epochs=1))
        try:
            assert said_by_check(spec) == said_by_run(spec)
        finally:
            shutil.rmtree(folder)

    compare()


@pytest.fixture(scope="module")
def files(made: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights and runs that do not fit what they are given to."""
    import torch
    from torchvision.models import mobilenet_v2, resnet18

    folder = tmp_path_factory.mktemp("files")
    torch.save(mobilenet_v2(num_classes=3).state_dict(), folder / "other.pth")
    torch.save(resnet18(num_classes=3).state_dict(), folder / "body.pth")
    (folder / "broken.pth").write_bytes(b"no weights")
    found = {path.stem: path for path in folder.iterdir()}
    for name, sizes in (("segmenter", ["data.image_size=64"]), ("classifier", [])):
        task = "semantic-segmentation" if name == "segmenter" else "image-classification"
        one = ["train.epochs=null", "train.steps=1", f"output={json.dumps(str(folder / name))}"]
        run(load_config(made(task), [*one, *sizes]))
        found[name] = folder / name
    return found


SEGMENTER, UNET = "semantic-segmentation", "smp:unet"
DETECTOR = "object-detection"
MISFITS = (
    (DETECTOR, "model={name: 'libreyolo:yolox-n', weights: none}", "data.image_size=33"),
    (DETECTOR, "model={name: ssdlite320_mobilenet_v3_large, weights: none}", "data.image_size=64"),
    (DETECTOR, "data.longest_side=8"),
    (DETECTOR, "model.weights=other"),
    (DETECTOR, "model.weights=broken"),
    (DETECTOR, "model={name: classifier}"),
    (DETECTOR, "model={name: segmenter}"),
    (DETECTOR, "model.freeze=['no.such.layer']"),
    (DETECTOR, "model.backbone=resnet34", "model.weights=body"),
    (DETECTOR, "data.augment=trivial"),
    (DETECTOR, "data.labels=[disc]"),
    (DETECTOR, "best.metric=map_of_cats"),
    (SEGMENTER, "model.weights=other"),
    (SEGMENTER, "model.weights=broken"),
    (SEGMENTER, "model={name: classifier}"),
    (SEGMENTER, "model={name: 'smp:unet', backbone: resnet34, weights: body}"),
    (SEGMENTER, "model.freeze=['no.such.layer']"),
    (SEGMENTER, "model={name: deeplabv3_mobilenet_v3_large, weights: none}", "train.batch_size=1"),
    (SEGMENTER, "data.mask_values=[0, 1, 2]"),
    (SEGMENTER, "data.labels=null", "data.mask_values=[0, 100]"),
    (SEGMENTER, "teacher={name: segmenter}", "distill={}"),
    (SEGMENTER, "teacher={name: classifier}", "distill={}"),
    (SEGMENTER, "teacher={name: segmenter, labels: [a, b, c]}", "distill={audit: 'off'}"),
    (SEGMENTER, "teacher={name: lraspp_mobilenet_v3_large, weights: other}", "distill={}"),
    ("image-classification", "teacher={name: classifier}", "distill={features: hidden, layers: [[9, 9]]}"),
    ("image-classification", "teacher={name: segmenter}", "distill={}"),
)


@pytest.mark.slow
@pytest.mark.parametrize("case", MISFITS, ids=lambda case: " ".join(case)[:90])
def test_10_39_check_and_finetune_say_the_same_of_models(case, made, files, tmp_path):
    """Sizes that a model cannot take, weights of another network, teachers made for something else."""
    task, *changes = case
    for name, path in files.items():
        changes = [re.sub(rf"(weights|name)([:=] ?){name}\b", rf"\1\2'{path}'", change) for change in changes]
    once = ["train.epochs=null", "train.steps=1", f"output={json.dumps(str(tmp_path / 'r'))}"]
    try:
        spec = load_config(made(task), [*changes, *once])
    except PtmError:
        return  # seen by both commands before anything is read
    problems, _ = said_by_check(spec)
    assert problems and problems == said_by_run(spec)[0]
