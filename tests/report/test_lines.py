"""Lines of logs: the prefixes of loggers, and the versions of TensorRT."""

import pytest
from places import CORPUS, requires_corpus
from sample_builds import BUILD_85, NAME, candidates

from trt_int8.report import PrecisionReport
from trt_int8.report.read.lines import PREFIX, level, said_version, version
from trt_int8.report.read.log_file import read_lines
from trt_int8.report.read.verbose_log import observe

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


ENGINE = ["Engine Layer Information:", "Layer(CaskConvolution): c, Tactic: 0x01, x (Int8[1]) -> y (Float[1])"]


@pytest.mark.parametrize(
    ("printed", "expected"),
    [("8.5.2", "8.5.2"), ("8001", "8.0.1"), ("8502", "8.5.2"), ("101600", "10.16.0"), ("110401", "11.4.1")],
)
def test_versions(printed, expected):
    assert version(printed) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"TensorRT version: 8001", ("TensorRT", "8.0.1")),
        (b"&&&& RUNNING TensorRT.trtexec [TensorRT v101600] [b72] # trtexec", ("TensorRT", "10.16.0")),
        (
            b"trt_int8: building with TensorRT-RTX 1.7.1.116 for sm89",
            ("TensorRT-RTX", "1.7.1.116"),
        ),
        (b"trt_int8: building with TensorRT 10.16.1.11 for current", ("TensorRT", "10.16.1.11")),
        (b"&&&& RUNNING TensorRT-RTX.tensorrt_rtx [TensorRT-RTX v1701] # x", ("TensorRT-RTX", "1.7.1")),
        (b"TensorRT encountered issues when converting weights", None),
    ],
)
def test_what_a_message_says(message, expected):
    assert said_version(message) == expected


def test_our_own_log_says_version_and_product():
    lines = ["[I] trt_int8: building with TensorRT-RTX 1.7.1.116 for sm89", *ENGINE]
    report = PrecisionReport.from_lines(lines)
    (build,) = report.to_dict()["builds"]
    assert (build["tensorrt"], build["product"]) == ("1.7.1.116", "TensorRT-RTX")
    assert report.to_text().startswith("TensorRT-RTX 1.7.1.116: 1 of 1 ")


def test_a_second_build_begins_with_its_version():
    lines = [
        "[I] trt_int8: building with TensorRT-RTX 1.7.1.116 for sm89",
        *ENGINE,
        "[I] trt_int8: building with TensorRT 10.16.1.11 for current",
        *ENGINE,
    ]
    builds = PrecisionReport.from_lines(lines).builds
    assert [(build.product, build.tensorrt) for build in builds] == [
        ("TensorRT-RTX", "1.7.1.116"),
        ("TensorRT", "10.16.1.11"),
    ]
    assert [build.first_line for build in builds] == [1, 4]
