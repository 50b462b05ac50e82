"""Weights from elsewhere: nothing is executed, and what does not fit is refused."""

from __future__ import annotations

import argparse
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ptm.errors import ModelError
from ptm.models.weights import LoadReport, fit_weights, read_weights


def network(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(body=nn.Linear(4, 5), norm=nn.BatchNorm1d(5), head=nn.Linear(5, classes))
    )


def state(classes: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return network(classes).state_dict()


def test_every_format_gives_the_same_tensors(tmp_path: Path) -> None:
    expected = state()
    save_file(expected, tmp_path / "w.safetensors")
    for suffix in (".pth", ".th", ".pt", ".bin"):
        torch.save(expected, tmp_path / f"w{suffix}")
    for path in tmp_path.iterdir():
        read = read_weights(path)
        assert read.keys() == expected.keys()
        assert all(torch.equal(read[name], expected[name]) for name in expected)


@pytest.mark.parametrize("container", ["state_dict", "model", "model_state_dict", "module"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.model."])
def test_containers_and_common_prefixes_are_taken_off(tmp_path: Path, container: str, prefix: str) -> None:
    inner = {prefix + name: tensor for name, tensor in state().items()}
    torch.save({"epoch": 3, "model": {container: inner}, "optimizer": {"lr": 0.1}}, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth").keys() == state().keys()


def test_a_prefix_of_only_some_names_stays(tmp_path: Path) -> None:
    torch.save({"module.a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "w.pth")
    assert list(read_weights(tmp_path / "w.pth")) == ["module.a", "b"]


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, form: str) -> None:
    path, marker = tmp_path / "w.pth", tmp_path / "executed"
    content = {"state_dict": {"body.weight": Evil(marker)}}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ModelError) as caught:
        read_weights(path)
    assert not marker.exists()
    assert caught.value.problems[0].where == str(path)
    if form != "pickle":
        assert "mkdir" in str(caught.value) and "could run code" in str(caught.value)


def test_foreign_classes_are_named_and_the_cure_is_said(tmp_path: Path) -> None:
    torch.save({"args": argparse.Namespace(lr=1), "state_dict": state()}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"argparse\.Namespace") as caught:
        read_weights(tmp_path / "w.pth")
    assert "write the tensors alone" in caught.value.problems[0].cure


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "random", "pointer"])
def test_damaged_files_are_refused_by_name(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(state(), path)
    else:
        save_file(state(), path)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "truncated": whole[: len(whole) // 2],
            "empty": b"",
            "text": b"404: Not Found\n",
            "random": bytes(range(256)) * 8,
            "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        }[damage]
    )
    with pytest.raises(ModelError) as caught:
        read_weights(path)
    assert caught.value.problems[0].where == str(path)
    assert "object at 0x" not in str(caught.value)
    assert ("Git LFS" in str(caught.value)) == (damage == "pointer")


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        read_weights(tmp_path / "absent.pth")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(ModelError, match="folder"):
        read_weights(tmp_path / "folder.pth")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "absent")
    with pytest.raises(ModelError, match=r"is a link to .*absent, which is not there"):
        read_weights(tmp_path / "link.safetensors")
    with pytest.raises(ModelError, match=r"\.onnx"):
        read_weights(tmp_path / "model.onnx")


def test_contents_that_are_not_tensors_by_name_are_refused(tmp_path: Path) -> None:
    itself: dict[str, Any] = {}
    itself["model"] = itself
    sparse = {"w": torch.eye(3).to_sparse()}
    contents = [[torch.zeros(1)], {}, {"a": torch.zeros(1), "epoch": 3}, itself, sparse, {3: torch.zeros(1)}]
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        with pytest.raises(ModelError):
            read_weights(path)


def test_all_is_copied_and_reported() -> None:
    model, given = network(), state()
    report = fit_weights(model, {**given, "extra": torch.zeros(1)}, ("head",), "w.pth", complete=True)
    assert all(torch.equal(model.state_dict()[name], given[name]) for name in given)
    assert report == LoadReport("w.pth", len(given), (), ("extra",))
    assert str(report) == f"w.pth: {len(given)} tensors loaded; not used: extra"
    assert report.as_dict() == {"source": "w.pth", "loaded": len(given), "new": [], "left_over": ["extra"]}


def test_another_number_of_classes_leaves_a_new_head() -> None:
    model = network(7)
    fresh = model.head.weight.clone()
    report = fit_weights(model, state(3), ("head",), "w.pth", complete=False)
    assert report.new == ("head.weight", "head.bias")
    assert report.loaded == len(state()) - 2
    assert torch.equal(model.head.weight, fresh)
    assert torch.equal(model.body.weight, state()["body.weight"])


@pytest.mark.parametrize("change", ["shape", "absent"])
def test_a_trained_model_needs_its_head(change: str) -> None:
    given = state(7) if change == "shape" else {n: t for n, t in state().items() if n != "head.bias"}
    with pytest.raises(ModelError, match="output layer would be random"):
        fit_weights(network(3), given, ("head",), "w.pth", complete=True)


def test_a_misfit_names_both_shapes_and_changes_nothing() -> None:
    model, given = network(), state()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given["body.weight"] = torch.zeros(5, 9)
    del given["norm.bias"]
    with pytest.raises(ModelError) as caught:
        fit_weights(model, given, ("head",), "w.pth", complete=False)
    assert "body.weight: [5, 4] in the model, [5, 9] in the weights" in str(caught.value)
    assert "norm.bias: [5] in the model, missing in the weights" in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_many_misfits_are_counted() -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(10)))
    given = {name: torch.zeros(3, 3) for name in model.state_dict()}
    with pytest.raises(ModelError, match="and 15 more"):
        fit_weights(model, given, (), "w.pth", complete=False)


def test_another_model_is_recognised() -> None:
    with pytest.raises(ModelError, match="weights of another model"):
        fit_weights(network(), {"conv1.weight": torch.zeros(3)}, ("head",), "w.pth", complete=False)


def test_a_prefix_is_a_module_not_a_beginning() -> None:
    model = nn.Sequential(OrderedDict(fc=nn.Linear(2, 2), fc2=nn.Linear(2, 2)))
    given = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("fc2")}
    with pytest.raises(ModelError, match=r"fc2\.weight"):
        fit_weights(model, given, ("fc",), "w.pth", complete=False)


def test_old_checkpoints_without_batch_counters_and_half_precision_fit() -> None:
    given = {name: tensor.half() for name, tensor in state().items() if "num_batches" not in name}
    model = network()
    assert fit_weights(model, given, ("head",), "w.pth", complete=True).new == ()
    assert model.body.weight.dtype == torch.float32
    integers = {name: tensor.to(torch.int8) for name, tensor in given.items()}
    with pytest.raises(ModelError, match="int8"):
        fit_weights(model, integers, ("head",), "w.pth", complete=True)
