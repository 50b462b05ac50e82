"""Weights, gradients and optimizer states spread over processes: the same training, and files like those of any run."""

import json
import shutil
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file

from helpers import StopAt, history, run
from ptm.base.console import Silent
from ptm.config.load import load_config
from ptm.errors import Interrupted
from ptm.experiment.train import run_training
from ptm.training.sharded import placed_like, share, whole
from training.test_processes import TEXT, in_processes


def config_of(tmp_path, tiny_bert, reviews, name):
    text = TEXT.replace(
        "micro_batch_size: 5", "micro_batch_size: 4, save_every_steps: 1, keep_checkpoints: 9"
    )
    path = tmp_path / f"{name}.yaml"
    path.write_text(text.format(model=tiny_bert, data=reviews, output=tmp_path / name))
    return path


SHARED = """
import torch
from torch import nn
from ptm.config.spec import RuntimeSpec
from ptm.pipeline import Output
from ptm.run.checkpoint import optimizer_tensors
from ptm.training.finite import largest_weight
from ptm.training.runtime import open_runtime
from ptm.training.shared_loss import SharedLoss
from ptm.training.sharded import share, weights_of, whole

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.layers = nn.Embedding(7, 4), nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])
        self.head = nn.Linear(4, 3)

    def forward(self, ids):
        states = self.first(ids)
        for layer in self.layers:
            states = layer(states).tanh()
        return self.head(states)

def loss(model, ids):
    return Output(loss_sum=model(ids).square().sum(), count=len(ids))

def near(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)

with open_runtime(RuntimeSpec(device="cpu", threads=1)) as runtime:
    torch.manual_seed(1)
    model, alone = Model(), Model()
    alone.load_state_dict(model.state_dict())
    weights = weights_of(model, RuntimeSpec(shard="fsdp"), runtime)
    shared = SharedLoss(loss, weights.model, None, runtime, sharded=weights.spread_out)
    ours, theirs = (torch.optim.AdamW(m.parameters(), lr=0.1, fused=True) for m in (weights.model, alone))
    batches = [torch.tensor(ids) for ids in ([0, 1, 2], [3, 4], [5, 6])]
    for _ in range(3):
        # The second process has one of three, and one that counts for nothing.
        for done, batch in enumerate(batches[:2] if runtime.main else [batches[2], batches[0]]):
            with shared.part(last=done == 1):
                factor = 1 if runtime.main or done == 0 else 0
                (shared(batch).loss_sum * factor).backward()
        for batch in batches:
            loss(alone, batch).loss_sum.backward()
        of_one = [p.grad for p in alone.parameters()]
        gradients = [p.grad for p in weights.model.parameters()]
        for gradient, other in zip(gradients, of_one, strict=True):
            near(whole(gradient), other)
        near(whole(torch.nn.utils.get_total_norm(gradients)), torch.nn.utils.get_total_norm(of_one))
        torch._foreach_mul_([share(gradient) for gradient in gradients], torch.tensor(0.5))
        torch._foreach_mul_(of_one, 0.5)
        for optimizer in (ours, theirs):
            optimizer.step()
            optimizer.zero_grad()
    weights.collect()
    for ours_now, other in zip(model.parameters(), alone.parameters(), strict=True):
        near(ours_now, other)
    states, others = optimizer_tensors(ours), optimizer_tensors(theirs)
    assert list(states) == list(others)
    for name, state in states.items():
        near(state, others[name])
    assert abs(largest_weight(list(weights.model.parameters())) - largest_weight(list(alone.parameters()))) < 1e-5
    # About half of all in each process.
    here = sum(share(p).numel() for p in weights.model.parameters())
    assert abs(here / sum(p.numel() for p in model.parameters()) - 0.5) < 0.1
    for p in model.parameters():
        p.data.fill_(1.5)
    weights.spread()
    assert all((whole(p) == 1.5).all() for p in weights.model.parameters())
"""


@pytest.mark.processes
@pytest.mark.slow
def test_13_07_shares_take_the_steps_of_one_process():
    in_processes(textwrap.dedent(SHARED), 2)


FEW_ROWS = """
import math
import torch
from torch import nn
from ptm.config.spec import RuntimeSpec
from ptm.training.finite import largest_weight
from ptm.training.runtime import open_runtime
from ptm.training.sharded import weights_of

with open_runtime(RuntimeSpec(device="cpu", threads=1)) as runtime:
    for rows in (1, 2, 5):  # of 5, torch gives 2, 2, 1 and 0
        model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, rows))
        with torch.no_grad():
            model[1].weight[-1, 0] = 9.0
        weights = weights_of(model, RuntimeSpec(shard="fsdp"), runtime)
        assert largest_weight(list(weights.model.parameters())) == 9.0
        with torch.no_grad():
            model[1].weight[-1, 0] = math.nan
        weights.spread()
        assert not math.isfinite(largest_weight(list(weights.model.parameters())))
"""


@pytest.mark.processes
@pytest.mark.slow
def test_13_07_fewer_classes_than_processes_can_be_looked_at():
    """Two classes in four processes: two of them have nothing of the last layer."""
    in_processes(textwrap.dedent(FEW_ROWS), 4)


@pytest.mark.processes
@pytest.mark.slow
def test_13_07_sharded_processes_train_what_one_does_and_leave_a_run_for_any_number(
    tiny_bert, reviews, tmp_path
):
    """Three micro-batches for two processes, begun in one process, gone on sharded in two, ended in one."""
    sets = ["train.gradient_checkpointing=true", "train.head_learning_rate=2e-3"]
    alone, parts = (config_of(tmp_path, tiny_bert, reviews, name) for name in ("alone", "parts"))
    run(load_config(alone, sets))
    with pytest.raises(Interrupted):
        run(load_config(parts, sets), "new", StopAt(2))
    command = [
        sys.executable,
        "-m",
        "ptm",
        "finetune",
        str(parts),
        "--nproc",
        "2",
        "--resume",
        "--allow-drift",
    ]
    for change in (*sets, "runtime.shard=fsdp"):
        command += ["--set", change]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    for a, b in zip(history(tmp_path / "alone"), history(tmp_path / "parts"), strict=True):
        if a["kind"] == "train":
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)
            assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3)
        else:
            assert b["metrics"] == pytest.approx(a["metrics"], rel=1e-4)
    steps = sorted(path.name for path in (tmp_path / "alone" / "checkpoints").iterdir())
    assert steps == sorted(path.name for path in (tmp_path / "parts" / "checkpoints").iterdir())
    for place in (f"checkpoints/{steps[-1]}/model", f"checkpoints/{steps[-1]}/optimizer", "model/model"):
        ours, theirs = (load_file(tmp_path / name / f"{place}.safetensors") for name in ("parts", "alone"))
        assert list(ours) == list(theirs)
        for name, tensor in theirs.items():
            torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-4)
    # What it wrote before its end, gone on with by one process.
    left = tmp_path / "parts"
    for name in ("results.json", f"checkpoints/{steps[-1]}"):
        (shutil.rmtree if (left / name).is_dir() else (lambda path: path.unlink()))(left / name)
    results = run_training(load_config(parts, sets), mode="resume", reporter=Silent(), allow_drift=True)
    assert results.status == "done" and any("runtime.shard" in change for change in results.drift)
    expected = json.loads((tmp_path / "alone" / "results.json").read_text())["metrics"]
    assert results.metrics == pytest.approx(expected, rel=1e-3)


def test_13_07_a_tensor_of_one_process_is_whole():
    tensor = torch.ones(2)
    assert (
        whole(tensor) is tensor and share(tensor) is tensor and placed_like(tensor, torch.ones(2)) is tensor
    )
