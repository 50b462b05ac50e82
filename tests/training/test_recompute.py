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
    monkeypatch.setattr(recompute, "_FEWEST_DRAWS", 1)


@pytest.fixture
def draws_of_torch(monkeypatch):
    """Dropout draws as torch does, number by number, so that all else can be compared bit by bit."""

    def drawn(x, p):
        return torch.empty_like(x, dtype=torch.uint8).bernoulli_(1 - p)

    monkeypatch.setattr(recompute, "_drawn", drawn)
    monkeypatch.setattr(recompute, "_share_left", lambda p: 1 - p)


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
def test_13_02_layers_have_the_bits_of_torch(draws_of_torch, mask):
    model = nn.Sequential(Layer(), Layer())

    def call(model, x):
        for layer in model:
            x = layer(x, mask)
        return x

    require_same(gradients(model, {}, call), gradients(model, recompute.REPLACEMENTS, call))


@pytest.mark.skipif(OPERATION is None, reason="this torch has no such operation of oneDNN")
def test_13_02_layers_by_one_dnn_have_the_same_bits_with_and_without(draws_of_torch):
    model = nn.Sequential(Layer(), Layer())
    require_same(gradients(model, {F.linear: linear_where_it_pays}), gradients(model, BY_ONE_DNN))


@pytest.mark.parametrize("causal", [False, True])
def test_13_02_attention_in_bf16_is_that_of_torch_within_the_rounding_of_bf16(draws_of_torch, causal):
    found = []
    for function, kind in (
        (F.scaled_dot_product_attention, torch.float32),
        (recompute.attention, torch.bfloat16),
    ):
        parts = [numbers(2, 3, 200, 8, seed=n).bfloat16().to(kind).requires_grad_() for n in range(3)]
        mask = None if causal else torch.arange(200).lt(130)[None, None, None]
        torch.manual_seed(5)
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
            out = function(*parts, attn_mask=mask, dropout_p=0.2, is_causal=causal)
        out.float().square().sum().backward()
        found.append([out.detach(), *(part.grad for part in parts)])
    for exact, own in zip(*found, strict=True):
        assert own.dtype == torch.bfloat16 and own.shape == exact.shape
        # Shares, what is mixed, its gradient, and that of the scores are each rounded, by 2^-8 at most.
        assert (own - exact).norm() < 4 * 2**-8 * exact.norm()


def test_13_02_who_may_look_at_nothing_gets_nothing(draws_of_torch):
    found = []
    for function in (F.scaled_dot_product_attention, recompute.attention):
        parts = [numbers(2, 3, 20, 8, seed=n).requires_grad_() for n in range(3)]
        mask = torch.ones(2, 1, 20, 20, dtype=torch.bool)
        mask[1, 0, 4] = False
        torch.manual_seed(5)
        out = function(*parts, attn_mask=mask, dropout_p=0.2)
        out.square().sum().backward()
        found.append([out.detach(), *(part.grad for part in parts)])
    require_same(*found)
    assert torch.equal(found[1][0][1, :, 4], torch.zeros(3, 8))


@pytest.mark.parametrize("shape", [(3,), (70_001,), (5, 7, 11)])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.95])
def test_13_02_dropout_is_torchs_but_for_the_draws(draws_of_torch, shape, kind, p):
    for x in (numbers(*shape).to(kind), numbers(*shape, 3).to(kind).transpose(0, -1)):
        found = []
        for function in (F.dropout, recompute.dropout):
            x = x.detach().requires_grad_()
            torch.manual_seed(5)
            out = function(x, p)
            out.backward(numbers(*x.shape, seed=1).to(kind))
            found.append([out.detach(), x.grad])
        require_same(*found)


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9])
def test_13_02_dropout_drops_the_share_it_should_and_keeps_the_mean(p):
    torch.manual_seed(1)
    x = torch.ones(1000, 1001, requires_grad=True)
    out = recompute.dropout(x, p)
    out.sum().backward()
    share, error = (out == 0).float().mean().item(), (p * (1 - p) / x.numel()) ** 0.5
    assert abs(share - p) < 5 * error + 2**-17
    assert torch.equal(x.grad, out.detach())
    assert abs(out.mean().item() - 1) < 5 * error / (1 - p) + 1e-5
    # Neither rows nor columns nor neighbours know of each other.
    dropped = (out.detach() == 0).float()
    for axis in (0, 1):
        spread = dropped.mean(axis).var().item() / (p * (1 - p) / x.shape[axis])
        assert 0.8 < spread < 1.2
    side = ((dropped[:, 1:] * dropped[:, :-1]).mean() - p * p).abs().item()
    assert side < 5 * p / x.numel() ** 0.5


def test_13_02_dropout_draws_the_same_from_the_same_seed_and_others_from_another():
    x, found = numbers(300, 70).requires_grad_(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(recompute.dropout(x, 0.3))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


@pytest.mark.parametrize("p", [1e-7, 1 - 1e-7])
def test_13_02_what_sixteen_bits_cannot_draw_goes_to_torch(p):
    x, found = numbers(50).requires_grad_(), []
    for function in (F.dropout, recompute.dropout):
        torch.manual_seed(1)
        found.append(function(x, p))
    require_same(found[:1], found[1:])


def test_13_02_attention_that_looks_back_only_has_the_bits_of_torch(draws_of_torch):
    found = []
    for function in (F.scaled_dot_product_attention, recompute.attention):
        parts = [numbers(2, 3, 20, 8, seed=n).requires_grad_() for n in range(3)]
        torch.manual_seed(5)
        out = function(*parts, dropout_p=0.2, is_causal=True)
        out.square().sum().backward()
        found.append([out.detach(), *(part.grad for part in parts)])
    require_same(*found)


@pytest.mark.parametrize("trained", ["bias", "narrow", "query", "norms"])
def test_13_02_layers_of_which_only_some_learn_have_the_bits_of_torch(draws_of_torch, trained):
    model = nn.Sequential(Layer(), Layer())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained in name)
    for x in (numbers(4, 100, 64), numbers(4, 100, 64).requires_grad_()):
        require_same(gradients(model, {}, x=x), gradients(model, recompute.REPLACEMENTS, x=x))


def test_13_02_layers_that_are_computed_again_as_a_whole_have_the_same_bits(draws_of_torch):
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
