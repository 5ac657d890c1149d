"""Precision on logs of real TensorRT-RTX builds (tests/report/logs)."""

from pathlib import Path

import pytest

from trt_int8.report import PrecisionReport

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
