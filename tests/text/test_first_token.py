"""The last layer of a classifier, for the one token that its head reads."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from ptm.text.first_token import first_token_alone

FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "electra")


def model_of(family, **changes):
    torch.manual_seed(0)
    shape = {
        "vocab_size": 40,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    plain = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}
    config = AutoConfig.for_model(family, **{**shape, **plain, "num_labels": 3, **changes})
    return AutoModelForSequenceClassification.from_config(config)


def inputs(n=3, tokens=9):
    ids = torch.randint(5, 40, (n, tokens), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    ids[1, 4:] = 1
    return {"input_ids": ids, "attention_mask": mask}


def outcome(model, alone):
    model.zero_grad()
    if alone:
        with first_token_alone(model):
            logits = model(**inputs()).logits
    else:
        logits = model(**inputs()).logits
    logits.square().sum().backward()
    return [logits.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


def tokens_of_last_layer(model, alone=True):
    seen = []
    encoder = model.base_model
    layers = encoder.encoder.layer if hasattr(encoder, "encoder") else encoder.transformer.layer
    handle = layers[-1].register_forward_hook(lambda module, args, out: seen.append(out))
    with first_token_alone(model):
        model(**inputs())
    handle.remove()
    (out,) = seen
    return (out[0] if isinstance(out, tuple) else out).shape[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_13_02_logits_and_gradients_are_the_same(family):
    model = model_of(family).train()
    for one, other in zip(outcome(model, False), outcome(model, True), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert tokens_of_last_layer(model) == 1
    assert "forward" not in vars(model.base_model.encoder.layer[-1])


@pytest.mark.parametrize("family", FAMILIES)
def test_13_02_the_first_token_has_the_same_bits_beside_the_rest(family):
    model, found = model_of(family).eval(), []
    with torch.no_grad():
        for rest in (False, True):
            with first_token_alone(model, rest=rest):
                found.append(model(**inputs(), output_hidden_states=rest))
        usual = model(**inputs(), output_hidden_states=True)
    assert torch.equal(found[0].logits, found[1].logits)
    for own, states in zip(found[1].hidden_states, usual.hidden_states, strict=True):
        torch.testing.assert_close(own, states, rtol=1e-4, atol=1e-6)


def test_13_02_it_ends_with_an_error_too():
    model = model_of("bert")
    with pytest.raises(IndexError), first_token_alone(model):
        model(input_ids=torch.tensor([[1000]]))
    assert "forward" not in vars(model.base_model.encoder.layer[-1])


def test_13_02_dropout_drops_there_too():
    model = model_of("bert", attention_probs_dropout_prob=0.5, hidden_dropout_prob=0.5).train()
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        with first_token_alone(model):
            found.append(model(**inputs()).logits)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_13_02_layers_that_are_computed_again_have_the_same_bits():
    found = []
    for again in (False, True):
        model = model_of("bert", attention_probs_dropout_prob=0.3, hidden_dropout_prob=0.3).train()
        if again:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        own = model.base_model.encoder.layer[-1].__dict__.get("_gradient_checkpointing_func")
        torch.manual_seed(5)
        found.append(outcome(model, True))
        assert model.base_model.encoder.layer[-1].__dict__.get("_gradient_checkpointing_func") is own
        assert tokens_of_last_layer(model) == 1
    assert len(found[0]) == len(found[1])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_13_02_others_compute_all_tokens():
    eager = model_of("bert", attn_implementation="eager")
    assert tokens_of_last_layer(eager) == 9
    torch.manual_seed(0)
    config = AutoConfig.for_model("distilbert", vocab_size=40, dim=32, n_layers=2, n_heads=4, hidden_dim=64)
    assert tokens_of_last_layer(AutoModelForSequenceClassification.from_config(config)) == 9
