"""What must hold between the keys of a text-similarity run. No torch in here."""

from __future__ import annotations

from collections.abc import Iterator

from ptm.config.label_types import CLASS, NUMBER, PAIRS
from ptm.config.spec import RunSpec
from ptm.config.tasks import TEXT_SIMILARITY


def check_similarity(spec: RunSpec) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """What is wrong: (key path, what, cure)."""
    data, train, kind = spec.data, spec.train, spec.data.label_type
    if spec.task != TEXT_SIMILARITY.name or kind not in TEXT_SIMILARITY.label_types:
        return
    if kind == CLASS.name and data.text_pair is not None:
        what = f"label_type: {CLASS.name} is of single texts, and text_pair names a second one"
        cure = "use label_type: number (pairs with a score) or pairs (texts that belong together)"
        yield ("data", "text_pair"), what, cure
    if kind != CLASS.name and data.text_pair is None:
        what = f"label_type: {kind} is of pairs of texts, and there is no second text"
        yield ("data",), what, "name its column: text_pair: …"
    if kind == PAIRS.name and data.label is not None:
        what = "pairs of texts that belong together have no label"
        yield ("data", "label"), what, "remove it; where it is a score, use label_type: number"
    if data.score_range is not None:
        key = ("data", "score_range")
        if kind != NUMBER.name:
            yield key, f"label_type: {kind} has no scores", "remove it"
        elif len(data.score_range) != 2 or data.score_range[0] >= data.score_range[1]:
            yield key, "score_range is the lowest and the highest score", "such as [0, 5]"
    if train.temperature is not None and kind != PAIRS.name:
        yield ("train", "temperature"), f"temperature is for label_type: {PAIRS.name}", "remove it"
    if kind == PAIRS.name and train.batch_size == 1:
        what = "a second text is told from those of the other pairs of a batch, and a batch of 1 has none"
        yield ("train", "batch_size"), what, "use a larger one, such as 32"
    if train.label_smoothing and kind == CLASS.name:  # of the others it is said elsewhere
        yield ("train", "label_smoothing"), "similarities have no classes to smooth over", "remove it"
    if spec.model.freeze == "backbone":
        yield ("model", "freeze"), f"{spec.task} has no head: nothing would learn", "remove freeze"
    if train.head_learning_rate is not None:
        what = f"{spec.task} has no head that could have a rate of its own"
        yield ("train", "head_learning_rate"), what, "remove it"
    if spec.teacher is not None and kind == CLASS.name:
        what = "a teacher is asked how similar two texts are, and label_type: class has single ones"
        yield ("teacher",), what, "use label_type: number or pairs, or remove teacher"
    if spec.distill is not None and spec.distill.features != "none":
        what = f"features: {spec.distill.features} compares what is inside of one text, and an example is two"
        yield ("distill", "features"), what, "use features: none: the student learns its teacher's cosines"
