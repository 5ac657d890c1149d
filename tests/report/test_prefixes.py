"""What loggers put before each line."""

import pytest
from places import CORPUS, requires_corpus
from sample_builds import BUILD_85, NAME, candidates

from trt_int8.report import PrecisionReport
from trt_int8.report.parser import observe
from trt_int8.report.prefixes import PREFIX, level
from trt_int8.report.reading import read_lines

PREFIXES = [
    "",
    "[07/07/2026-02:11:00] [V] [TRT] ",
    "[07/07/2026-02:11:00] [TRT] [V] ",
    "[TensorRT] VERBOSE: ",
    "[V] ",
    "[X] ",
    "[TRT]    ",
    "My Logger: Severity.VERBOSE ",
    "[Severity.VERBOSE] ",
    "DEBUG: [TRTorch Conversion Context] - ",
    "2024-09-06 13:40:43.695805375 [V:onnxruntime:Default, tensorrt_execution_provider.h:77 log] "
    "[2024-09-06 20:40:43 VERBOSE] ",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_one_build_under_every_prefix(prefix):
    # Engine lines are often bare in a prefixed log.
    lines = [line if line.startswith("Layer(") else prefix + line for line in BUILD_85.splitlines()]
    (build,) = PrecisionReport.from_lines(lines).builds
    assert build.status == "complete"
    (layer,) = build.layers
    assert (layer.name, layer.type, layer.precision) == (NAME, "CudnnConvolution", "fp32")
    assert candidates(layer) == {
        (("int8",), "no_tactic"): ("CudaDepthwiseConvolution", None, 11),
        (("int8",), "timed"): ("CaskConvolution", 0.02, 17),
        (("fp32",), "timed"): ("CudnnConvolution", 0.011, 23),
    }
    assert layer.onnx_nodes == ("/q/QuantizeLinear", "/conv1/Conv")
    assert [node.node for node in build.nodes] == ["/conv1/Conv"]
    assert build.unrecognized_lines == 0


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("[W] ", "W"), ("[TensorRT] ERROR: ", "E"), ("[TensorRT] INFO: ", "I"), ("[TRT] ", "")],
)
def test_levels(prefix, expected):
    assert level(PREFIX.match(prefix.encode())) == expected


def test_a_prefix_that_is_the_beginning_of_another():
    lines = ["[V] Using enqueueV3.", *("[V] [TRT] " + line for line in BUILD_85.splitlines())]
    (build,) = PrecisionReport.from_lines(lines).builds
    assert len(build.layers[0].candidates) == 3
    assert build.unrecognized_lines == 0


def test_the_parser_of_tensorrt_7_names_its_source_file():
    lines = [
        "[06/29/2021-17:18:40] [V] [TRT] ModelImporter.cpp:103: Parsing node: Conv_0 [Conv]",
        "[06/29/2021-17:18:40] [V] [TRT] ModelImporter.cpp:119: Searching for input: x",
        "[06/29/2021-17:18:40] [V] [TRT] ModelImporter.cpp:125: Conv_0 [Conv] inputs: [x -> (1, 3)], [w -> (4, 3)], ",
        "[06/29/2021-17:18:40] [V] [TRT] ImporterContext.hpp:154: Registering layer: c for ONNX node: Conv_0",
        "[06/29/2021-17:18:40] [W] [TRT] onnx2trt_utils.cpp:220: Your model has INT64 weights",
        "Layer(CaskConvolution): c, Tactic: 1, x[Float(1,3)] -> y[Float(1,3)]",
    ]
    build = PrecisionReport.from_lines(lines).last
    assert [(node.node, node.op) for node in build.nodes] == [("Conv_0", "Conv")]
    assert build.unrecognized_lines == 0
    # A warning keeps the place.
    assert build.warnings.other[0].text == "onnx2trt_utils.cpp:220: Your model has INT64 weights"


@requires_corpus
def test_the_nodes_of_a_real_log_of_tensorrt_7():
    (log,) = (CORPUS / "logs").glob("trt7202_*.log")
    (seen,) = observe(read_lines(log))
    # grep -c "Parsing node: "
    assert len(seen.nodes) == 361
    assert seen.nodes["Conv_68"].inputs == ("1030", "1541", "1542")
