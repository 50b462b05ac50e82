"""The average of weights: by hand, out of the way of training, and the same bits after a stop."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from helpers import StopAt, evaluation, history, image_spec, last_state, run, weights
from ptm.errors import Interrupted
from ptm.training.averaging import WeightAverage


def test_11_04_the_average_by_hand():
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = WeightAverage(model, 0.5)
    expected = 0.0
    for step in range(1, 15):
        model.weight.data.fill_(float(step))
        average.update(step)
        decay = min(0.5, step / (step + 9))
        expected = decay * expected + (1 - decay) * step
    assert average.tensors["weight"].item() == pytest.approx(expected, rel=1e-6)


def test_11_04_trained_weights_come_back_to_the_bit_and_tied_ones_are_one():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    average = WeightAverage(model, 0.9)
    assert "2.weight" not in average.tensors and "1.num_batches_tracked" in average.tensors
    model(torch.randn(8, 3))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(KeyError), average.in_model():
        assert not torch.equal(model[1].running_mean, before["1.running_mean"])
        raise KeyError
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(ValueError, match="another model"):
        average.load({"weight": torch.zeros(1)})


@pytest.mark.slow
def test_11_04_the_averaged_weights_are_evaluated_saved_and_survive_a_stop(tmp_path):
    changes = {"ema": 0.9, "save_every_steps": 2, "epochs": 3, "learning_rate": 0.03}
    results = run(image_spec(tmp_path / "whole", **changes))
    with pytest.raises(Interrupted):
        run(image_spec(tmp_path / "parts", **changes), reporter=StopAt(9))
    run(image_spec(tmp_path / "parts", **changes), mode="resume")
    assert last_state(tmp_path / "whole") == last_state(tmp_path / "parts")
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    assert history(tmp_path / "whole") == history(tmp_path / "parts")
    lines = [line for line in history(tmp_path / "whole") if line["kind"] == "eval"]
    best = next(line for line in lines if line["step"] == results["best"]["step"])
    assert best["metrics"] == pytest.approx(results["metrics"], rel=1e-6)
    assert best["trained_metrics"] == results["average"]["trained"] != best["metrics"]
    checkpoint = Path(tmp_path / "whole" / "checkpoints" / f"step-{best['step']:06d}")
    averaged = load_file(checkpoint / "average.safetensors")
    saved = load_file(tmp_path / "whole" / "model" / "model.safetensors")
    assert all(torch.equal(saved[name], tensor) for name, tensor in averaged.items())
    assert evaluation(tmp_path / "whole")["metrics"] == pytest.approx(results["metrics"], rel=1e-6)
    # Training itself knows nothing of it.
    run(image_spec(tmp_path / "plain", **{**changes, "ema": None}))
    trained = [last_state(tmp_path / name)["model.safetensors"] for name in ("whole", "plain")]
    assert trained[0] == trained[1]
    assert json.loads((tmp_path / "plain" / "results.json").read_text()).get("average") is None
