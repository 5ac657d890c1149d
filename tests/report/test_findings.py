from pathlib import Path

from places import CORPUS, requires_corpus

from trt_int8.report import Layer, PrecisionReport, Tensor
from trt_int8.report.explain.findings import bytes_moved, findings, size_in_bytes

LOGS = Path(__file__).parent / "logs"


def layer(name, source, target, kind="compute", precision="int8", dtype="int8", out="int8"):
    return Layer(
        name,
        "CaskConvolution" if kind == "compute" else "Reformat",
        inputs=(Tensor(source, dtype, (1, 4, 8, 8)),),
        outputs=(Tensor(target, out, (1, 4, 8, 8)),),
        kind=kind,
        precision=precision,
    )


def test_copies_on_both_sides():
    chain = [
        layer("in", "x", "a", kind="reformat"),
        layer("conv", "a", "b"),
        layer("out", "b", "c", kind="reformat"),
        layer("last", "c", "d"),
    ]
    assert findings(chain).reformats_on_both_sides == ("conv",)


def test_float_between_int8_is_seen_through_copies_and_not_past_other_layers():
    chain = [
        layer("one", "x", "a", out="fp32"),
        layer("quantize", "a", "b", kind="quantize", dtype="fp32"),
        layer("two", "b", "c", out="fp16"),
        layer("softmax", "c", "d", precision="fp16", dtype="fp16"),
        layer("three", "d", "e"),
    ]
    assert findings(chain).float_between_int8 == (("a", "fp32", "one", "two"),)


def test_bytes_moved_by_datatype():
    chain = [layer("one", "x", "a", out="fp32"), layer("two", "a", "b", dtype="fp32")]
    moved, unknown = bytes_moved(chain)
    # 256 elements: Int8 read and written once each, Float written and read
    assert (dict(moved), unknown) == ({"int8": 512, "fp32": 2048}, 0)


def test_int32_between_int8_layers_is_no_float():
    chain = [layer("one", "x", "a", out="int32"), layer("two", "a", "b", dtype="int32")]
    assert findings(chain).float_between_int8 == ()


def test_what_moves_nothing_is_not_counted():
    none = Layer(
        "n", "NoOp", (Tensor("x", "fp32", (4,)),), outputs=(Tensor("y", "fp32", (4,)),), kind="reformat"
    )
    data = Layer("c", "Constant", outputs=(Tensor("w", "fp32", (4,)),), kind="data")
    assert bytes_moved([none, data]) == ({}, 0)


def test_dynamic_dims_are_counted_apart():
    dynamic = Layer("a", "X", inputs=(Tensor("x", "fp32", (-1, 3)),), outputs=(Tensor("y", "fp32", (2, 3)),))
    moved, unknown = bytes_moved([dynamic])
    assert (dict(moved), unknown) == ({}, 1)
    assert size_in_bytes(Tensor("x", "int4", (3, 5))) == 7
    assert size_in_bytes(Tensor("x", "unknown", (3, 5))) is None


def test_a_real_build():
    """Two INT8 convolutions; the first writes Float, which a kernel requantizes for the second."""
    build = PrecisionReport.from_log(LOGS / "rtx_concat.log").last
    assert build.findings.float_between_int8 == (
        ("__myln_k_arg__bb1_4_myl0", "fp32", "c1_U6_myl0_2", "c2_myl0_4"),
    )


@requires_corpus
def test_float_tensors_of_a_real_qat_engine():
    build = PrecisionReport.from_log(CORPUS / "logs/trt8502_trex_yolo_qat_int8_trtexec.log").last
    found = {tensor: (dtype, source) for tensor, dtype, source, _ in build.findings.float_between_int8}
    # line 12761: the residual sum is written as Float, and quantized again (line 12762) for the next block
    dtype, source = found["/backbone/layer1/layer1.0/relu_1/Relu_output_0"]
    assert dtype == "fp32"
    assert source.startswith("backbone.layer1.0.conv2.weight + ")
