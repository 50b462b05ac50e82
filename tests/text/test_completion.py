"""Completed texts: blanks and continuations are those of a plain forward pass over each text alone."""

import numpy as np
import pytest
import torch

from ptm.config.model_ref import ModelRef
from ptm.config.spec import DataSpec, ModelSpec, RunSpec, RuntimeSpec, TrainSpec
from ptm.data.examples import Dataset, Examples
from ptm.errors import DataError
from ptm.pipeline import Batch, Output
from ptm.text import completion
from ptm.text.language_models import build_language_model

FOLDERS = {"masked-lm": "tiny_bert", "causal-lm": "tiny_gpt2"}


@pytest.fixture(scope="module")
def loaded(request, tiny_bert, tiny_gpt2):
    """task → a model, made once."""
    made = {}

    def get(task):
        if task not in made:
            ref = ModelRef(name=str({"masked-lm": tiny_bert, "causal-lm": tiny_gpt2}[task]))
            made[task] = build_language_model(ref, task, None, seed=1, complete=False)
            made[task].model.eval()
            if made[task].tokenizer.pad_token_id is None:
                made[task].tokenizer.pad_token = made[task].tokenizer.eos_token
            with torch.no_grad():
                for parameter in made[task].model.parameters():
                    if parameter.ndim == 2:
                        parameter *= 4  # or every token is as likely as another
        return made[task]

    return get


def complete(loaded, task, texts, max_length=24):
    spec = RunSpec(
        version=1,
        task=task,
        model=ModelSpec(name="m"),
        data=DataSpec(source="csv:d"),
        train=TrainSpec(epochs=1, learning_rate=1e-3),
        runtime=RuntimeSpec(device="cpu", threads=1),
        output="r",
    )
    data = Dataset(None, Examples({"text": list(texts)}, None, lambda row: f"text {row + 1}"), (), {})
    return completion.completion_pipeline(spec, data, loaded(task), max_length)


def rows(pipeline):
    (batch,) = pipeline.batches("eval", [np.arange(pipeline.size("eval"))], 0)
    with torch.inference_mode():
        return pipeline.evaluate_batch(pipeline.model, batch).predictions


def test_each_blank_has_its_likeliest_tokens_and_the_text_the_first_of_them(loaded):
    texts = ["the film was [MASK]", "the [MASK] was really [MASK] ."]
    predictions = rows(complete(loaded, "masked-lm", texts))
    model, tokenizer = loaded("masked-lm").model, loaded("masked-lm").tokenizer
    for text, said in zip(texts, predictions, strict=True):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            probabilities = model(input_ids=ids).logits[0].softmax(-1)
        places = (ids[0] == tokenizer.mask_token_id).nonzero().flatten().tolist()
        assert len(said["masks"]) == len(places)
        filled = ids[0].clone()
        for place, mask in zip(places, said["masks"], strict=True):
            top = probabilities[place].topk(completion.LIKELIEST)
            assert list(mask) == tokenizer.convert_ids_to_tokens(top.indices.tolist())
            assert list(mask.values()) == pytest.approx(top.values.tolist(), rel=1e-4)
            filled[place] = top.indices[0]
        assert said["prediction"] == tokenizer.decode(filled, skip_special_tokens=True)


def test_a_continuation_is_the_likeliest_token_again_and_again(loaded):
    texts = ["the film", "the hotel was really good"]
    predictions = rows(complete(loaded, "causal-lm", texts))
    model, tokenizer = loaded("causal-lm").model, loaded("causal-lm").tokenizer
    new = loaded("causal-lm").max_positions // 2
    assert new < completion.NEW_TOKENS
    for text, said in zip(texts, predictions, strict=True):
        ids = [tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]
        begun = len(ids)
        with torch.no_grad():
            while len(ids) < begun + new:
                token = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
                if token == tokenizer.eos_token_id:
                    break
                ids.append(token)
        assert said["prediction"] == tokenizer.decode(ids[begun:])


def test_of_a_long_text_the_end_is_continued(loaded):
    pipeline = complete(loaded, "causal-lm", ["really " * 90 + "good", "a"])
    (batch,) = pipeline.batches("eval", [np.arange(2)], 0)
    limit = loaded("causal-lm").max_positions
    ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
    assert ids.shape == (2, limit - limit // 2)
    whole = loaded("causal-lm").tokenizer("really " * 90 + "good")["input_ids"]
    assert ids[0].tolist() == whole[-ids.shape[1] :]
    assert mask[1].tolist() == [0] * (ids.shape[1] - int(mask[1].sum())) + [1] * int(
        mask[1].sum()
    )  # on the left


def test_a_text_without_a_blank_among_its_tokens_is_named(loaded):
    with pytest.raises(DataError, match=r"no \[MASK\] among its first 8 tokens") as caught:
        complete(loaded, "masked-lm", ["a [MASK]", "a film", "the " * 9 + "[MASK]"], max_length=8)
    assert [p.where for p in caught.value.problems] == ["text 2", "text 3"]


@pytest.mark.parametrize("task", FOLDERS)
def test_an_empty_text_is_named(loaded, task):
    with pytest.raises(DataError) as caught:
        complete(loaded, task, ["a [MASK]", " "])
    assert caught.value.problems[0].where == "text 2"


def test_what_was_written_comes_by_id_and_is_not_measured():
    parts = [completion.Completed(), completion.Completed()]
    for part, ids in zip(parts, ([3, 0], [1]), strict=True):
        written = [{"prediction": str(n)} for n in ids]
        part.update(
            Batch(ids=np.array(ids), inputs={}, targets=None),
            Output(loss_sum=torch.zeros(()), count=len(ids), predictions=written),
        )
    merged = parts[0].merge(parts[1:])
    assert list(merged.predictions()) == [{"id": n, "prediction": str(n)} for n in (0, 1, 3)]
    assert merged.compute() == {}
    with pytest.raises(DataError, match="nothing was evaluated"):
        completion.Completed().compute()
