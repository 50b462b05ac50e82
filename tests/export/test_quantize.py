import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from ptm.errors import NotFinite
from ptm.export.quantize import static_int8, stored_in_bf16
from ptm.export.session import OnnxModel


def test_14_02_bf16_is_rounded_as_torch_rounds():
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    weights[0, :3] = [0.0, -0.0, 1.00390625]  # the last one stands between two
    node = helper.make_node("Add", ["x", "w"], ["logits"])
    value, result = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [64, 64]) for n in ("x", "logits"))
    graph = helper.make_graph(
        [node], "g", [value], [result], initializer=[numpy_helper.from_array(weights, "w")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    content = model.SerializeToString()
    smaller = stored_in_bf16(content)
    assert len(smaller) < 0.6 * len(content)
    assert onnx.load_from_string(smaller).graph.initializer[0].data_type == TensorProto.BFLOAT16
    computed = OnnxModel(smaller, threads=1, where="here")(torch.zeros(64, 64))
    assert torch.equal(computed, torch.from_numpy(weights).bfloat16().float())


def _product(weights):
    """A graph of one matrix product, and what it is calibrated with."""
    node = helper.make_node("MatMul", ["x", "w"], ["logits"])
    value, result = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [4, 4]) for n in ("x", "logits"))
    graph = helper.make_graph(
        [node], "g", [value], [result], initializer=[numpy_helper.from_array(weights, "w")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString(), [{"x": np.ones((4, 4), np.float32)}]


@pytest.mark.parametrize("scale", [3e38, -3e38, np.nan, np.inf])
def test_activations_that_overflow_are_one_message(scale, recwarn):
    """ONNX Runtime fails an assertion of its own, or writes infinity."""
    with pytest.raises(NotFinite, match="overflows") as caught:
        static_int8(*_product(np.full((4, 4), scale, np.float32)))
    assert caught.value.problems[0].cure
    assert [str(w.message) for w in recwarn if w.category is RuntimeWarning] == []


def test_a_calibrated_product_is_the_product():
    content, batches = _product(np.eye(4, dtype=np.float32) * 100)
    computed = OnnxModel(static_int8(content, batches), threads=1, where="here")(torch.ones(4, 4))
    assert torch.allclose(computed, torch.full((4, 4), 100.0), rtol=0.02)
