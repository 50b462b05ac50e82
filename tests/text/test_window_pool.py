"""``pool: learned``: shares of windows by a learned vector, saved beside the model and used wherever it is."""

import json

import numpy as np
import pytest
import torch

from config_texts import TEXT, only
from helpers import evaluation, run, text_spec
from ptm.base.console import Silent
from ptm.config.model_ref import ModelRef
from ptm.errors import ModelError
from ptm.experiment.predict import run_prediction
from ptm.text import classification
from ptm.text.window_pool import FILE, NAME, WindowPool, load_pool, save_pool
from ptm.text.windows import pooled
from tiny.samples import sentences, write_csv


def test_11_03_shares_are_the_softmax_of_a_vector_and_zero_is_the_mean():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    counts, pool = torch.tensor([3, 1, 1]), WindowPool(3)
    torch.testing.assert_close(pool(logits, counts), pooled(logits, counts, "mean"))
    pool.weight.data = torch.tensor([0.5, -2.0, 1.0])
    scores = logits.double() @ pool.weight.data.double()
    shares = scores[:3].exp() / scores[:3].exp().sum()
    by_hand = torch.stack([(shares[:, None] * logits[:3]).sum(0), logits[3].double(), logits[4].double()])
    torch.testing.assert_close(pool(logits, counts).double(), by_hand, rtol=1e-5, atol=1e-6)
    pool(logits, counts)[0, 0].backward()
    assert bool(pool.weight.grad.abs().sum() > 0)
    large = WindowPool(3)
    large.weight.data = torch.full((3,), 1e4)
    assert bool(torch.isfinite(large(logits, counts)).all())


@pytest.mark.parametrize(
    "content", ["{", '{"format": 1}', '{"format": 1, "weight": [1]}', '{"format": 2, "weight": [1, 2]}']
)
def test_11_03_another_file_in_its_place_is_refused(tmp_path, content):
    save_pool(WindowPool(2), tmp_path)
    assert load_pool(tmp_path, 2, "model").weight.tolist() == [0, 0]
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ModelError, match="is not as ptm writes it"):
        load_pool(tmp_path, 2, "model")


def spec_of(bert, folder, pool="learned"):
    """Texts of several windows; the word that decides stands somewhere in them."""
    for name, seed in (("train.csv", 1), ("eval.csv", 2)):
        rows = enumerate(sentences(48, seed))
        filled = [("the film was " * (n % 4) + text + "really " * 8, label) for n, (text, label) in rows]
        write_csv(folder / name, filled)
    keys = {"max_length": 10, "long_texts": "windows", "stride": 2, "epochs": 1, "pool": pool}
    return text_spec(bert, folder, folder / "r", **keys)


def said(pipeline):
    pipeline.model.eval()
    with torch.no_grad():
        (batch,) = pipeline.batches("eval", [np.arange(8)], 0)
        return pipeline.forward(pipeline.model, batch).logits


def test_11_03_the_vector_is_saved_beside_a_model_that_transformers_loads_as_any_other(tiny_bert, tmp_path):
    from transformers import AutoModelForSequenceClassification

    spec = spec_of(tiny_bert, tmp_path)
    data = classification.load_data(spec)
    pipeline = classification.build(spec, data, model=spec.model.ref(), complete=False)
    assert f"{NAME}.weight" in dict(pipeline.model.named_parameters()) and f"{NAME}." in pipeline.head
    pipeline.model.classifier.weight.data *= 1000  # a new head says next to nothing
    pipeline.model.window_pool.weight.data = torch.tensor([30.0, -20.0])
    place = tmp_path / "saved"
    place.mkdir()
    pipeline.save_model(place)
    _, info = AutoModelForSequenceClassification.from_pretrained(place, output_loading_info=True)
    assert not info["unexpected_keys"] and not info["missing_keys"]
    for role in ("model", "teacher"):
        ref = ModelRef(name=str(place), role=role)
        torch.testing.assert_close(
            said(classification.build(spec, data, model=ref, complete=True)), said(pipeline)
        )
    mean = spec_of(tiny_bert, tmp_path, pool="mean")
    other = classification.build(mean, data, model=ModelRef(name=str(place)), complete=True)
    assert not torch.allclose(said(other), said(pipeline), atol=1e-5)
    (place / FILE).unlink()
    with pytest.raises(ModelError, match="it was not trained with pool: learned"):
        classification.build(spec, data, model=ModelRef(name=str(place)), complete=True)


@pytest.mark.slow
def test_11_03_a_run_learns_it_and_is_evaluated_and_predicts_with_it(tiny_bert, tmp_path):
    results = run(spec_of(tiny_bert, tmp_path))
    saved = json.loads((tmp_path / "r" / "model" / FILE).read_bytes())["weight"]
    assert len(saved) == 2 and all(saved)
    assert evaluation(tmp_path / "r")["metrics"] == pytest.approx(results["metrics"], abs=1e-6)
    rows = []
    run_prediction(tmp_path / "r", [tmp_path / "eval.csv"], receive=rows.append, reporter=Silent())
    written = [json.loads(line) for line in (tmp_path / "r" / "predictions.jsonl").read_text().splitlines()]
    assert [row["prediction"] for row in rows] == [row["prediction"] for row in written]


def test_11_03_an_adapter_and_a_learned_pool_are_refused_together():
    keys = ["data.long_texts=windows", "data.pool=learned", "model.adapter={rank: 2}"]
    assert only(TEXT, *keys).what.startswith("an adapter is saved beside a model")
