"""Reasons: on built engines for what TensorRT-RTX reaches, on real and written logs of TensorRT ≤ 10 for the rest."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from places import CORPUS, requires_corpus

from trt_int8.errors import ReportError
from trt_int8.report import Layer, PrecisionReport, Tensor
from trt_int8.report.explain.reasons import explicit_reason
from trt_int8.report.read.network import Network, NetworkNode

LOGS = Path(__file__).parent / "logs"


def node_reasons(build):
    return {node.node: node.reason.code if node.reason else None for node in build.nodes}


# Read off the network that was built (Q/DQ by name) and the datatypes in the Layers: section.
RTX = {
    "rtx_weights_only": ("c", "not_offered", "c (Conv) is not quantized: its operand data has no Q/DQ pair"),
    "rtx_activations_only": ("c", "not_offered", "its operand w1 has no Q/DQ pair"),
    "rtx_conv_transpose": ("ct", "no_int8_kernel", "its kernel reads fp32"),
    "rtx_average_pool": ("avg", "no_int8_kernel", "its kernel reads fp32"),
    "rtx_lenet_wrong_axis": ("ip1", "mixed", "__mye1814_dconst_myl0 fp32"),
    "rtx_lenet_float": ("conv1", "not_offered", "the log has no Q/DQ nodes"),
    "rtx_attention": ("sm", "not_offered", "sm (Softmax) is not quantized: its input s has no Q/DQ pair"),
}


@pytest.mark.parametrize("name", RTX)
def test_reasons_on_tensorrt_rtx(name):
    path = LOGS / f"{name}.log"
    build = PrecisionReport.from_log(path).last
    wanted, code, text = RTX[name]
    node = next(node for node in build.nodes if node.node == wanted)
    assert node.reason.code == code
    assert text in node.reason.text
    lines = path.read_text().split("\n")
    for evidence in node.reason.evidence:
        # The line that is named says what the evidence says: the layer, or the node.
        name_in_line = evidence.text.split(":")[0].split(" ")[-1] if ": reads" in evidence.text else wanted
        assert name_in_line in lines[evidence.line - 1]


def test_int8_nodes_and_int8_io_need_no_reason():
    reasons = node_reasons(PrecisionReport.from_log(LOGS / "rtx_lenet_qdq.log").last)
    assert {reasons[node] for node in ("conv1", "conv2", "ip1", "ip2", "pool1", "pool2")} == {None}
    assert reasons["relu1"] == reasons["prob"] == "not_offered"


def test_an_epilogue_is_not_blamed_on_the_convolution():
    build = PrecisionReport.from_log(LOGS / "rtx_lenet_qdq.log").last
    layer = next(layer for layer in build.layers if layer.name == "__myl_MulAddMulMinMaxRounCast_myl0_2")
    assert layer.reason.code == "not_offered"
    assert "multiplies in another kernel" in layer.reason.text


IMPLICIT = """\
[I] Precision: FP32+INT8
[V] [TRT] *************** Autotuning format combination: Float(192,64,8,1) -> Float(256,64,8,1) ***************
[V] [TRT] --------------- Timing Runner: conv1 (CaskConvolution)
[V] [TRT] Tactic: 0x01 Time: 0.010
[V] [TRT] Fastest Tactic: 0x01 Time: 0.010
{tried}
[V] [TRT] *************** Autotuning Reformat: Float(192,64,8,1) -> Int8(64,64:4,8,1) ***************
[V] [TRT] --------------- Timing Runner: Optimizer Reformat(x -> <out>) (Reformat)
[V] [TRT] Tactic: 0x00 Time: 0.005
[V] [TRT] Fastest Tactic: 0x00 Time: 0.005
[V] [TRT] *************** Autotuning Reformat: Int8(64,64:4,8,1) -> Float(256,64,8,1) ***************
[V] [TRT] --------------- Timing Runner: Optimizer Reformat(y -> <out>) (Reformat)
[V] [TRT] Tactic: 0x00 Time: 0.003
[V] [TRT] Fastest Tactic: 0x00 Time: 0.003
[V] [TRT] Engine Layer Information:
Layer(CaskConvolution): conv1, Tactic: 0x01, x (Float[1,3,8,8]) -> y (Float[1,4,8,8])
"""
SLOWER = """\
[V] [TRT] *************** Autotuning format combination: Int8(64,64:4,8,1) -> Int8(64,64:4,8,1) ***************
[V] [TRT] --------------- Timing Runner: conv1 (CaskConvolution)
[V] [TRT] Tactic: 0x02 Time: 0.020
[V] [TRT] Fastest Tactic: 0x02 Time: 0.020"""
NO_KERNEL = """\
[V] [TRT] *************** Autotuning format combination: Int8(64,64:4,8,1) -> Float(256,64,8,1) ***************
[V] [TRT] --------------- Timing Runner: conv1 (CaskConvolution)
[V] [TRT] CaskConvolution has no valid tactics for this config, skipping"""
MISSING = "[W] [TRT] Missing scale and zero-point for tensor x, expect fall back to non-int8 implementation"
CONSTRAINED = "[W] [TRT] No implementation of layer conv1 obeys the requested constraints in strict mode."


def implicit(tried, **options):
    return IMPLICIT.replace("{tried}", tried)


@pytest.mark.parametrize(
    ("tried", "code", "line", "texts"),
    [
        (
            SLOWER,
            "slower",
            9,
            [
                "best INT8 tactic: 0.02 ms",
                "chosen: 0.01 ms",
                "2 reformats",
                "x fp32 to int8",
                "about 0.008 ms",
            ],
        ),
        (NO_KERNEL, "no_int8_kernel", 8, ["1 format combination", "CaskConvolution no_tactic"]),
        (MISSING, "no_scale", 6, ["x has no scale"]),
        (CONSTRAINED, "not_offered", 6, ["constraint"]),
        ("", "not_offered", 5, ["tuned with fp32 only"]),
    ],
)
def test_implicit_builds(tried, code, line, texts):
    (layer,) = PrecisionReport.from_lines(implicit(tried).splitlines()).last.layers
    assert layer.reason.code == code
    assert layer.reason.evidence[0].line == line
    for text in texts:
        assert text in layer.reason.text


def test_int8_not_enabled():
    log = implicit("").replace("FP32+INT8", "FP32+FP16")
    (layer,) = PrecisionReport.from_lines(log.splitlines()).last.layers
    assert (layer.reason.code, layer.reason.evidence[0].line) == ("not_offered", 1)
    assert "not enabled" in layer.reason.text


def test_a_layer_alone_is_unknown_and_says_what_was_looked_for():
    log = "Engine Layer Information:\nLayer(Foo): a, Tactic: 0x01, x (Float[1]) -> y (Float[1])"
    (layer,) = PrecisionReport.from_lines([log]).last.layers
    assert layer.reason.code == "unknown"
    assert "INT8 format combination" in layer.reason.text


def test_the_cache_tells_which_tensor_has_no_scale(tmp_path):
    log, cache = tmp_path / "build.log", tmp_path / "calibration.cache"
    log.write_text(implicit(""))
    cache.write_text("TRT-8601-EntropyCalibration2\ny: 3c008912\n")
    (layer,) = PrecisionReport.read(log, cache=cache).last.layers
    assert layer.reason.code == "no_scale"
    assert "calibration cache has no scale for x" in layer.reason.text
    cache.write_text("TRT-8601-EntropyCalibration2\nx: 3c008912\ny: 3c008912\n")
    (layer,) = PrecisionReport.read(log, cache=cache).last.layers
    assert layer.reason.code == "not_offered"


def test_the_model_gives_operators_and_finds_the_missing_dq(tmp_path):
    """Layer information alone knows no network; with the model the reason names the tensor."""
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    scale = [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.int8(0), "z")]
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="x_q"),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="x_dq"),
            helper.make_node("Conv", ["d", "w"], ["y"], name="conv"),
        ],
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", 1, [1, 4, 6, 6])],
        [weight, *scale],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "m.onnx",
    )
    info = tmp_path / "info.json"
    info.write_text(
        '{"Layers": [{"Name": "conv", "LayerType": "CaskConvolution", "Inputs": [{"Name": "x", "Dimensions": '
        '[1,3,8,8], "Format/Datatype": "Half"}], "Outputs": []}], "Bindings": []}'
    )
    (without,) = PrecisionReport.read(info).last.nodes
    assert without.reason.code == "unknown"
    (node,) = PrecisionReport.read(info, model=tmp_path / "m.onnx").last.nodes
    assert (node.op, node.precision, node.reason.code) == ("Conv", "fp16", "not_offered")
    assert "its operand w has no Q/DQ pair" in node.reason.text


@requires_corpus
def test_real_logs_of_tensorrt_up_to_10():
    """Hand-verified: the line numbers were looked up in the logs."""
    ocr = PrecisionReport.from_log(CORPUS / "logs/trt8001_lannyyip_ocr_int8_calibcache_trtexec.log").builds[0]
    conv = next(layer for layer in ocr.layers if layer.name == "Conv_32")
    assert conv.reason.evidence[0].line == 1356
    assert "tensor 93 at input index 0" in conv.reason.evidence[0].text
    yolo = PrecisionReport.from_log(CORPUS / "logs/trt8502_trex_yolo_qat_int8_trtexec.log").last
    pool = next(layer for layer in yolo.layers if layer.name == "/backbone/maxpool/MaxPool")
    assert (pool.reason.code, pool.reason.evidence[1].line) == ("not_offered", 477)
    fp16 = PrecisionReport.from_log(CORPUS / "logs/trt101600_cookbook_mnist_trtexec.log").last
    reasons = {layer.name: layer.reason.code for layer in fp16.layers if layer.reason}
    assert reasons["node_conv2d + node_relu"] == "not_offered"
    assert reasons["{ForeignNode[node_linear]}"] == "fused"


@pytest.mark.parametrize("detailed", [True, False])
def test_live_build_on_tensorrt_rtx(detailed):
    """The committed logs are of the same builder; this one is built here. Without details Myelin hides its kernels."""
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    weight = numpy_helper.from_array(np.ones((16, 32, 2, 2), np.float32) / 9, "w")
    scale = [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.int8(0), "z")]
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="x_q"),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="x_dq"),
            helper.make_node("Conv", ["d", "w"], ["y"], name="conv"),
        ],
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 32, 8, 8])],
        [helper.make_tensor_value_info("y", 1, [1, 16, 7, 7])],
        [weight, *scale],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    class Recorder(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)
            self.lines = []

        def log(self, severity, message):
            self.lines.append(f"[{str(severity).split('.')[-1][0]}] {message}")

    recorder = Recorder()
    builder = trt.Builder(recorder)
    network = builder.create_network(0)
    assert trt.OnnxParser(network, recorder).parse(model.SerializeToString())
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    verbosity = trt.ProfilingVerbosity
    config.profiling_verbosity = verbosity.DETAILED if detailed else verbosity.LAYER_NAMES_ONLY
    assert builder.build_serialized_network(network, config) is not None
    build = PrecisionReport.from_lines(recorder.lines).last
    node = next(node for node in build.nodes if node.node == "conv")
    if detailed:
        assert (node.precision, node.reason.code) == ("fp32", "not_offered")
        assert "its operand w has no Q/DQ pair" in node.reason.text
    else:
        assert {layer.reason.code for layer in build.compute_layers} == {"fused"}


def tuned(formats, *tries):
    """Runners with the time of each one's fastest tactic, for one format combination."""
    yield f"[V] [TRT] *************** Autotuning format combination: {formats} ***************"
    for runner, time in tries:
        yield f"[V] [TRT] --------------- Timing Runner: conv1 ({runner})"
        yield f"[V] [TRT] Tactic: 0x02 Time: {time}"
        yield f"[V] [TRT] Fastest Tactic: 0x02 Time: {time}"


INT8_TO_INT8 = "Int8(64,64:4,8,1) -> Int8(64,64:4,8,1)"


def only_layer(tried):
    (layer,) = PrecisionReport.from_lines(implicit(tried).splitlines()).last.layers
    return layer


@pytest.mark.parametrize("turn", [1, -1])
def test_slower_names_the_best_of_several_int8_combinations(turn):
    wide = tuned("Int8(64,64:32,8,1) -> Int8(64,64:32,8,1)", ("CaskConvolution", "0.030"))
    narrow = tuned(INT8_TO_INT8, ("CaskConvolution", "0.020"))
    tried = "\n".join(line for part in (wide, narrow)[::turn] for line in part)
    assert (
        "best INT8 tactic: 0.02 ms with CaskConvolution (Int8(64,64:4,8,1)" in only_layer(tried).reason.text
    )


@pytest.mark.parametrize("tries", [(("A", "0.030"), ("B", "0.020")), (("B", "0.020"), ("A", "0.030"))])
def test_of_the_runners_of_one_combination_the_fastest_counts(tries):
    layer = only_layer("\n".join(tuned(INT8_TO_INT8, *tries)))
    assert "best INT8 tactic: 0.02 ms with B" in layer.reason.text
    (int8,) = [candidate for candidate in layer.candidates if candidate.inputs == ("int8",)]
    assert (int8.runner, int8.best_time_ms) == ("B", 0.02)


@pytest.mark.parametrize("time", ["0", "inf", "nan", "1e38"])
def test_a_time_that_is_no_measurement_is_none(time):
    layer = only_layer("\n".join(tuned(INT8_TO_INT8, ("A", time))))
    assert layer.reason.code == "no_int8_kernel"
    (int8,) = [candidate for candidate in layer.candidates if candidate.inputs == ("int8",)]
    assert (int8.best_time_ms, int8.outcome) == (None, "skipped")


def test_a_measurement_counts_more_than_a_missing_scale():
    assert only_layer(f"{MISSING}\n{SLOWER}").reason.code == "slower"


def test_the_choice_is_the_runner_that_the_engine_holds():
    other = "\n".join(tuned("Float(1,1,1,1) -> Float(1,1,1,1)", ("Other", "0.001")))
    assert "chosen: 0.01 ms with CaskConvolution" in only_layer(f"{SLOWER}\n{other}").reason.text


def test_copies_are_priced_for_any_tensor_where_none_was_timed_for_this_one():
    log = implicit(SLOWER).replace("Reformat(x ->", "Reformat(other ->")
    (layer,) = PrecisionReport.from_lines(log.splitlines()).last.layers
    assert "about 0.008 ms in all" in layer.reason.text


def test_each_output_must_be_quantized():
    nodes = {
        "dq": NetworkNode("dq", "DequantizeLinear"),
        "t": NetworkNode("t", "TopK"),
        "q": NetworkNode("q", "QuantizeLinear"),
    }
    for name, read, written in (("dq", ("xq",), ("x",)), ("t", ("x",), ("a", "b")), ("q", ("a",), ("aq",))):
        nodes[name].__dict__.update(inputs=read, outputs=written)
    layer = Layer("t", "TopK", (Tensor("x", "fp32"),), onnx_nodes=("t",))
    assert "needs one on its output a, b" in explicit_reason(layer, Network(nodes)).text


def test_the_float_model_beside_the_log_of_its_qdq_model(lenet_path):
    """Reasons taken from it would say that nothing asked for INT8."""
    log = Path(__file__).parent / "logs" / "rtx_lenet_qdq.log"
    with pytest.raises(
        ReportError,
        match=rf"lenet.onnx has no Q/DQ nodes, but the log .*{log.name} was made with .*; give the Q/DQ",
    ):
        PrecisionReport.read(log, model=lenet_path)
    float_log = log.with_name("rtx_lenet_float.log")
    assert PrecisionReport.read(float_log, model=lenet_path).last.nodes
