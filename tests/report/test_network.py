import numpy as np
from onnx import helper, numpy_helper

from trt_int8.report.explain.fusion import fused_nodes, guess_op
from trt_int8.report.read.network import Network, NetworkNode, names
from trt_int8.report.records import Layer


def model():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["xq"], name="q"),
        helper.make_node("DequantizeLinear", ["xq", "s"], ["xd"], name="dq"),
        helper.make_node("Reshape", ["xd", "shape"], ["xr"], name="reshape"),
        helper.make_node("Relu", ["xr"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "s"], ["rq"], name="q2"),
    ]
    weights = [
        numpy_helper.from_array(np.float32(1), "s"),
        numpy_helper.from_array(np.array([1, -1], np.int64), "shape"),
    ]
    graph = helper.make_graph(nodes, "g", [], [], weights)
    return helper.make_model(graph)


def test_a_dequantized_value_is_seen_through_operators_that_move_data():
    network = Network.from_model(model())
    assert network.explicit
    assert network.is_dequantized("xd")
    assert network.is_dequantized("xr")
    assert not network.is_dequantized("r")  # Relu computes
    assert not network.is_dequantized("x")
    assert not network.is_dequantized("xq")  # quantized is not dequantized
    assert not network.is_dequantized("s")
    assert network.is_quantized_next("r")
    assert not network.is_quantized_next("xr")


def test_quantized_next_is_seen_through_operators_that_move_data():
    def network(*nodes):
        model = helper.make_model(helper.make_graph(nodes, "g", [], [], []))
        return Network.from_model(model)

    flatten = helper.make_node("Flatten", ["p"], ["f"], name="flatten")
    quantize = helper.make_node("QuantizeLinear", ["f", "s"], ["q"], name="q")
    assert network(flatten, quantize).is_quantized_next("p")
    assert not network(flatten).is_quantized_next("p")  # the graph's output, in float
    relu = helper.make_node("Relu", ["f"], ["r"], name="relu")
    assert not network(flatten, quantize, relu).is_quantized_next("p")
    loop = helper.make_node("Identity", ["f"], ["p"], name="loop")
    assert not network(flatten, loop, relu).is_quantized_next("p")


def test_unnamed_nodes_are_called_as_tensorrt_calls_them():
    assert "node_of_r" in Network.from_model(model()).ops


def test_tensors_are_read_from_the_lines_of_the_parser():
    node = NetworkNode(
        "c",
        "Conv",
        1,
        b"inputs: [a [0] -> (1, 3)[FLOAT]], [optional input, not set], [w -> (4)[FLOAT]], ",
        b"outputs: [y -> (1)[FLOAT]], ",
    )
    assert node.inputs == ("a [0]", "w")
    assert node.outputs == ("y",)


def test_a_loop_in_a_damaged_network_ends():
    looping = NetworkNode("i", "Identity", 1, b"inputs: [a -> (1)[FLOAT]], ", b"outputs: [a -> (1)[FLOAT]], ")
    assert not Network({"i": looping}).is_dequantized("a")


def test_names_are_shortened():
    assert names(["a", "b", "a"]) == "a, b"
    assert names("abcde") == "a, b, c and 2 more"


def nodes_of(name, ops=None, registered=None, kind="CaskConvolution"):
    return fused_nodes(Layer(name, kind), ops or {}, registered or {})


def test_nodes_in_the_name_of_a_fused_layer():
    ops = {"/c/Conv": "Conv", "/r/Relu": "Relu", "q": "QuantizeLinear", "m": "MatMul"}
    assert nodes_of("c.weight + q + /c/Conv + PWN(/r/Relu)", ops) == ("q", "/c/Conv", "/r/Relu")
    assert nodes_of("PWN(PWN(/r/Relu), m)", ops) == ("/r/Relu", "m")
    assert nodes_of("m_1 || /c/Conv [profile 1]", ops, {"m_1": "m"}) == ("m", "/c/Conv")
    assert nodes_of("{ForeignNode[m.../r/Relu]}", ops, kind="Myelin") == ("m", "/r/Relu")
    assert nodes_of("Reformatting CopyNode for Input Tensor 0 to m", ops, kind="Reformat") == ()
    # Without a network: everything that is no weight.
    assert nodes_of("layer1.0.conv1.weight + QuantizeLinear_20 + Conv_22 + PWN(Clip_66)") == (
        "QuantizeLinear_20",
        "Conv_22",
        "Clip_66",
    )


def test_operators_in_exporters_names():
    assert guess_op("Conv_22") == "Conv"
    assert guess_op("/backbone/conv1/Conv") == "Conv"
    assert guess_op("/a/ConvTranspose_3") == "ConvTranspose"
    assert guess_op("conv1") is None
