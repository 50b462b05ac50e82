"""What is computed again in the backward pass, in place of being kept: the same bits, from less memory."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ptm.training import recompute
from ptm.training.one_dnn import OPERATION, linear_where_it_pays
from ptm.training.replaced import Replaced

BY_ONE_DNN = {**recompute.REPLACEMENTS, F.linear: linear_where_it_pays}


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Layer(nn.Module):
    """As BERT has them: attention and a wide part, each with a dropout, a sum and a norm behind it."""

    def __init__(self, width=64, heads=2, p=0.1):
        super().__init__()
        self.heads, self.p = heads, p
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x, mask=None):
        q, k, v = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=self.p)
        x = self.norms[0](F.dropout(mixed.transpose(1, 2).flatten(2), self.p) + x)
        return self.norms[1](F.dropout(self.narrow(F.gelu(self.wide(x))), self.p) + x)


def gradients(model, replacements, call=None, x=None):
    """Output and gradients of ``call(model, x)``, with the same draws each time."""
    x = numbers(4, 100, 64).requires_grad_() if x is None else x
    x.grad = None
    model.zero_grad()
    torch.manual_seed(3)
    with Replaced(replacements):
        out = model(x) if call is None else call(model, x)
    out.square().sum().backward()
    found = [out.detach(), x.grad, *(p.grad for p in model.parameters())]
    return [None if t is None else t.clone() for t in found]


def require_same(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


@pytest.fixture(autouse=True)
def small_tensors_too(monkeypatch):
    monkeypatch.setattr(recompute, "_FEWEST_NUMBERS", 1)


def kept_bytes(replacements, x=None):
    """What the forward pass of two layers keeps, besides weights, each piece of memory once."""
    model = nn.Sequential(Layer(), Layer())
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    pieces = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            pieces[storage.data_ptr()] = (storage.nbytes(), storage)  # held, so that no other lies there
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), Replaced(replacements):
        model(numbers(4, 100, 64).requires_grad_())
    return sum(size for size, _ in pieces.values())


def test_13_02_a_text_layer_keeps_two_thirds_at_most():
    assert kept_bytes(recompute.REPLACEMENTS) <= 0.67 * kept_bytes({})


@pytest.mark.parametrize(
    "mask",
    [None, torch.arange(100).lt(70)[None, None, None], torch.zeros(4, 1, 100, 100).triu(1) - 1e4],
    ids=["none", "bool", "float"],
)
def test_13_02_layers_have_the_bits_of_torch(mask):
    model = nn.Sequential(Layer(), Layer())

    def call(model, x):
        for layer in model:
            x = layer(x, mask)
        return x

    require_same(gradients(model, {}, call), gradients(model, recompute.REPLACEMENTS, call))


@pytest.mark.skipif(OPERATION is None, reason="this torch has no such operation of oneDNN")
def test_13_02_layers_by_one_dnn_have_the_same_bits_with_and_without():
    model = nn.Sequential(Layer(), Layer())
    require_same(gradients(model, {F.linear: linear_where_it_pays}), gradients(model, BY_ONE_DNN))


@pytest.mark.parametrize("bf16", [False, True])
def test_13_02_under_autocast_nothing_else_is_computed(bf16):
    model = nn.Sequential(Layer(), Layer())

    def call(model, x):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model(x).float()

    require_same(gradients(model, {}, call), gradients(model, recompute.REPLACEMENTS, call))


@pytest.mark.parametrize("shape", [(3,), (70_000,), (5, 7, 11)])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.95])
def test_13_02_dropout_draws_what_torch_draws(shape, kind, p):
    for x in (numbers(*shape).to(kind), numbers(*shape, 3).to(kind).transpose(0, -1)):
        found = []
        for function in (F.dropout, recompute.dropout):
            x = x.detach().requires_grad_()
            torch.manual_seed(5)
            out = function(x, p)
            out.backward(numbers(*x.shape, seed=1).to(kind))
            found.append([out.detach(), x.grad, torch.rand(2)])  # the generator stands where it would
        require_same(*found)


def test_13_02_attention_that_looks_back_only_has_the_bits_of_torch():
    found = []
    for function in (F.scaled_dot_product_attention, recompute.attention):
        parts = [numbers(2, 3, 20, 8, seed=n).requires_grad_() for n in range(3)]
        torch.manual_seed(5)
        out = function(*parts, dropout_p=0.2, is_causal=True)
        out.square().sum().backward()
        found.append([out.detach(), *(part.grad for part in parts)])
    require_same(*found)


@pytest.mark.parametrize("trained", ["bias", "narrow", "query", "norms"])
def test_13_02_layers_of_which_only_some_learn_have_the_bits_of_torch(trained):
    model = nn.Sequential(Layer(), Layer())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained in name)
    for x in (numbers(4, 100, 64), numbers(4, 100, 64).requires_grad_()):
        require_same(gradients(model, {}, x=x), gradients(model, recompute.REPLACEMENTS, x=x))


def test_13_02_layers_that_are_computed_again_as_a_whole_have_the_same_bits():
    model = nn.Sequential(Layer(), Layer())

    def contexts():
        return nullcontext(), Replaced(recompute.REPLACEMENTS)

    def call(model, x):
        for layer in model:
            x = checkpoint(layer, x, use_reentrant=False, context_fn=contexts)
        return x

    require_same(gradients(model, {}), gradients(model, recompute.REPLACEMENTS, call))


def test_13_02_two_uses_and_two_backward_passes_have_the_bits_of_torch():
    first, second, norm = nn.Linear(8, 8), nn.Linear(8, 8), nn.LayerNorm(8)
    found = []
    for replacements in ({}, recompute.REPLACEMENTS):
        model, x = nn.ModuleList([first, second, norm]), numbers(5, 8).requires_grad_()
        model.zero_grad()
        with Replaced(replacements):
            same = norm(x)
            out = (first(same) * second(same) * same).sum()
        out.backward(retain_graph=True)
        out.backward()
        found.append([x.grad, *(p.grad.clone() for p in model.parameters())])
    require_same(*found)


def test_13_02_a_result_that_was_changed_in_place_is_kept_as_it_was_changed():
    layer, found = nn.Linear(8, 8), []
    for replacements in ({}, recompute.REPLACEMENTS):
        x = numbers(5, 8).requires_grad_()
        layer.zero_grad()
        with Replaced(replacements):
            out = F.gelu(x * 1)
            out.mul_(2)
            layer(out).sum().backward()
        found.append([x.grad, layer.weight.grad.clone()])
    require_same(*found)


@pytest.mark.parametrize("changed", ["x", "bias"])
def test_13_02_inputs_that_were_changed_meanwhile_are_refused(changed):
    layer, norm, x = nn.Linear(8, 8), nn.LayerNorm(8), numbers(5, 8).requires_grad_() * 1
    with Replaced(recompute.REPLACEMENTS):
        out = layer(norm(x)).sum()
    with torch.no_grad():
        {"x": x, "bias": norm.bias}[changed].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


def test_13_02_what_does_not_learn_and_what_is_evaluated_go_to_torch(monkeypatch):
    monkeypatch.setattr(recompute, "_Dropout", None)
    monkeypatch.setattr(recompute, "_Attention", None)
    monkeypatch.setattr(recompute, "Linear", None)
    x = numbers(4, 100, 64)
    with Replaced(recompute.REPLACEMENTS), torch.no_grad():
        Layer()(x)
    with Replaced(recompute.REPLACEMENTS):
        F.dropout(x, 0.1)
        F.dropout(x.requires_grad_(), 0.0)
        F.dropout(x, 0.1, training=False)
        F.gelu(x).sum().backward()
