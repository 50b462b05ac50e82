"""Linear layers by oneDNN: the same numbers and gradients, in whatever way it is asked."""

import pytest
import torch
from torch.nn import functional as F

from ptm.training import one_dnn
from ptm.training.one_dnn import linear, linear_where_it_pays
from ptm.training.replaced import Replaced

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or one_dnn.OPERATION is None,
    reason="this torch has no oneDNN",
)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(50, 96), (5, 10, 96), (1, 96)])
@pytest.mark.parametrize("biased", [True, False])
def test_13_02_values_and_gradients_are_those_of_torch(shape, biased):
    given = [numbers(*shape), numbers(64, 96, seed=1), *([numbers(64, seed=2)] if biased else [])]
    target = numbers(*shape[:-1], 64, seed=3)
    found = []
    for function in (F.linear, linear):
        leaves = [t.clone().requires_grad_() for t in given]
        out = function(*leaves)
        found.append([out, *torch.autograd.grad((out * target).sum(), leaves)])
    for theirs, ours in zip(*found, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_13_02_rows_that_do_not_lie_side_by_side():
    """The first token of each text, as BERT's pooler reads it, and a gradient that is a transposed view."""
    texts, weight = numbers(8, 7, 96).requires_grad_(), numbers(64, 96, seed=1).requires_grad_()
    out = linear(texts[:, 0], weight)
    target = numbers(64, 8, seed=2)
    got = torch.autograd.grad((out.t() * target).sum(), (texts, weight))
    expected = torch.autograd.grad((F.linear(texts[:, 0], weight).t() * target).sum(), (texts, weight))
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_13_02_only_what_learns_has_a_gradient():
    x, weight = numbers(8, 96), numbers(64, 96, seed=1).requires_grad_()
    linear(x, weight).sum().backward()
    assert weight.grad is not None and x.grad is None
    assert not linear(x, weight.detach()).requires_grad


@pytest.fixture
def calls(monkeypatch):
    made = []
    monkeypatch.setattr(one_dnn, "linear", lambda *args: made.append(args) or F.linear(*args))
    return made


def test_13_02_while_entered_large_layers_in_fp32_go_there(calls):
    layer = torch.nn.Linear(256, 256)
    with Replaced({F.linear: linear_where_it_pays}):
        layer(numbers(64, 256))
        F.linear(input=numbers(64, 256), weight=layer.weight)
    assert len(calls) == 2
    layer(numbers(64, 256))
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("rows", "kind"), [(2, torch.float32), (64, torch.float64), (64, torch.bfloat16), (0, torch.float32)]
)
def test_13_02_small_ones_and_other_types_do_not(calls, rows, kind):
    layer = torch.nn.Linear(256, 256, dtype=kind)
    with Replaced({F.linear: linear_where_it_pays}):
        assert layer(numbers(rows, 256).to(kind)).shape == (rows, 256)
        F.linear(numbers(64, 256), numbers(256, 256).t())  # a weight that is a transposed view
        assert F.linear(numbers(64, 256), numbers(256, 256), numbers(1)).shape == (
            64,
            256,
        )  # one bias for all
    assert not calls


def test_13_02_wrong_shapes_are_torchs_own_error(calls):
    with (
        pytest.raises(RuntimeError, match="shapes cannot be multiplied"),
        Replaced({F.linear: linear_where_it_pays}),
    ):
        F.linear(numbers(64, 250), numbers(256, 256))
    with pytest.raises(RuntimeError), Replaced({F.linear: linear_where_it_pays}):
        F.linear(numbers(64, 256), numbers(256, 256), numbers(7))
    assert not calls


@pytest.mark.parametrize(
    ("vendor", "capability", "expected"),
    [("AuthenticAMD", "AVX512", True), ("AuthenticAMD", "AVX2", False), ("GenuineIntel", "AVX512", False),
     ("", "AVX512", False)],
)  # fmt: skip
def test_13_02_it_goes_by_the_processor(tmp_path, monkeypatch, vendor, capability, expected):
    info = tmp_path / "cpuinfo"
    info.write_text(f"vendor_id\t: {vendor}\nflags\t: fpu\n" * 2 if vendor else "processor: 0\n")
    monkeypatch.setattr(one_dnn, "_CPU_INFO", info)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert one_dnn.one_dnn_is_faster.__wrapped__() is expected
