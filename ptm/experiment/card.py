"""``ptm card``: the model card of a run, and whether the code that it shows a stranger runs and says what ptm says."""

from __future__ import annotations

import ast
import io
import json
import math
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ptm.base import files
from ptm.base.console import Reporter
from ptm.base.launch import guarded
from ptm.config.load import load_config
from ptm.config.spec import RunSpec
from ptm.data.questions import input_columns
from ptm.errors import ConfigError, ExpectationMissed, ModelError, RunDirectoryError, first_line
from ptm.experiment.predict import run_prediction
from ptm.experiment.push import hub_card
from ptm.models.seals import require_intact
from ptm.report.page import card_text
from ptm.run.opening import read_finished, refuse_inside_run, require_run

SECONDS = 600  # that the code may take
_CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
# The samples that the cards of texts hold.
_TEXTS = {
    "text-similarity": "One text.",
    "text-classification": "A text to classify.",
    "token-classification": "A text with names in it.",
    "masked-lm": "A text with a [MASK] in it.",
    "causal-lm": "A text that",
    "translation": "A text to translate.",
}
_PAIR = ("One text.", "The other.")
_QUESTION = ("Who wrote it?", "Ada wrote it, and Ben read it.")
_NUMPY = re.compile(r"np\.\w+\(([^()]*)\)")


def code_of(card: str) -> str | None:
    """The Python of a card; None where it has none."""
    found = _CODE.search(card)
    return None if found is None else found[1]


def write_card(run: Path, repository: str | None, output: Path | None) -> str:
    """The card of a run, for ``repository`` of a hub where one is named, and into ``output``. Raises RunDirectoryError,
    ConfigError where ``output`` is there."""
    require_run(run)
    text = card_text(run) if repository is None else hub_card(run, repository)[1]
    if output is not None:
        if output.exists() or output.is_symlink():
            raise ConfigError("is there already", where=output, cure="name another --output, or remove it")
        refuse_inside_run(output)
        with files.storage_errors(output):
            files.write_file(output, files.utf8(text))
    return text


def check_card(run: Path, reporter: Reporter) -> dict[str, Any]:
    """Run the code of a finished run's card in a process of its own, and hold what it prints against ``ptm predict``.

    What runs is the code that ptm makes from the record of the run, never that of a README.md: one that differs is
    refused. Returns ``printed`` and ``predicted``. Raises RunDirectoryError, ModelError, ExpectationMissed.
    """
    read_finished(run)
    require_intact(run / "model")
    code = code_of(card_text(run))
    if code is None:
        raise RunDirectoryError(
            "the card shows no code: other programs do not know this model",
            where=run,
            expected="a model of transformers, torchvision, timm or segmentation-models-pytorch",
            cure=f"use it with ptm predict {run}",
        )
    _require_own(run, code)
    spec = load_config(run / "config.yaml")
    with TemporaryDirectory(prefix="ptm-card-") as folder:
        place = Path(folder)
        (place / "model").symlink_to((run / "model").resolve(), target_is_directory=True)
        if spec.descriptor.modality == "image":
            _picture(place / "photo.jpg")
        reporter.say("running the code of the card")
        # ptm reads the model first: it refuses files that name code, which others would run.
        predicted = _predicted(spec, run, place, reporter)
        printed = _run(code, place, run)
    problem = _difference(spec, printed, predicted)
    if problem:
        raise ExpectationMissed(
            f"the code of the card says otherwise than ptm predict: {problem}",
            where=run / "README.md",
            expected="the same answer",
            cure="please report it, with config.yaml",
        )
    return {"run": str(run), "task": spec.task, "printed": printed, "predicted": predicted}


def _require_own(run: Path, code: str) -> None:
    try:
        card = (run / "README.md").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RunDirectoryError(
            f"cannot be read: {first_line(error)}", where=run / "README.md", cure=f"ptm report {run}"
        ) from None
    if code_of(card) != code:
        raise RunDirectoryError(
            "its code is not the one that ptm makes for this run, so it was not run",
            where=run / "README.md",
            expected="the code that ptm card prints",
            cure=f"write the card again: ptm report {run}",
        )


def _picture(path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "jpeg")
    path.write_bytes(content.getvalue())  # of a disk that is full, Pillow says nothing


def _run(code: str, folder: Path, run: Path) -> str:
    """The last line that the code prints."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PTM_OFFLINE": "1", "TQDM_DISABLE": "1"}
    try:
        done = subprocess.run(
            guarded(code),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        last = (
            done.stderr.strip().splitlines()[-1:]
            if done.returncode
            else done.stdout.strip().splitlines()[-1:]
        )
        failed = done.returncode != 0 or not last
    except subprocess.TimeoutExpired:
        last, failed = [f"not done after {SECONDS} s"], True
    if failed:
        raise ModelError(
            f"the code of the card fails: {(last or ['it prints nothing'])[0][:300]}",
            where=run / "README.md",
            cure="install the packages that it imports; if they are there, please report it",
        )
    return last[0]


def _predicted(spec: RunSpec, run: Path, folder: Path, reporter: Reporter) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    if spec.descriptor.modality == "image":
        once = ["data.eval_views=none"] if spec.data.eval_views != "none" else []  # as its code sees an image
        run_prediction(run, [folder / "photo.jpg"], overrides=once, receive=rows.append, reporter=reporter)
    elif spec.data.text_pair:
        table = folder / "pair.jsonl"
        table.write_text(json.dumps({spec.data.text or "text": _PAIR[0], spec.data.text_pair: _PAIR[1]}))
        run_prediction(run, [table], receive=rows.append, reporter=reporter)
    elif spec.task == "question-answering":
        table = folder / "question.jsonl"
        table.write_text(json.dumps(dict(zip(input_columns(spec.data).values(), _QUESTION, strict=True))))
        once = ["data.no_answer=false"]  # as its code looks for an answer
        run_prediction(run, [table], overrides=once, receive=rows.append, reporter=reporter)
    else:
        text = _TEXTS.get(spec.task, "A text.")
        if spec.task == "masked-lm":
            text = text.replace("[MASK]", _mask_token(run))
        run_prediction(run, (), texts=[text], receive=rows.append, reporter=reporter)
    return rows[0]


def _mask_token(run: Path) -> str:
    from ptm.text.origins import load_tokenizer

    return str(load_tokenizer(str(run / "model"), {}).mask_token)


def _difference(spec: RunSpec, printed: str, row: Mapping[str, Any]) -> str | None:
    """What of an answer is not what was predicted; None where nothing is."""
    if spec.task in ("translation", "question-answering"):
        said = row["prediction" if spec.task == "translation" else "answer"]
        return None if printed == said else f"{printed[:80]!r} and {said[:80]!r}"
    try:
        answer = ast.literal_eval(_NUMPY.sub(r"\1", printed))
        ours, theirs = COMPARED[spec.task](answer, row)
    except (ValueError, SyntaxError, LookupError, TypeError) as error:
        return f"{printed[:80]!r} cannot be compared: {first_line(error, 80)}"
    return None if _near(ours, theirs) else f"{str(ours)[:120]} and {str(theirs)[:120]}"


def _near(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-3, abs_tol=1e-3)
    if isinstance(theirs, Mapping):
        return ours.keys() == theirs.keys() and all(_near(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(_near, ours, theirs))
    return bool(ours == theirs)


def _classified(answer: Any, row: Mapping[str, Any]) -> tuple[Any, Any]:
    answer = answer if isinstance(answer, list) else [answer]  # of a pair
    answer = answer[0] if isinstance(answer[0], list) else answer  # of several labels a list a text
    if "scores" not in row:
        return answer[0]["score"], float(row["prediction"])
    if len(answer) == 1:
        return answer[0], {"label": row["prediction"], "score": row["scores"][row["prediction"]]}
    return {one["label"]: one["score"] for one in answer}, row["scores"]


def _tagged(answer: Any, row: Mapping[str, Any]) -> tuple[Any, Any]:
    ours = [(one["entity_group"], one["start"], one["end"]) for one in answer]
    return ours, [(one["kind"], one["start"], one["end"]) for one in row["entities"]]


def _detected(answer: Any, row: Mapping[str, Any]) -> tuple[Any, Any]:
    """Boxes that ``ptm predict`` shows: those from its least score on."""
    ours = [one["score"] for one in answer][: len(row["scores"])]
    return ours, [float(score) for score in row["scores"]]


def _outlined(answer: Any, row: Mapping[str, Any]) -> tuple[Any, Any]:
    """Scores and sizes of what ``ptm predict`` shows."""
    from ptm.data.instances import from_text, pixels_of

    shown = answer[: len(row["scores"])]
    ours = [(one["score"], float(one["pixels"])) for one in shown]
    sizes = [float(pixels_of(from_text(code))) for code in row["masks"]]
    return ours, list(zip(map(float, row["scores"]), sizes, strict=True))


COMPARED: Mapping[str, Callable[[Any, Mapping[str, Any]], tuple[Any, Any]]] = {
    "text-classification": _classified,
    "token-classification": _tagged,
    "masked-lm": lambda answer, row: ({one["token_str"]: one["score"] for one in answer}, row["masks"][0]),
    "causal-lm": lambda answer, row: (answer[0]["generated_text"], row["prediction"]),
    "text-similarity": lambda answer, row: (answer, row.get("similarity", row.get("embedding"))),
    "image-classification": lambda answer, row: (answer, row.get("scores", row["prediction"])),
    "object-detection": _detected,
    "instance-segmentation": _outlined,
    "semantic-segmentation": lambda answer, row: (answer, row["shares"]),
}
