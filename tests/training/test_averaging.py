"""The average of weights: by hand, out of the way of training, and the same bits after a stop."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from helpers import StopAt, evaluation, history, image_spec, last_state, run, weights
from ptm.config.load import parse_config
from ptm.errors import ConfigError, Interrupted, RunDirectoryError
from ptm.training.averaging import WeightAverage, exponential, of_last


def test_11_04_the_average_by_hand():
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = WeightAverage(model, exponential(0.5))
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
    average = WeightAverage(model, exponential(0.9))
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


@pytest.mark.parametrize(("count", "every", "steps"), [(3, 4, 22), (3, 4, 24), (9, 5, 20), (2, 1, 5)])
def test_11_05_the_mean_of_the_last_evaluations_by_hand(count, every, steps):
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, of_last(count, every, steps))
    seen = []
    for step in range(1, steps + 1):
        model.weight.data.fill_(float(step * step))
        average.update(step)
        if step % every == 0 or step == steps:
            seen.append(float(step * step))
            chosen = seen[-count:] if step == steps else None
            if step < every * 2 and count < steps // every:
                assert average.tensors["weight"].item() == seen[-1]  # not yet: the newest weights
    assert average.tensors["weight"].item() == pytest.approx(sum(chosen) / len(chosen), rel=1e-6)


@pytest.mark.slow
def test_11_05_averaged_checkpoints_are_evaluated_saved_and_survive_a_stop(tmp_path):
    """Evaluations at steps 4, 8, 12, 16 and 18: the last three are averaged."""
    changes = {
        "average_checkpoints": 3,
        "eval_every_steps": 4,
        "save_every_steps": 2,
        "keep_checkpoints": 9,
        "epochs": 3,
        "learning_rate": 0.03,
        "best": None,
    }
    results = run(image_spec(tmp_path / "whole", **changes))
    for name, stop in (("during", 13), ("before", 3)):
        with pytest.raises(Interrupted):
            run(image_spec(tmp_path / name, **changes), reporter=StopAt(stop))
        run(image_spec(tmp_path / name, **changes), mode="resume")
        assert last_state(tmp_path / "whole") == last_state(tmp_path / name)
        assert weights(tmp_path / "whole") == weights(tmp_path / name)
        assert history(tmp_path / "whole") == history(tmp_path / name)
    lines = {line["step"]: line for line in history(tmp_path / "whole") if line["kind"] == "eval"}
    assert [step for step, line in lines.items() if "trained_metrics" in line] == [16, 18]
    assert results["metrics"] == pytest.approx(lines[18]["metrics"], rel=1e-6)
    assert results["average"] == {"checkpoints": 3, "trained": lines[18]["trained_metrics"]}
    kept = tmp_path / "whole" / "checkpoints"
    states = [load_file(kept / f"step-{step:06d}" / "model.safetensors") for step in (12, 16, 18)]
    saved = load_file(tmp_path / "whole" / "model" / "model.safetensors")
    for name, tensor in saved.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, torch.stack([state[name] for state in states]).mean(0))
    assert evaluation(tmp_path / "whole")["metrics"] == pytest.approx(results["metrics"], rel=1e-6)


def test_11_05_a_mean_of_the_last_evaluations_is_not_given_more_epochs(tmp_path):
    """It went on with weights in the mean that a run of that length has not among its last ones."""
    spec = image_spec(tmp_path / "r", epochs=2, average_checkpoints=2, scheduler="constant", best=None)
    run(spec)
    before = weights(tmp_path / "r")
    with pytest.raises(RunDirectoryError, match="others with 3 epochs than with 2"):
        run(replace(spec, train=replace(spec.train, epochs=3)), mode="resume")
    assert weights(tmp_path / "r") == before
    run(spec, mode="resume")  # finished, as it was


def test_11_05_two_averages_are_refused(tmp_path):
    text = "version: 1\ntask: text-classification\nmodel: {name: a}\noutput: x\n"
    text += "data: {source: csv:d, train: a.csv, eval: b.csv}\ntrain: {epochs: 1, ema: 0.9, average_checkpoints: 3}\n"
    with pytest.raises(ConfigError, match="there is one average"):
        parse_config(text, "run.yaml", base=tmp_path, cwd=tmp_path)
