import json

import pytest
import torch

from helpers import run, text_spec
from ptm.config.spec import AdapterSpec, DecisionsSpec
from ptm.text.classification import TextClassification


@pytest.fixture
def asked(monkeypatch):
    """Batches of evaluations that a model was asked, in the order of their ids."""
    calls: list[list[int]] = []
    whole = TextClassification.forward

    def forward(self, model, batch, requested=()):
        if not model.training and torch.is_inference_mode_enabled():  # else for the page's worst mistakes
            calls.append(batch.ids.tolist())
        return whole(self, model, batch, requested)

    monkeypatch.setattr(TextClassification, "forward", forward)
    return calls


@pytest.mark.parametrize(
    "changes",
    [{}, {"decisions": DecisionsSpec(temperature=True, thresholds="one", metric="accuracy")}],
    ids=["plain", "decisions"],
)
@pytest.mark.parametrize("rate", [5e-3, 1e-30], ids=["the last is best", "an earlier one is best"])
def test_13_03_weights_that_the_training_has_evaluated_are_not_evaluated_again(
    changes, rate, tiny_bert, reviews, tmp_path, asked
):
    """Three epochs, three evaluations of 32 examples; a run that forgot them, resumed, evaluates once more and comes to
    the same bytes. With a rate of nearly 0 all evaluations are equal, and the first is the best."""
    spec = text_spec(tiny_bert, reviews, tmp_path / "r", epochs=3, learning_rate=rate, **changes)
    run(spec)
    assert sum(map(len, asked)) == 3 * 32
    results = json.loads((tmp_path / "r/results.json").read_text())
    assert results["best"]["step"] == (24 if rate > 1e-9 else 8)
    written = {
        name: (tmp_path / "r" / name).read_bytes()
        for name in ("predictions.jsonl", "model/model.safetensors", "metrics.jsonl")
    }
    asked.clear()
    (tmp_path / "r/predictions.jsonl").unlink()  # the run is no longer whole
    again = run(spec, mode="resume")
    assert sum(map(len, asked)) == 32
    for key in ("metrics", "decisions", "constant", "warnings"):
        assert again.get(key) == results.get(key), key
    for name, content in written.items():
        if name != "metrics.jsonl":
            assert (tmp_path / "r" / name).read_bytes() == content, name


def test_13_03_a_merged_adapter_is_evaluated_as_it_is_saved(tiny_bert, reviews, tmp_path, asked):
    adapter = AdapterSpec(rank=2, merge=True)
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1, adapter=adapter))
    assert sum(map(len, asked)) == 2 * 32
