"""Precision on logs of real TensorRT-RTX builds (tests/report/logs)."""

from pathlib import Path

import pytest

from trt_int8.report import Layer, PrecisionReport, Tensor
from trt_int8.report.explain.kernels import kind
from trt_int8.report.explain.precision import precision

LOGS = Path(__file__).parent / "logs"

# Written down by reading the datatypes in the Layers: section of each log.
MULTIPLYING = {
    "rtx_lenet_qdq": {"conv1": "int8", "conv2": "int8", "ip1": "int8", "ip2": "int8"},
    "rtx_lenet_float": {"conv1": "fp32", "conv2": "fp32", "ip1": "fp32", "ip2": "fp32"},
    "rtx_lenet_wrong_axis": {"conv1": "int8", "conv2": "int8", "ip1": "weight_dequantized", "ip2": "int8"},
    "rtx_depthwise": {"dw": "int8"},
    "rtx_residual": {"c1": "int8", "c2": "int8"},
    "rtx_attention": {"qk": "int8", "pv": "int8"},
    "rtx_matmul": {"mm": "int8"},
    "rtx_weights_only": {"c": "fp32"},
    "rtx_activations_only": {"c": "fp32"},
    "rtx_conv_transpose": {"ct": "fp32"},
    "rtx_concat": {"c1": "int8", "c2": "int8"},
}
INT8_LAYERS = {"rtx_lenet_qdq": 4, "rtx_lenet_float": 0, "rtx_lenet_wrong_axis": 3, "rtx_average_pool": 0}


@pytest.mark.parametrize("name", MULTIPLYING)
def test_precision_of_nodes_that_multiply(name):
    build = PrecisionReport.from_log(LOGS / f"{name}.log").last
    multiplying = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
    assert {node.node: node.precision for node in build.nodes if node.op in multiplying} == MULTIPLYING[name]


@pytest.mark.parametrize("name", INT8_LAYERS)
def test_int8_layers_are_exactly_the_multiplying_kernels(name):
    build = PrecisionReport.from_log(LOGS / f"{name}.log").last
    assert len(build.int8_layers) == INT8_LAYERS[name]


def test_pools_that_read_int8_are_int8_io_and_quantize_kernels_count_in_no_share():
    build = PrecisionReport.from_log(LOGS / "rtx_lenet_qdq.log").last
    nodes = {node.node: node.precision for node in build.nodes}
    assert (nodes["pool1"], nodes["pool2"]) == ("int8_io", "int8_io")
    kinds = {layer.name: layer.kind for layer in build.layers}
    assert kinds["__myl_MulMinMaxRounCastConc_myl0_0"] == "quantize"
    assert kinds["__myl_Resh_myl0_7"] == "data"
    assert "data_Q" not in nodes


def test_a_move_is_a_reformat():
    build = PrecisionReport.from_log(LOGS / "rtx_lenet_float.log").last
    assert [layer.name for layer in build.layers if layer.kind == "reformat"] == ["__myl_Move_myl0_0"]


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.log")), ids=lambda path: path.stem)
def test_layers_are_the_lines_of_the_layers_section(path):
    # Counted without the parser: the section's own lines, up to the sections behind it.
    section = path.read_text().split("Layers:\n", 1)[1].split("\nI/O Tensors:", 1)[0]
    names = [line[len("Name: ") :].split(", LayerType: ")[0] for line in section.splitlines() if line]
    build = PrecisionReport.from_log(path).last
    assert [layer.name for layer in build.layers] == names
    assert build.status == "complete"


def detailed(name, kind, inputs, constants, node="fc"):
    """A line of the Layers: section as TensorRT-RTX writes it."""

    def tensors(entries):
        return ", ".join(
            f"{{ Name: {name}, Dimensions: [{dims}], Strides: [1], StrideOrder: [0], Datatype: {dtype}, "
            "Format: (Linear) Row major linear format }"
            for name, dims, dtype in entries
        )

    return (
        f"Name: {name}, LayerType: {kind}, Inputs: [ {tensors(inputs)}], Constants: [ {tensors(constants)}], "
        f"Outputs: [ {tensors([('y', '1,500', 'Float')])}], TacticName: k, StreamId: 0, "
        f"Metadata: [ONNX Layer: {node}]"
    )


def read(*lines):
    return PrecisionReport.from_lines(["[V] Parsing node: fc [Gemm]", "[V] Layers:", *lines]).last


X, W, BIAS, SCALAR = ("x", "1,800"), ("w", "800,500"), ("b", "1,500"), ("alpha", "1")


@pytest.mark.parametrize(
    ("name", "kind", "x", "w", "expected"),
    [
        ("fc_myl0_8", "gemm", "Int8", "Int8", "int8"),
        ("fc_myl0_8", "gemm", "Int8", "Float", "weight_dequantized"),
        ("fc_myl0_8", "gemm", "Float", "Int8", "weight_dequantized"),
        ("fc_myl0_8", "gemm", "Half", "Half", "fp16"),
        ("fc_myl0_8", "gemm", "BFloat16", "BFloat16", "bf16"),
        ("fc_myl0_8", "gemm", "FP8", "FP8", "fp8"),
        # A generated kernel that reads Int8 on both sides, casts to float, and multiplies then.
        ("__myl_CastMulCastCastMulFc_myl0_8", "kgen", "Int8", "Int8", "weight_dequantized"),
        ("__myl_ReshCastMulMulSum_myl0_8", "kgen", "Int8", "Int8", "weight_dequantized"),
        ("__myl_Fc_myl0_8", "kgen", "Int8", "Int8", "int8"),
    ],
)
def test_both_operands_decide(name, kind, x, w, expected):
    build = read(detailed(name, kind, [(*X, x)], [(*BIAS, "Float"), (*W, w), (*SCALAR, "Float")]))
    assert build.layers[0].precision == expected
    assert {node.node: node.precision for node in build.nodes} == {"fc": expected}


def test_constants_among_the_inputs():
    """TensorRT 10 prints Myelin's weights, scalars and bias among the inputs."""
    entries = [(*X, "Int8"), (*W, "Half"), (*SCALAR, "Float"), (*BIAS, "Half")]
    assert read(detailed("fc_myl9_4", "gemm", entries, [])).layers[0].precision == "weight_dequantized"


def test_a_residual_is_no_operand():
    line = (
        "Layer(CaskConvolution): c, Tactic: 0x1, x (Int8[1,4,8,8]), r (Float[1,4,8,8]) -> y (Float[1,4,8,8])"
    )
    (layer,) = PrecisionReport.from_lines([line]).last.layers
    assert layer.precision == "int8"


def test_a_node_split_over_two_kernels_is_int8_only_if_both_are():
    int8 = detailed("fc_a_myl0_1", "gemm", [(*X, "Int8")], [(*W, "Int8")])
    fp32 = detailed("fc_b_myl0_2", "gemm", [(*X, "Float")], [(*W, "Float")])
    for lines in ((int8, fp32), (fp32, int8)):
        (node,) = read(*lines).nodes
        assert node.precision == "fp32"
        assert set(node.layers) == {"fc_a_myl0_1", "fc_b_myl0_2"}


def test_a_normalization_is_no_matrix_product():
    line = detailed("__myl_MulSumMulAddSqrt_myl0_3", "kgen", [(*X, "Int8")], [(*BIAS, "Float")], node="norm")
    build = PrecisionReport.from_lines(
        ["[V] Parsing node: norm [LayerNormalization]", "[V] Layers:", line]
    ).last
    assert build.layers[0].precision == "int8_io"


def typed(*dtypes):
    return tuple(Tensor(f"t{index}", dtype, (1, 8, 16, 16)) for index, dtype in enumerate(dtypes))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        # `Weights: {"Type": …}`, up to TensorRT 10
        (Layer("c", "CaskConvolution", typed("int8"), weights="int8"), "int8"),
        (Layer("c", "CaskConvolution", typed("int8"), weights="fp16"), "weight_dequantized"),
        (Layer("c", "CaskConvolution", typed("fp16"), weights="fp16"), "fp16"),
        # Attention multiplies all that it reads.
        (Layer("_gemm_mha_v2_0", "mha", typed("int8", "int8", "int8")), "int8"),
        (Layer("_gemm_mha_v2_0", "mha", typed("int8", "int8", "fp16")), "weight_dequantized"),
        # An addition may read Int8 on its second side only; a constant says nothing about what is read.
        (Layer("add", "ElementWise", typed("fp32", "int8")), "int8_io"),
        (Layer("add", "ElementWise", typed("fp32"), constants=typed("int8")), "fp32"),
        (Layer("c", "Constant", outputs=typed("fp16")), "fp16"),
        (Layer("c", "CaskConvolution"), "unknown"),
    ],
)
def test_precision_of_a_layer(layer, expected):
    assert precision(layer, {}) == expected


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Layer("a", "Reformat", typed("fp32"), outputs=typed("int8"), origin="QDQ"), "quantize"),
        (Layer("a", "Reformat", typed("fp32"), outputs=typed("int8"), origin="REFORMAT"), "reformat"),
        (Layer("x/QuantizeLinear", "Reformat", typed("fp32"), outputs=typed("int8")), "quantize"),
        (Layer("x/QuantizeLinear", "Reformat", typed("fp16"), outputs=typed("fp32")), "reformat"),
        (Layer("Reformatting CopyNode for x/QuantizeLinear", "Reformat", typed("fp32")), "reformat"),
        (Layer("Slice_1", "Slice", typed("fp16")), "data"),
    ],
)
def test_kind_of_a_layer(layer, expected):
    assert kind(layer, {}) == expected
