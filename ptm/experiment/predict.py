"""``ptm predict``: what a trained model says of new inputs, in pieces, so that any number of them fits.

The training data are not needed: the model, its labels and its preprocessing are all in the run directory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptm.base import files
from ptm.base.console import Reporter
from ptm.base.printable import printable_json
from ptm.config.spec import RunSpec
from ptm.config.tasks import QUESTION_ANSWERING, TASKS, TOKEN_CLASSIFICATION
from ptm.data.examples import Examples
from ptm.data.image_files import left_out as left_out_files
from ptm.data.image_files import leftovers
from ptm.data.image_reading import ImageReading
from ptm.data.input_lines import LeftOut
from ptm.data.inputs import Inputs, Source, Typed, each_file, is_table, source_path
from ptm.data.questions import input_columns
from ptm.data.texts import input_problem
from ptm.errors import ConfigError, DataError, refuse
from ptm.experiment.outputs import (
    refuse_drawing_there,
    refuse_inputs,
    refuse_other_picture,
    require_new_file,
    require_own_predictions,
)
from ptm.experiment.prediction_table import Row, csv_writer, row_json
from ptm.experiment.predictor import (
    open_pipeline,
    output_labels,
    predict_all,
    require_predictable,
    size_check,
)
from ptm.experiment.prepare import WARNING
from ptm.experiment.rejection import Rejection
from ptm.experiment.session import open_session
from ptm.experiment.trained import trained_model
from ptm.pipeline import Pipeline, Prediction
from ptm.training.runtime import Runtime

if TYPE_CHECKING:
    from ptm.vision.images import Fits

SUFFIXES = (".jsonl", ".csv")
_EVERY_SECONDS = 10.0  # between two lines that tell how far it is


def run_prediction(
    target: Path,
    sources: Sequence[Path | str],
    *,
    texts: Sequence[str] = (),
    overrides: Iterable[str] = (),
    output: Path | None = None,
    receive: Callable[[Row], None] | None = None,
    draw: Path | None = None,
    skip_bad: bool = False,
    batch_size: int | None = None,
    threshold: float | None = None,
    reject_below: float | None = None,
    coverage: float | None = None,
    reporter: Reporter,
) -> dict[str, Any]:
    """Predict for each input of ``sources`` and each of ``texts``; returns how many there were and how fast it went.

    ``target``: a run directory, or a config whose model is trained. ``output``: a ``.jsonl`` or ``.csv`` file, which
    appears when all is done; without it ``receive`` is called with each prediction, or a JSON object a line goes to
    standard output. ``draw``: a folder for a PNG an input. ``skip_bad``: leave out unreadable images, rows that cannot
    be read and empty texts, and say so, instead of refusing them; ``threshold``: of detection, the least score of a box
    that is written or drawn; ``reject_below``: of classes, an answer that is less probable is None; ``coverage``:
    the probability with which the set of labels that each gets holds the truth. Raises a PtmError
    before the first prediction for whatever can be seen by then; a bad row in a long table is found when it is its
    turn.
    """
    sources = each_file(sources)
    places = [source_path(source) for source in sources]
    if output is not None:
        require_new_file(output, "--output", SUFFIXES)
    if draw is not None:
        refuse_drawing_there(draw, places)
    trained = trained_model(target, list(overrides))
    spec = trained.spec
    if output is not None:
        refuse_inputs(output, "--output", target, spec, places)
        require_own_predictions(output, "--output")
    least_score = require_predictable(trained, threshold, reject_below, coverage)
    inputs: list[Source] = [*sources, *([Typed(tuple(texts))] if texts else [])]
    if not inputs:
        cure = 'name files, "-" for the standard input, or texts: --text "…"'
        raise ConfigError("there is nothing to predict", where=target, cure=cure)
    size = batch_size or spec.train.eval_batch_size
    labels = output_labels(trained)
    with open_session(spec, reporter) as session:
        runtime, task = session.runtime, session.task
        left_out = LeftOut(reporter.say) if skip_bad else None
        pieces = task.read_inputs(spec, inputs, left_out)
        if spec.descriptor.modality == "image":
            _say_other_files(places, reporter)
            fits = size_check(spec, trained.model)
            reading = ImageReading.of(spec.data)
            pieces = _readable_images(pieces, runtime.threads, reporter, fits, left_out, reading)
        elif left_out is not None:
            pieces = (left for piece in pieces if len(left := _without_bad_texts(piece, left_out)))
        pieces = _with_notes_said(pieces, reporter)
        first = next(pieces, None)
        if first is None:
            raise DataError("nothing is left to predict", where=", ".join(map(str, sources)))
        pipeline = open_pipeline(trained, session, first, labels, least_score)
        if draw is not None:
            _prepare_drawing(pipeline, draw)
            if pipeline.drawing_note:
                reporter.say(f"drawn: {pipeline.drawing_note}")
        begun = time.perf_counter()
        predicted = _predicted(pipeline, first, pieces, runtime, size)
        with _writer(output, receive, labels, _column_names(spec, inputs)) as write:
            rejection = Rejection(reject_below)
            count = _write_all(predicted, rejection.before(write), draw, reporter)
        seconds = time.perf_counter() - begun
    return {
        "task": spec.task,
        "inputs": count,
        **({} if reject_below is None else {"rejected": rejection.count}),
        "seconds": round(seconds, 3),
        "inputs_per_second": round(count / seconds, 2),
        "output": output and str(output),
        "drawn": draw and str(draw),
    }


def _with_notes_said(pieces: Iterable[Examples], reporter: Reporter) -> Iterator[Examples]:
    """The same pieces; what is to be said of how they were read is said when it is their turn."""
    for piece in pieces:
        for note in piece.notes if isinstance(piece, Inputs) else ():
            reporter.say(f"warning: {note}")
        yield piece


def _predicted(
    pipeline: Pipeline, first: Examples, others: Iterable[Examples], runtime: Runtime, batch_size: int
) -> Iterator[tuple[Pipeline, Examples, Iterator[Prediction]]]:
    """Each piece with what the model says of it. ``pipeline`` is that of the first piece."""
    for examples in chain([first], others):
        of_piece = pipeline if examples is first else pipeline.with_examples(examples)
        key = "--batch-size"
        yield of_piece, examples, predict_all(of_piece, runtime, batch_size=batch_size, batch_key=key)


def _write_all(
    predicted: Iterator[tuple[Pipeline, Examples, Iterator[Prediction]]],
    write: Callable[[Row], None],
    draw: Path | None,
    reporter: Reporter,
) -> int:
    """Write what comes as it comes; returns the number of inputs."""
    count, last_report = 0, time.monotonic()
    begun = last_report
    cut = CutCount()
    for pipeline, examples, predictions in predicted:
        cut.add(pipeline)
        if draw is not None:  # images may lie below a folder that is named, or behind links
            images = (image for image in examples.columns["image"] if isinstance(image, Path))
            refuse_drawing_there(draw, list({Path(os.path.realpath(image)).parent for image in images}))
        for prediction in predictions:
            if draw is not None:
                _draw(pipeline, prediction, draw / _picture(count, examples, prediction["id"]))
            write(_row(examples, prediction, count))
        count += len(examples)
        now = time.monotonic()
        if now - last_report > _EVERY_SECONDS:
            last_report = now
            reporter.say(f"{count:,} predicted, {count / (now - begun):,.0f} a second")
    if cut.inputs:
        reporter.say(f"warning: {cut}")
    return count


@dataclass
class CutCount:
    """Inputs of which the model reads the beginning alone, and words beyond it."""

    inputs: int = 0
    words: int = 0
    limit: int = 0

    def add(self, pipeline: Pipeline) -> None:
        """Count those that a pipeline over texts was built over."""
        if "max_length" not in pipeline.effective_data:
            return
        facts = pipeline.describe()["eval"]
        self.limit = int(pipeline.effective_data["max_length"])
        sides = [facts.get("source", facts), *(facts.get(role, {}) for role in ("text", "text_pair"))]
        self.inputs += sum(int(side.get("cut_to_max_length", 0)) for side in sides)
        self.words += int(facts.get("words_cut_off", 0))

    def __str__(self) -> str:
        inputs = "1 input is" if self.inputs == 1 else f"{self.inputs:,} inputs are"
        beyond = f"; words that lie beyond and have no tag of their own: {self.words:,}" if self.words else ""
        return f"{inputs} longer than {self.limit} tokens, and not read as a whole{beyond}"


def _row(examples: Examples, prediction: Prediction, before: int) -> Row:
    """The line of one input; ``before``: how many inputs came in earlier pieces."""
    index = prediction["id"]
    values = {role: _shown(column[index]) for role, column in examples.columns.items()}
    content = next(iter(values.values())) if len(values) == 1 else values
    where = examples.where(index)
    row = {"id": before + index, **({} if where == content else {"where": where}), "input": content}
    row |= {name: value for name, value in prediction.items() if name != "id"}
    carried = examples.carried if isinstance(examples, Inputs) else {}
    return row | ({"columns": {n: v[index] for n, v in carried.items()}} if carried else {})


def _shown(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


@contextmanager
def _writer(
    output: Path | None,
    receive: Callable[[Row], None] | None,
    labels: tuple[str, ...],
    names: Mapping[str, str],
) -> Iterator[Callable[[Row], None]]:
    """What writes a row: to a file that appears at the end, to who receives it, or to standard output."""
    if output is None and receive is not None:

        def pass_on(row: Row) -> None:
            row_json(row, row)  # raises for what is not finite, as the others do
            receive(row)

        yield pass_on
        return
    if output is None:
        yield lambda row: print(printable_json(row_json(row, row)), flush=True)
        return
    with files.new_file(output) as file:
        as_json = lambda row: print(row_json(row, row), file=file)  # noqa: E731
        yield csv_writer(file, labels, names) if output.suffix == ".csv" else as_json
        require_own_predictions(output, "--output")  # put there meanwhile


def _column_names(spec: RunSpec, sources: Sequence[Source]) -> dict[str, str]:
    """Role, or ``input`` where there is one only, → what the column is called in tables that are read; empty where
    none is."""
    if not any(is_table(source) for source in sources):
        return {}
    data = spec.data
    single = "image" if spec.descriptor.modality == "image" else "text"
    if spec.task == TOKEN_CLASSIFICATION.name:
        single = "words"
    own = data.image if single == "image" else data.text
    pair = {} if data.text_pair is None else {"text": data.text or "text", "text_pair": data.text_pair}
    asked = {} if spec.task != QUESTION_ANSWERING.name else input_columns(data)
    return {"input": own or single, **pair, **asked}


def _readable_images(
    pieces: Iterable[Examples],
    threads: int,
    reporter: Reporter,
    fits: Fits,
    left_out: LeftOut | None,
    reading: ImageReading,
) -> Iterator[Examples]:
    """The pieces, without unreadable images if they are to be skipped. DataError names them all at once if not."""
    from ptm.vision.images import find_unreadable
    from ptm.vision.pipeline import warn_of_few_bits

    whole = list(pieces)  # paths only
    for piece in whole[:1]:
        warn_of_few_bits(piece.columns["image"], piece.where, reporter, reading)
    if left_out is not None:
        return (left for piece in whole if len(left := _without_bad(piece, left_out, fits, reading)))
    images = [
        (image, piece.where(row)) for piece in whole for row, image in enumerate(piece.columns["image"])
    ]
    reporter.begin("decoding images", len(images))
    unreadable = find_unreadable(
        [image for image, _ in images],
        lambda row: images[row][1],
        threads,
        lambda done: reporter.advance(done, "each whole, once"),
        fits,
        reading,
    )
    reporter.end()
    refuse(unreadable, noun="images")
    return iter(whole)


def _say_other_files(places: Sequence[Path], reporter: Reporter) -> None:
    """Of folders: files that are no images by their names, and what an operating system left there."""
    for folder in places:
        for others in (left_out_files(folder), leftovers(folder)) if folder.is_dir() else ():
            if others is not None:
                reporter.say(f"{WARNING}{others}")


def _without_bad(piece: Examples, left_out: LeftOut, fits: Fits, reading: ImageReading) -> Examples:
    from ptm.vision.images import decode

    good = []
    for row, image in enumerate(piece.columns["image"]):
        with left_out.of():
            decode(image, piece.where(row), fits, reading)
            good.append(row)
    return piece if len(good) == len(piece) else piece.select(np.array(good, dtype=np.int64))


def _without_bad_texts(piece: Examples, left_out: LeftOut) -> Examples:
    problems = [input_problem(piece.columns, row, piece.where) for row in range(len(piece))]
    for problem in filter(None, problems):
        left_out.tell(problem)
    good = [row for row, problem in enumerate(problems) if problem is None]
    return piece if len(good) == len(piece) else piece.select(np.array(good, dtype=np.int64))


def _prepare_drawing(pipeline: Pipeline, folder: Path) -> None:
    if type(pipeline).render_prediction is Pipeline.render_prediction:
        able = " and ".join(name for name, task in TASKS.items() if task.draws)
        cure = f"leave --draw out; {able} draw"
        raise ConfigError("this task draws nothing", where="--draw", cure=cure)
    with files.storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _draw(pipeline: Pipeline, prediction: Mapping[str, Any], path: Path) -> None:
    picture = pipeline.render_prediction(prediction["id"], prediction)
    if picture is not None:
        refuse_other_picture(path)
        files.write_file(path, picture)


def _picture(before: int, examples: Examples, index: int) -> str:
    """File name of a drawing: the number in the output keeps equal names of several folders apart."""
    return f"{before + index:06d}_{Path(examples.columns['image'][index]).stem}.png"
