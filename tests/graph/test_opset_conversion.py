"""Models of every opset from 7: the converted model computes the same, and its Q/DQ form nearly."""

import numpy as np
import onnx
import pytest
from graphs import conv, node, op, weight
from onnx import TensorProto, helper, numpy_helper

from trt_int8.calibration import calibrate
from trt_int8.errors import QuantizationError
from trt_int8.evaluation import evaluate
from trt_int8.graph.passes.opset_conversion import with_minimum_opset
from trt_int8.quantization import quantize

C = 4


def old_model(rng, opset):
    """A network of operators whose definitions changed between 7 and 13."""
    weights = {
        "w": weight(rng, C, C, 3, 3),
        "fc": weight(rng, C * 16, 10),
        "fb": weight(rng, 10),
        **{name: rng.uniform(0.5, 1.5, C).astype(np.float32) for name in "ghmv"},
    }
    nodes = [
        conv("x", "w", "c1", "conv1"),
        op("BatchNormalization", "c1 g h m v", "n", "bn"),
        op("Relu", "n", "r"),
        op("MaxPool", "r", "p", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        conv("p", "w", "c2", "conv2"),
        op("Concat", "c2 p", "cat", axis=1),
    ]
    # Attributes up to 9 or 10, inputs from then on.
    if opset < 10:
        nodes.append(op("Slice", "cat", "half", "slice", axes=[1], starts=[0], ends=[C]))
    else:
        weights |= {"start": np.array([0]), "end": np.array([C]), "axis": np.array([1])}
        nodes.append(op("Slice", "cat start end axis", "half", "slice"))
    if opset < 11:
        nodes.append(op("Clip", "half", "clip", min=-1.0, max=1.0))
    else:
        weights |= {"low": np.float32(-1), "high": np.float32(1)}
        nodes.append(op("Clip", "half low high", "clip"))
    nodes += [
        op("Dropout", "clip", "d", "dropout"),
        op("Flatten", "d", "f", "flatten"),
        op("Gemm", "f fc fb", "logits", "fc_node"),
        op("Softmax", "logits", "y", "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, C, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 10])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    if opset < 9:  # IR 3: initializers are inputs too
        graph.input.extend(
            helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in graph.initializer
        )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 3 if opset < 9 else 5
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize("opset", range(7, 18))
def test_from_opset_7(rng, opset):
    model = old_model(rng, opset)
    batches = [{"x": rng.normal(size=(2, C, 8, 8)).astype(np.float32)} for _ in range(4)]
    converted = with_minimum_opset(model)
    assert converted.opset_import[0].version == max(opset, 13)
    assert evaluate(model, converted, batches).outputs["y"].max_abs_error < 1e-6
    result = quantize(model, calibrate(model, batches, algorithm="minmax").ranges, placement="tensorrt")
    assert result.nodes == ("conv1", "conv2", "fc_node")
    assert node(result.model, "fc_node").output[0] == "logits"
    assert evaluate(model, result.model, batches).outputs["y"].sqnr_db > 25


def test_the_newest_opset_is_left_as_it_is(rng, make_model):
    newest = onnx.defs.onnx_opset_version()
    graph = helper.make_graph(
        [op("MatMul", "x w", "y")],
        "new",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])],
        [numpy_helper.from_array(weight(rng, 4, 4), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", newest)])
    assert with_minimum_opset(model).SerializeToString() == model.SerializeToString()


def resizing_model(rng, opset, mode, factor, *, last="conv"):
    """Two Upsamples, or what opset 10 calls them, one behind the other, then ``last``."""
    sizes = [1.0, 1.0, factor, factor]
    if opset < 9:
        resizes = [op("Upsample", "x", "u", scales=sizes, mode=mode)]
        resizes.append(op("Upsample", "u", "v", scales=sizes, mode=mode))
    else:
        kind = "Upsample" if opset == 9 else "Resize"
        resizes = [op(kind, "x s", "u", mode=mode), op(kind, "u s", "v", mode=mode)]
    tail = [conv("v", "w", "y", "conv")] if last == "conv" else []
    weights = {"w": weight(rng, C, C, 3, 3), "s": np.array(sizes, np.float32)}
    read = {name for n in [*resizes, *tail] for name in n.input}
    size = int(np.floor(np.floor(4 * factor) * factor))
    graph = helper.make_graph(
        [*resizes, *tail],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, C, 4, 4])],
        [helper.make_tensor_value_info("y" if tail else "v", TensorProto.FLOAT, [1, C, size, size])],
        [numpy_helper.from_array(v, k) for k, v in weights.items() if k in read],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("factor", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("opset", [7, 9, 10])
def test_resizing_before_opset_11(rng, opset, factor, mode):
    model = resizing_model(rng, opset, mode, factor)
    batches = [{"x": rng.normal(size=(1, C, 4, 4)).astype(np.float32)} for _ in range(3)]
    converted = with_minimum_opset(model)
    assert [n.name for n in converted.graph.node if n.op_type in ("Resize", "Conv")] == ["u", "v", "conv"]
    # Both map positions as before; the converter leaves it to a default that maps linear ones otherwise.
    assert evaluate(model, converted, batches).outputs["y"].max_abs_error < 1e-6
    result = quantize(model, calibrate(model, batches, algorithm="minmax").ranges, placement="tensorrt")
    assert list(result.scales) == ["v"]
    assert evaluate(model, result.model, batches).outputs["y"].sqnr_db > 30


def test_resizing_in_a_body(rng):
    def body(name):
        node_ = helper.make_node("Resize", ["x", "s"], [name], mode="linear")
        return helper.make_graph([node_], name, [], [helper.make_tensor_value_info(name, 1, [1, C, 8, 8])])

    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=body("a"), else_branch=body("b"))],
        "resize in a body",
        [helper.make_tensor_value_info("x", 1, [1, C, 4, 4])],
        [helper.make_tensor_value_info("y", 1, [1, C, 8, 8])],
        [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s")],
    )
    graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=5)
    batches = [{"x": rng.normal(size=(1, C, 4, 4)).astype(np.float32)}]
    assert evaluate(model, with_minimum_opset(model), batches).outputs["y"].max_abs_error < 1e-6


def test_an_upsample_that_makes_an_output(rng):
    model = resizing_model(rng, 9, "nearest", 2.0, last="none")
    converted = with_minimum_opset(model)
    assert [output.name for output in converted.graph.output] == ["v"]
    batches = [{"x": rng.normal(size=(1, C, 4, 4)).astype(np.float32)}]
    assert evaluate(model, converted, batches).outputs["v"].max_abs_error == 0


def test_what_onnx_cannot_convert_is_refused(rng):
    graph = helper.make_graph(
        [op("Scan", "x", "y")],
        "unknown",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, C])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 7)])
    with pytest.raises(QuantizationError, match="the model has opset 7; these Q/DQ nodes need opset 13"):
        with_minimum_opset(model)


def test_a_converter_that_drops_tensors_is_not_believed(rng, monkeypatch):
    from trt_int8.graph.passes import opset_conversion as module

    def dropping(model, version):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy.opset_import[0].version = version
        copy.ir_version = 7
        dropout = next(n for n in copy.graph.node if n.op_type == "Dropout")
        next(n for n in copy.graph.node if n.op_type == "Flatten").input[0] = dropout.input[0]
        copy.graph.node.remove(dropout)
        return copy

    monkeypatch.setattr(module.version_converter, "convert_version", dropping)
    with pytest.raises(QuantizationError, match="it lost or changed d\\)"):
        with_minimum_opset(old_model(rng, 12))


def test_functions_and_metadata_survive(rng, make_model):
    twice = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 14)]
    )  # fmt: skip
    model = make_model(
        [op("MatMul", "x w", "y")], inputs={"x": [2, 4]}, outputs=["y"], weights={"w": weight(rng, 4, 4)}
    )
    model.graph.node[0].output[0] = "m"
    model.graph.node.append(helper.make_node("Twice", ["m"], ["y"], domain="local"))
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.functions.append(twice)
    model.metadata_props.add(key="author", value="me")
    converted = with_minimum_opset(model, 19)
    assert [(entry.key, entry.value) for entry in converted.metadata_props] == [("author", "me")]
    batches = [{"x": rng.normal(size=(2, 4)).astype(np.float32)}]
    assert evaluate(model, converted, batches).outputs["y"].max_abs_error == 0
