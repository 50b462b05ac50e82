"""A stranger's graph: it may hold arithmetic, and name nothing outside of itself."""

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


def test_14_01_what_is_no_graph_is_told(tmp_path):
    assert "no graph" in refused(tmp_path, b"\xff" * 100)


def test_an_ordinary_graph_is_read(tmp_path):
    model = graph_of(helper.make_node("Add", ["x", "x"], ["y"]))
    onnx.save(model, tmp_path / "model.onnx")
    assert read_graph(tmp_path / "model.onnx") == model.SerializeToString()
