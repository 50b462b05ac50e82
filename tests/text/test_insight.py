"""What words add: by hand where the model is a sum, its sum over a text, and by what deleting words does."""

import numpy as np
import pytest
import torch
from torch import nn

from helpers import run, text_spec
from ptm.base.console import Silent
from ptm.errors import ModelError
from ptm.experiment.insights import Insights
from ptm.experiment.session import open_session
from ptm.experiment.trained import trained_model
from ptm.pipeline import Batch
from ptm.text.insight import by_word, integrated_gradients
from tiny.samples import sentences, write_csv


class Sum(nn.Module):
    def __init__(self, power):
        super().__init__()
        self.embed, self.power = nn.Embedding(5, 3), power

    def get_input_embeddings(self):
        return self.embed

    def forward(self, input_ids):
        return (self.embed(input_ids).sum(-1) ** self.power).sum(-1)


@pytest.mark.parametrize("power", [1, 2])
def test_11_07_what_tokens_add_to_a_sum_is_what_they_are(power):
    torch.manual_seed(0)
    model, ids = Sum(power), torch.tensor([[0, 3, 3, 1]])
    model.embed.weight.requires_grad_(False)
    found = integrated_gradients(model, {"input_ids": ids}, lambda inputs: model(**inputs))
    wanted = model.embed(ids)[0].sum(-1) ** power
    assert found == pytest.approx(wanted.numpy(), rel=1e-5)  # the midpoint rule is exact for a square
    model.get_input_embeddings = lambda: nn.Embedding(5, 3)
    assert integrated_gradients(model, {"input_ids": ids}, lambda inputs: model(**inputs)) is None


class Pieces:
    all_special_ids = (0,)

    def __init__(self, tokens):
        self.tokens = tokens

    def convert_ids_to_tokens(self, ids):
        return [self.tokens[i] for i in ids]

    def convert_tokens_to_string(self, pieces):
        return "".join(pieces).replace("##", "").replace("▁", " ").replace("Ġ", " ")


@pytest.mark.parametrize("tokens", ["un ##seen !", "▁un seen ▁!", "un seen Ġ!"])
def test_11_07_pieces_of_a_word_stand_together(tokens):
    found = by_word(Pieces(["[S]", *tokens.split()]), [0, 1, 2, 3, 0], np.array([9, 1, 2, 4, 9.0]))
    assert found == [("unseen", 3.0), ("!", 4.0)]


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory, tiny_bert):
    folder = tmp_path_factory.mktemp("looked")
    write_csv(folder / "train.csv", sentences(64, 1))
    other = {"positive": "negative", "negative": "positive"}
    write_csv(
        folder / "eval.csv", [(t, other[a] if i % 4 == 0 else a) for i, (t, a) in enumerate(sentences(32, 2))]
    )
    run(text_spec(tiny_bert, folder, folder / "r", epochs=8, learning_rate=5e-3, eval_every_steps=64))
    return folder / "r"


@pytest.mark.slow
def test_11_07_deleting_the_strongest_words_costs_more_than_deleting_any(looked_at):
    trained = trained_model(looked_at, [])
    with open_session(trained.spec, Silent()) as session:
        pipeline = trained.build(session, session.task.load_data(trained.spec, labels=None, train=False))
        model, rng, drops = pipeline.model.eval(), np.random.default_rng(0), []
        for row in range(pipeline.size("eval")):
            (batch,) = pipeline.batches("eval", [np.array([row])], 0)
            ids = batch.inputs["input_ids"]

            def scores(changed, batch=batch):
                inputs = {**batch.inputs, "input_ids": changed}
                with torch.no_grad():
                    return pipeline.forward(model, Batch(ids=batch.ids, inputs=inputs, targets=None)).logits[
                        0
                    ]

            before = scores(ids)
            label = int(before.argmax())
            score = lambda inputs, n=label, b=batch: pipeline.forward(  # noqa: E731
                model, Batch(ids=b.ids, inputs=dict(inputs), targets=None)
            ).logits[:, n]
            added = integrated_gradients(model, batch.inputs, score)
            inner = np.arange(1, ids.shape[1] - 1)  # between [CLS] and [SEP]
            strongest = inner[added[inner].argmax()]
            lost = []
            for place in (strongest, *rng.choice(inner, 4)):
                changed = ids.clone()
                changed[0, place] = pipeline.tokenizer.mask_token_id or pipeline.tokenizer.unk_token_id
                lost.append(float(before[label] - scores(changed)[label]))
            drops.append((lost[0], np.mean(lost[1:])))
        strongest, any_word = np.array(drops).mean(0)
        assert strongest > any_word + 0.1
        assert sum(word for _, word in Insights(pipeline)(0, "positive")["words"]) == pytest.approx(
            -sum(word for _, word in Insights(pipeline)(0, "negative")["words"]), rel=2
        )
        assert Insights(pipeline, operations=10)(0, "positive") == {}
        pipeline.model.get_input_embeddings = lambda: nn.Conv1d(1, 1, 1)
        assert Insights(pipeline)(0, "positive") == {}

        def broken():
            raise RuntimeError("no such kernel")

        pipeline.model.get_input_embeddings = broken
        with pytest.raises(ModelError, match="its inside cannot be shown: no such kernel"):
            Insights(pipeline)(0, "positive")


@pytest.mark.slow
def test_11_07_the_report_marks_words_by_sign_and_not_by_colour_alone(looked_at):
    page = (looked_at / "report.html").read_text()
    assert "integrated gradients" in page and '<p class="text evidence"' in page
    assert "<small>+++</small></mark>" in page or "<small>−−−</small></mark>" in page
