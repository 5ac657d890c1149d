"""Operators of other domains may have the name of one of ONNX's, and fewer inputs or outputs."""

import contextlib

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from trt_int8.errors import TrtInt8Error
from trt_int8.graph import operators
from trt_int8.quantization import quantize
from trt_int8.quantization.check import check_qdq, fix_qdq
from trt_int8.quantization.migration import cache_from_qdq
from trt_int8.ranges import Ranges, TensorRange

NAMES = sorted(
    {
        name
        for key, table in vars(operators).items()
        if key.isupper() and isinstance(table, frozenset | tuple | dict | set)
        for name in table
        if isinstance(name, str)
    }
    | {"Constant", "If", "Loop", "Reshape", "Resize", "Identity", "Upsample", "Cast", "Split"}
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (0, 1), (1, 0)])
def test_all_names(name, inputs, outputs):
    values = [helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, ["n", 4]) for tensor in "xy"]
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s"], ["q"], "q"),
            helper.make_node("DequantizeLinear", ["q", "s"], ["d"], "dq"),
            helper.make_node("MatMul", ["d", "w"], ["h"], "product"),
            helper.make_node(name, ["h"][:inputs], ["odd"][:outputs], "odd", domain="my"),
            helper.make_node("Add", ["h", "odd" if outputs else "h"], ["t"], "sum"),
            helper.make_node("MatMul", ["t", "w"], ["y"], "second"),
        ],
        "g",
        values[:1],
        values[1:],
        [
            numpy_helper.from_array(np.eye(4, dtype=np.float32), "w"),
            numpy_helper.from_array(np.float32(0.1), "s"),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.graph.node[:2]
    plain.graph.node[0].input[0] = "x"
    ranges = Ranges({n: TensorRange(1.0, source="a test") for n in ("x", "h", "odd", "t", "y")})
    for action in (
        lambda: check_qdq(model),
        lambda: fix_qdq(model),
        lambda: cache_from_qdq(model),
        lambda: quantize(plain, ranges, placement="rtx"),
        lambda: quantize(plain, ranges, placement="tensorrt"),
    ):
        with contextlib.suppress(TrtInt8Error):
            action()
