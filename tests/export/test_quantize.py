import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from ptm.export.quantize import stored_in_bf16
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
