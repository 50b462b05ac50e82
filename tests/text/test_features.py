"""What an encoder computes on the way, by name, against what transformers gives itself."""

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification

from ptm.text import features

INPUTS = {
    "input_ids": torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
}
PROJECTIONS = {f"{part}.{layer}" for part in ("query", "key", "value") for layer in (1, 2)}


def classifier(folder):
    return AutoModelForSequenceClassification.from_pretrained(folder).eval()


def test_the_names_of_what_there_is(tiny_bert, tiny_distilbert, tiny_gpt2):
    hidden = ("hidden.0", "hidden.1", "hidden.2")
    bert = features.feature_names(classifier(tiny_bert))
    assert bert[:5] == ("pooled", "pooler", *hidden) and set(bert[5:]) == PROJECTIONS
    distilbert = features.feature_names(classifier(tiny_distilbert))
    assert distilbert[:4] == ("pooled", *hidden) and set(distilbert[4:]) == PROJECTIONS
    assert features.feature_names(classifier(tiny_gpt2)) == ("pooled", *hidden)  # one map for all three
    assert not features.reads_pooler(AutoModelForMaskedLM.from_pretrained(tiny_bert))


@pytest.mark.parametrize("kind", ["tiny_bert", "tiny_distilbert"])
def test_features_are_those_of_the_model(kind, request):
    model = classifier(request.getfixturevalue(kind))
    names = tuple(name for name in features.feature_names(model) if name != "pooler")
    with torch.no_grad():
        output, found = features.run(model, model, INPUTS, names)
        states = model(**INPUTS, output_hidden_states=True).hidden_states
        assert torch.equal(output.logits, model(**INPUTS).logits)
    assert set(found) == set(names)
    for k, state in enumerate(states):
        assert torch.equal(found[f"hidden.{k}"], state)
    mean = torch.stack([states[2][0].mean(0), states[2][1, :3].mean(0)])  # padding does not count
    torch.testing.assert_close(found["pooled"], mean)
    attention = model.base_model.get_submodule(
        "encoder.layer.0.attention.self" if kind == "tiny_bert" else "transformer.layer.0.attention"
    )
    layer = attention.query if kind == "tiny_bert" else attention.q_lin
    torch.testing.assert_close(found["query.1"], layer(states[0]).view(2, 4, 2, 16))


def test_what_the_head_of_bert_reads(tiny_bert):
    model = classifier(tiny_bert)
    with torch.no_grad():
        output, found = features.run(model, model, INPUTS, ("pooler",))
        assert torch.equal(model.classifier(found["pooler"]), output.logits)
    assert set(found) == {"pooler"} and output.hidden_states is None


def test_nothing_is_kept_afterwards_also_where_the_pass_fails(tiny_bert):
    model = classifier(tiny_bert)
    with pytest.raises(KeyError), features.captured(model, ("query.1", "pooler")):
        raise KeyError
    assert not any(module._forward_hooks for module in model.modules())
    _, found = features.run(model, model, INPUTS, ())
    assert found == {}


def test_hidden_states_are_asked_for_only_where_they_are_needed():
    assert features.needs_hidden(("query.1", "hidden.0")) and features.needs_hidden(("pooled",))
    assert not features.needs_hidden(("query.1", "pooler"))


def test_without_a_mask_all_tokens_count():
    states = [torch.tensor([[[1.0], [3.0]]])]
    assert features.hidden(states, ("pooled",), None)["pooled"].tolist() == [[2.0]]
    masked = features.hidden(states, ("pooled", "hidden.0"), torch.tensor([[1, 0]]))
    assert masked["pooled"].tolist() == [[1.0]] and set(masked) == {"pooled", "hidden.0"}
