"""Which TensorRT wrote a log: in trtexec's lines, and in those of ``trt-int8 build``."""

import pytest

from trt_int8.report import PrecisionReport
from trt_int8.report.versions import said_version, version

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
