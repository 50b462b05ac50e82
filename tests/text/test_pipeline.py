from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from helpers import text_spec
from ptm.config.tasks import TASKS
from ptm.data.examples import Examples
from ptm.pipeline import task_module
from ptm.text.pipeline import TextPipeline, unknown_words


@dataclass
class Tokenizer:
    unk_token_id: int | None


def test_a_vocabulary_is_judged_by_its_unknown_tokens():
    ids = np.array([7] * 3 + [1] * 17)
    (warning,) = unknown_words(Tokenizer(7), ids)
    assert warning.startswith("15% of the tokens")
    assert unknown_words(Tokenizer(7), ids[2:]) == []
    assert unknown_words(Tokenizer(None), ids) == []


@pytest.fixture
def pipeline(tiny_bert, reviews, tmp_path) -> Any:
    spec = text_spec(tiny_bert, reviews, tmp_path / "r")
    module = task_module(spec.task)
    return module.build(spec, module.load_data(spec), model=spec.model.ref(), complete=False)


def test_other_examples_leave_the_pipeline_as_it_was(pipeline):
    size, fingerprint = pipeline.size("eval"), pipeline.input_fingerprint
    texts = ["good film", "a"]
    other = pipeline.with_examples(Examples({"text": texts}, None, lambda row: f"text {row}"))
    assert other.model is pipeline.model and other.input_fingerprint == fingerprint
    assert other.size("eval") == 2 and pipeline.size("eval") == size
    assert other.example("eval", 0) == {"text": "good film", "where": "text 0"}
    (batch,) = other.batches("eval", [np.array([1, 0])], 0)
    assert batch.targets is None and batch.ids.tolist() == [1, 0]


def test_what_is_described_of_each_split(pipeline):
    description = pipeline.describe()
    assert list(description) == ["eval", "train"]
    for split, counts in description.items():
        lengths = pipeline.lengths(split)
        assert counts == {
            "examples": len(lengths),
            "tokens": int(lengths.sum()),
            "longest_tokens": int(lengths.max()),
            "cut_to_max_length": 0,
        }


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.modality == "text"])
def test_every_text_task_builds_on_it(name):
    classes = [value for value in vars(task_module(name)).values() if isinstance(value, type)]
    assert any(
        issubclass(value, TextPipeline) and value.__module__.startswith("ptm.text") for value in classes
    )
