"""Gradients of several processes: the sum over all micro-batches, wherever they are computed, without a second copy."""

import json
import textwrap

import pytest
import torch
from torch import nn

from ptm.pipeline import Output
from ptm.training.runtime import Runtime
from ptm.training.shared_loss import SharedLoss
from training.test_processes import in_processes

# Micro-batches of four steps, by process: as many each, fewer in one, none in one, and with a layer that learns anew.
SHARDS = [[[1, 2], [3, 4]], [[1, 2], [3]], [[5], []], [[1], [2]]]

MODEL = """
import json, sys, warnings
import torch
from torch import nn
from ptm.pipeline import Output
from ptm.training.runtime import Runtime, open_runtime
from ptm.training.shared_loss import SharedLoss
from ptm.config.spec import RuntimeSpec
from ptm.errors import ConfigError

class Model(nn.Module):
    # Tied weights, a layer that only odd batches use, one that nothing uses, one that is frozen at first.
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.tied = self.first
        self.odd, self.spare, self.norm = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.third.requires_grad_(False)

    def forward(self, number):
        x = self.tied(self.third(self.second(self.first(torch.full((2, 3), float(number))))))
        return self.odd(x) if number % 2 else x

def loss(model, number):
    logits = model(number)
    # What only leads to the logits gets no gradient, and is not waited for.
    return Output(loss_sum=extra(logits).square().sum(), count=2, logits=model.norm(logits))

torch.manual_seed(1)
model, extra = Model(), nn.Linear(3, 1)
shards = json.loads({shards!r})
"""

SHARED = """
with open_runtime(RuntimeSpec(device="cpu", threads=1)) as runtime:
    warnings.simplefilter("error")
    shared, gradients, places = SharedLoss(loss, model, extra, runtime), [], []
    named = [*model.named_parameters(), *extra.named_parameters(prefix="extra")]
    for number, step in enumerate(shards):
        if number == 3:
            model.third.requires_grad_(True)
            shared = SharedLoss(loss, model, extra, runtime)
        mine = step[runtime.rank]
        for done, batch in enumerate(mine, start=1):
            with shared.part(last=done == len(mine)):
                shared(batch).loss_sum.backward()
        if not mine:
            shared.take_part()
        gradients.append({{name: None if p.grad is None else p.grad.tolist() for name, p in named}})
        # One memory for several gradients, and the same in the next step: the buckets that were sent.
        places.append({{name: p.grad.untyped_storage().data_ptr() for name, p in named if p.grad is not None}})
        for _, p in named:
            if p.grad is not None:
                p.grad.zero_()
    assert shared.in_buckets
    assert places[0] == {{name: places[1][name] for name in places[0]}}
    assert len(set(places[1].values())) <= 2 < len(places[1])
    try:
        runtime.require_alike({{"data": runtime.rank, "config": "a", "model": "m"}})
        refusal = ""
    except ConfigError as error:
        refusal = str(error)
with open({path!r} + str(runtime.rank), "w") as file:
    json.dump([gradients, refusal], file)
"""


def alone():
    """The gradients of one process with torch alone, by step."""
    scope: dict[str, object] = {}
    exec(textwrap.dedent(MODEL.format(shards=json.dumps(SHARDS))), scope)
    model, extra, loss = (scope[name] for name in ("model", "extra", "loss"))
    named = [*model.named_parameters(), *extra.named_parameters(prefix="extra")]
    steps = []
    for number, step in enumerate(SHARDS):
        model.third.requires_grad_(number == 3)
        for _, p in named:
            p.grad = None
        for batch in (batch for shard in step for batch in shard):
            loss(model, batch).loss_sum.backward()
        steps.append({name: p.grad for name, p in named})
    return steps


@pytest.mark.processes
@pytest.mark.slow
def test_13_07_gradients_are_the_sum_over_all_micro_batches(tmp_path):
    code = (MODEL + SHARED).format(shards=json.dumps(SHARDS), path=str(tmp_path / "rank"))
    in_processes(textwrap.dedent(code), 2)
    (one, refusal), (two, same) = (json.loads((tmp_path / f"rank{rank}").read_text()) for rank in (0, 1))
    assert one == two  # to the bit
    assert refusal == same and "process 1 has another data than process 0" in refusal
    expected = alone()
    for ours, theirs in zip(one, expected, strict=True):
        for name, gradient in theirs.items():
            if gradient is not None:
                torch.testing.assert_close(torch.tensor(ours[name]), gradient, rtol=1e-5, atol=1e-6)
            else:  # never used, or not in this step: the memory is there, and holds nothing
                assert ours[name] is None or not torch.tensor(ours[name]).any(), name
    assert {name for name, g in one[0].items() if g is None} == {
        f"{layer}.{kind}" for layer in ("third", "spare", "norm") for kind in ("weight", "bias")
    }


def test_13_07_in_the_only_process_it_is_the_loss_itself():
    model = nn.Linear(2, 1)
    loss = lambda model, batch: Output(loss_sum=model(batch).sum(), count=len(batch))  # noqa: E731
    shared = SharedLoss(loss, model, None, Runtime(device=torch.device("cpu"), precision="fp32", threads=1))
    with shared.part(last=True):
        output = shared(torch.ones(3, 2))
        output.loss_sum.backward()
    assert output.count == 3 and not shared.in_buckets
    assert model.weight.grad.tolist() == [[3.0, 3.0]]
