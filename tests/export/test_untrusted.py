"""A stranger's graph: it may hold arithmetic, and name nothing outside of itself."""

import os
import subprocess
import sys

import onnx
import pytest
from onnx import TensorProto, helper

from ptm.errors import ModelError
from ptm.export.untrusted import read_graph


def graph_of(*nodes, initializers=()):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph(list(nodes), "g", [value], [result], initializer=list(initializers))
    return helper.make_model(graph)


def external_tensor(path: str):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=path)
    return tensor


def refused(tmp_path, content: bytes) -> str:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as error:
        read_graph(path)
    return str(error.value)


def test_14_01_weights_in_another_file_are_not_read(tmp_path):
    add = helper.make_node("Add", ["x", "w"], ["y"])
    model = graph_of(add, initializers=[external_tensor("/etc/hostname")])
    assert "weights in another file: w" in refused(tmp_path, model.SerializeToString())
    constant = helper.make_node("Constant", [], ["w"], value=external_tensor("../secret"))
    branch = helper.make_graph(
        [constant], "b", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [1])]
    )
    inner = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    assert "weights in another file" in refused(tmp_path, graph_of(inner).SerializeToString())


def test_14_01_operators_of_other_libraries_are_not_loaded(tmp_path):
    own = helper.make_node("RunShell", ["x"], ["y"], domain="evil")
    assert "evil::RunShell" in refused(tmp_path, graph_of(own).SerializeToString())
    branch = helper.make_graph([own], "b", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
    inner = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    assert "evil::RunShell" in refused(tmp_path, graph_of(inner).SerializeToString())


@pytest.mark.parametrize("name", ["Loop", "Scan", "SequenceMap"])
def test_15_11_a_graph_that_may_never_end_is_not_loaded(tmp_path, name):
    assert f"has a loop: {name}" in refused(
        tmp_path, graph_of(helper.make_node(name, ["x"], ["y"])).SerializeToString()
    )


def graph_of_functions(calls):
    """A graph that calls the function 0; ``calls``: of each function those that it calls, by number; -1 is Neg."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    functions = []
    for number, called in enumerate(calls):
        nodes = [
            helper.make_node(
                "Neg" if other < 0 else f"f{other}",
                [f"v{step}"],
                [f"v{step + 1}"],
                domain="" if other < 0 else "mine",
            )
            for step, other in enumerate(called)
        ]
        functions.append(
            helper.make_function("mine", f"f{number}", ["v0"], [f"v{len(called)}"], nodes, opsets)
        )
    model = graph_of(helper.make_node("f0", ["x"], ["y"], domain="mine"))
    model.functions.extend(functions)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    return model.SerializeToString()


def test_15_11_functions_that_unfold_without_end_are_not_loaded(tmp_path):
    """ONNX Runtime writes out each call."""
    doubling = [[number + 1] * 2 for number in range(39)] + [[-1, -1]]
    chain = [[number + 1] for number in range(2000)] + [[-1]]
    for calls in (doubling, [[0]], [[1], [0]], [[0, -1]], chain):
        assert "more than 1,000,000 operators" in refused(tmp_path, graph_of_functions(calls))
    path = tmp_path / "few.onnx"
    path.write_bytes(graph_of_functions([[1, 1], [2, 2], [-1]]))
    assert read_graph(path) == path.read_bytes()


def test_14_01_what_is_no_graph_is_told(tmp_path):
    assert "no graph" in refused(tmp_path, b"\xff" * 100)


def test_an_ordinary_graph_is_read(tmp_path):
    model = graph_of(helper.make_node("Add", ["x", "x"], ["y"]))
    onnx.save(model, tmp_path / "model.onnx")
    assert read_graph(tmp_path / "model.onnx") == model.SerializeToString()


@pytest.mark.processes
def test_15_01_onnx_runtime_keeps_and_tells_nothing_of_this_machine(tmp_path):
    """From 1.32 on it would write an identifier below the home and send what it is used for, with --offline too."""
    code = "import ptm.export, onnxruntime; print(onnxruntime.__version__)"
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []
