"""Each grammar and each prefix, in small samples written by hand after the real logs."""

import gzip
from pathlib import Path

import pytest
from places import CORPUS, requires_corpus

from trt_int8.errors import ReportError
from trt_int8.report import PrecisionReport
from trt_int8.report.kernel_names import kernel_type
from trt_int8.report.parser import observe
from trt_int8.report.prefixes import PREFIX, level
from trt_int8.report.reading import read_lines

LOGS = Path(__file__).parent / "logs"

NAME = "conv1.weight + /q/QuantizeLinear + /conv1/Conv"
BLANK = " "  # many lines end in one
BUILD_85 = f"""\
Adding network input: x with dtype: float32, dimensions: (1, 3, 8, 8)
Parsing node: /q/QuantizeLinear [QuantizeLinear]
/q/QuantizeLinear [QuantizeLinear] inputs: [conv1.weight -> (4, 3, 3, 3)[FLOAT]], [s -> ()[FLOAT]],{BLANK}
/q/QuantizeLinear [QuantizeLinear] outputs: [wq -> (4, 3, 3, 3)[INT8]],{BLANK}
Parsing node: /conv1/Conv [Conv]
/conv1/Conv [Conv] inputs: [x -> (1, 3, 8, 8)[FLOAT]], [wd -> (4, 3, 3, 3)[FLOAT]], [optional input, not set],{BLANK}
/conv1/Conv [Conv] outputs: [y -> (1, 4, 8, 8)[FLOAT]],{BLANK}
=============== Computing costs for{BLANK}
*************** Autotuning format combination: Int8(64,64:4,8,1) -> Float(256,64,8,1) ***************
--------------- Timing Runner: {NAME} (CudaDepthwiseConvolution)
CudaDepthwiseConvolution has no valid tactics for this config, skipping
--------------- Timing Runner: {NAME} (CaskConvolution)
{NAME} Set Tactic Name: i8_kernel_time 3 Tactic: 0x00000000000000aa
Tactic: 0x00000000000000aa Time: 0.04
{NAME} Set Tactic Name: i8_other Tactic: 0x00000000000000ab
Tactic: 0x00000000000000ab Time: 0.02
Fastest Tactic: 0x00000000000000ab Time: 0.02
>>>>>>>>>>>>>>> Chose Runner Type: CaskConvolution Tactic: 0x00000000000000ab
*************** Autotuning format combination: Float(192,64,8,1) -> Float(256,64,8,1) ***************
--------------- Timing Runner: {NAME} (CudnnConvolution)
Tactic: 0x0000000000000001 skipped. Scratch requested: 9999, available: 16
Tactic: 0x0000000000000002 Time: 0.011
Fastest Tactic: 0x0000000000000002 Time: 0.011
=============== Computing reformatting costs
*************** Autotuning Reformat: Float(192,64,8,1) -> Int8(64,64:4,8,1) ***************
--------------- Timing Runner: Optimizer Reformat(x -> <out>) (Reformat)
Tactic: 0x0000000000000000 Time: 0.005
Fastest Tactic: 0x0000000000000000 Time: 0.005
Engine Layer Information:
Layer(CudnnConvolution): {NAME}, Tactic: 0x0000000000000002, x (Float[1,3,8,8]) -> y (Float[1,4,8,8])
"""
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


def read(text, **prefix):
    return PrecisionReport.from_lines(text.split("\n"))


def candidates(layer):
    return {(c.inputs, c.outcome): (c.runner, c.best_time_ms, c.line) for c in layer.candidates}


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


def test_time_is_the_least_of_the_tactics_where_no_line_says_the_fastest():
    text = "\n".join(line for line in BUILD_85.splitlines() if not line.startswith("Fastest"))
    (layer,) = read(text).last.layers
    assert candidates(layer)[("int8",), "timed"][:2] == ("CaskConvolution", 0.02)


@pytest.mark.parametrize("write", ["crlf", "gzip", "utf-16", "no newline at the end", "bad bytes"])
def test_files_as_they_come(tmp_path, write):
    data = BUILD_85.encode()
    if write == "crlf":
        data = data.replace(b"\n", b"\r\n")
    elif write == "gzip":
        data = gzip.compress(data)
    elif write == "utf-16":
        data = BUILD_85.encode("utf-16")
    elif write == "no newline at the end":
        data = data.rstrip(b"\n")
    else:
        data = b"\xff\xfe\x00 noise \xf0\x28\n".replace(b"\xff\xfe", b"\xc3\x28") + data
    path = tmp_path / "build.log"
    path.write_bytes(data)
    (layer,) = PrecisionReport.from_log(path).last.layers
    (plain,) = read(BUILD_85).last.layers
    shift = 1 if write == "bad bytes" else 0
    assert (layer.name, layer.inputs, layer.outputs) == (plain.name, plain.inputs, plain.outputs)
    assert [(c.formats, c.runner, c.best_time_ms, c.line - shift) for c in layer.candidates] == [
        (c.formats, c.runner, c.best_time_ms, c.line) for c in plain.candidates
    ]


def test_lines_across_block_borders(tmp_path):
    path = tmp_path / "long.log"
    filler = "[V] Searching for input: x\r\n" * 120_000  # three blocks
    path.write_bytes((filler + BUILD_85.replace("\n", "\r\n")).encode())
    (build,) = PrecisionReport.from_log(path).builds
    assert build.layers[0].line == 120_000 + BUILD_85.count("\n")
    assert build.last_line == 120_000 + BUILD_85.count("\n")
    assert build.unrecognized_lines == 0


def test_two_builds_and_a_third_that_is_cut_off():
    cut = BUILD_85.split("Engine Layer")[0]
    builds = read(BUILD_85 + BUILD_85 + cut).builds
    size = BUILD_85.count("\n")
    assert [build.status for build in builds] == ["complete", "complete", "incomplete"]
    assert [build.first_line for build in builds] == [1, size + 1, 2 * size + 1]
    assert [len(build.layers) for build in builds] == [1, 1, 1]
    # What is known of the third: the layer was tuned, and float was the fastest.
    (layer,) = builds[2].layers
    assert (layer.name, layer.precision, layer.reason.code) == (NAME, "unknown", "slower")


def test_a_layer_line_cut_in_two_makes_the_build_incomplete():
    assert read(BUILD_85[: BUILD_85.index(" -> y (Float")]).builds[0].status == "incomplete"


def test_loading_an_engine_behind_a_build_is_no_build():
    text = (
        BUILD_85 + "&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --loadEngine=a.plan\n[I] bla\n"
    )
    assert [build.status for build in read(text).builds] == ["complete"]


def test_the_fp32_engine_that_calibrates_is_not_reported():
    calibration = """\
--------------- Timing Runner: conv1 (FusedConvActDirect)
Tactic: 1 Time: 0.5
Starting Calibration with batch size 50.
  Calibrated batch 0 in 0.002 seconds.
  Calibrated batch 1 in 0.002 seconds.
Calibration completed in 0.31 seconds.
Writing Calibration Cache for calibrator: TRT-8601-EntropyCalibration2
Original: 3 layers
*************** Autotuning format combination: Int8(1) -> Int8(1) ***************
--------------- Timing Runner: conv1 (CaskConvolution)
Tactic: 7 Time: 0.25
Fastest Tactic: 7 Time: 0.25
Engine Layer Information:
Layer(CaskConvolution): conv1, Tactic: 7, x[Int8(1)] -> y[Int8(1)]
"""
    (build,) = read(calibration).builds
    assert (build.calibration.batches, build.calibration.seconds, build.calibration.cache) == (
        2,
        0.31,
        "written",
    )
    (layer,) = build.layers
    assert candidates(layer) == {(("int8",), "timed"): ("CaskConvolution", 0.25, 12)}
    assert layer.precision == "int8"


def test_backend_strategies():
    def strategy(number, time, end):
        return f"""\
Building graph using backend strategy {number}
=============== Computing costs for conv1
*************** Autotuning format combination: Half(1) -> Half(1) ***************
--------------- Timing Runner: conv1 (CaskConvolution[0x80000009])
Tactic Name: k Tactic: 0x00aa Time: {time}
conv1 (CaskConvolution[0x80000009]) profiling completed in 0.1 seconds. Fastest Tactic: 0x00aa Time: {time}
{end}
"""

    engine = "Engine Layer Information:\nLayer(CaskConvolution): conv1, Tactic: 0x00aa, x (Half[1]) -> y (Half[1])\n"
    use = "Use backend strategy 4 with estimated inference time (0.2) as the initial choice."
    skip = "Skip backend strategy 3since its estimated inference time (0.3) is not faster than …"
    chose = "Chose this engine with backend strategy 2"

    def best(text):
        (layer,) = read(text + engine).last.layers
        return [candidate.best_time_ms for candidate in layer.candidates]

    assert best(strategy(4, 0.2, use) + strategy(3, 0.3, skip)) == [0.2]
    assert best(strategy(4, 0.2, use) + strategy(3, 0.3, skip) + strategy(2, 0.1, chose)) == [0.1]


def test_cached_results_profiles_and_myelin_tables():
    text = """\
=============== Computing costs for conv (x, 1) [a]
conv (x, 1) [a] [Int8(1,1:32), Float(2) -> Half(1)] got cached result: CaskConvolution, tactic 0x00ff, 0.0053 ms
--------------- Timing Runner: conv (x, 1) [a] (CaskConvolution[0x80000009]) [profile 1]
*************** Autotuning format combination: Float(1) -> Float(1) ***************
--------------- Timing Runner: {ForeignNode[a...b]} (Myelin[0x80000023])
ForeignNode {ForeignNode[a...b]} metadata: [ONNX Layer: a][ONNX Layer: m]
 (foreignNode) Autotuning op m: [ONNX Layer: m]
 (foreignNode) Sorted table of all evaluated tactics:
 (foreignNode) tactic_id, cost(in ms), cost/fastest_cost, prediction_correlation, kernel_name, tactic_hash, tunable_parameter
 (foreignNode)   70, 0.0132096, 1.00000, 1.46083, sm80_xmma_gemm_f32f32_f32f32_f32_nn_n_tilesize32x32x8, 0x3c,
 (foreignNode)  102, 0.0136192, 1.03101, 1.47475, sm80_xmma_gemm_i8i8_i8i32_f32_tn_n_tilesize32x32x8, 0x31,
 (foreignNode)  103, 0.0146192, 1.13101, 1.47475, sm80_xmma_gemm_i8i8_i8i32_f32_tn_n_tilesize64x32x8, 0x32,
Tactic: 0x0000000000000000 Time: 0.02
{ForeignNode[a...b]} (Myelin[0x80000023]) profiling completed in 2.1 seconds. Fastest Tactic: 0x00 Time: 0.02
Engine Layer Information:
Layer(CaskConvolution): conv (x, 1) [a], Tactic: 0x00ff, in (Int8[1,1:32]), r (Float[2]) -> out (Half[1])
Layer(Myelin): {ForeignNode[a...b]}, Tactic: 0x00, out (Half[1]) -> z (Float[1])
"""
    convolution, myelin = read(text).last.layers
    assert candidates(convolution) == {(("int8", "fp32"), "cached"): ("CaskConvolution", 0.0053, 2)}
    assert [tensor.name for tensor in convolution.inputs] == ["in", "r"]
    assert convolution.inputs[0].format == "32-wide channels"
    tables = {c.inputs: c.best_time_ms for c in myelin.candidates if c.runner.startswith("Myelin ")}
    assert tables == {("fp32",): 0.0132096, ("int8",): 0.0136192}
    assert myelin.onnx_nodes == ("a", "m")
    assert myelin.reason.code == "fused"
    assert "int8 0.0136192 ms" in myelin.reason.text


def test_tensorrt_5_runners_are_numbers():
    text = """\
[I] [TRT] --------------- Timing conv1/7x7_s2 + conv1/relu_7x7(14)
[I] [TRT] Tactic -675401754313066228 time 0.365568
[I] [TRT] Tactic 3146172331490511787 time 0.694752
[I] [TRT]
[I] [TRT] --------------- Timing conv1/7x7_s2 + conv1/relu_7x7(1)
[I] [TRT] Tactic 4 scratch requested: 8896905216, available: 10485760
[I] [TRT] --------------- Chose 14 (-675401754313066228)
"""
    (build,) = read(text).builds
    (layer,) = build.layers
    assert layer.name == "conv1/7x7_s2 + conv1/relu_7x7"
    assert {c.outcome: (c.runner, c.best_time_ms) for c in layer.candidates} == {
        "timed": ("14", 0.365568),
        "skipped": ("1", None),
    }


def test_names_that_hold_every_separator():
    name = "2-layer MLP: (a) [Fully Connected] + (b, c) -> (d) [FC]"
    text = f"Engine Layer Information:\nLayer(cudaFusedBlockLocalMLP): {name}, Tactic: 0, (e) [A]_output[Float(120,1,1)], f -> g[Int8(1)] -> h, i[Float(10,1,1)]"
    (layer,) = read(text).last.layers
    assert layer.name == name
    assert [tensor.name for tensor in layer.inputs] == ["(e) [A]_output", "f -> g"]
    assert [(tensor.name, tensor.dims) for tensor in layer.outputs] == [("h, i", (10, 1, 1))]


def test_warnings_are_kept_once_with_their_first_line_and_errors_too():
    text = (
        "[W] [TRT] odd\n" * 3
        + "[E] Error[10]: Could not find any implementation for node conv1.\n[I] [TRT] fine\n"
    )
    (build,) = read(text).builds
    assert [(line.line, line.text[:12]) for line in build.warnings.other] == [(1, "odd"), (4, "Error[10]: C")]
    assert build.unrecognized_lines == 1


def test_unknown_lines_are_counted():
    (build,) = read("nobody knows\nthis line\n" + BUILD_85).builds
    assert build.unrecognized_lines == 2


def test_a_runner_without_end_stays_bounded():
    lines = (
        ["--------------- Timing Runner: conv (X)"]
        + ["Tactic: 0x01 Time: 0.5"] * 50_000
        + ["Tactic: 0x02 Time: 0.25"]
    )
    lines += ["Engine Layer Information:", "Layer(X): conv, Tactic: 0x02, x (Half[1]) -> y (Half[1])"]
    (layer,) = PrecisionReport.from_lines(lines).last.layers
    assert [candidate.best_time_ms for candidate in layer.candidates] == [0.25]


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs", "int8"),
        ("sm80_xmma_gemm_f16f16_f16f32_f32_nn_n", "fp16"),
        ("ampere_h1688gemm_128x64", "fp16"),
        ("ampere_sgemm_64x32_sliced1x4_nn_v1", "fp32"),
        ("sm89_xmma_gemm_e4m3e4m3_e4m3f32_f32", "fp8"),
        ("something_else", "unknown"),
    ],
)
def test_datatype_of_a_kernel_name(kernel, expected):
    assert kernel_type(kernel) == expected


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("[W] ", "W"), ("[TensorRT] ERROR: ", "E"), ("[TensorRT] INFO: ", "I"), ("[TRT] ", "")],
)
def test_levels(prefix, expected):
    assert level(PREFIX.match(prefix.encode())) == expected


def test_no_such_file_names_it(tmp_path):
    with pytest.raises(ReportError, match=r"no\.log.*No such file"):
        PrecisionReport.from_log(tmp_path / "no.log")


def test_a_broken_gzip_is_refused(tmp_path):
    path = tmp_path / "a.log.gz"
    path.write_bytes(gzip.compress(BUILD_85.encode())[:-20])
    with pytest.raises(ReportError, match=r"a\.log\.gz"):
        PrecisionReport.from_log(path)


def test_without_a_complete_build_last_says_what_to_do():
    with pytest.raises(ReportError, match="verbose"):
        _ = read("nothing\n").last


def test_the_same_log_from_lines_and_from_a_file():
    path = LOGS / "rtx_lenet_qdq.log"
    assert (
        PrecisionReport.from_lines(path.read_text().split("\n")).to_dict()
        == PrecisionReport.from_log(path).to_dict()
    )


def test_a_prefix_that_is_the_beginning_of_another():
    lines = ["[V] Using enqueueV3.", *("[V] [TRT] " + line for line in BUILD_85.splitlines())]
    (build,) = PrecisionReport.from_lines(lines).builds
    assert len(build.layers[0].candidates) == 3
    assert build.unrecognized_lines == 0


def test_rows_of_a_table_without_its_beginning_are_dropped():
    """Found by fuzzing: the candidate had line 0."""
    row = " (foreignNode)  1, 0.5, 1.0, 1.0, sm80_xmma_gemm_f16f16_f16, 0x1,"
    engine = ["Engine Layer Information:", "Layer(Myelin): a, Tactic: 0x00, x (Half[1]) -> y (Half[1])"]
    (layer,) = PrecisionReport.from_lines(
        ["--------------- Timing Runner: a (Myelin)", row, *engine]
    ).last.layers
    assert layer.candidates == ()


@pytest.mark.parametrize(
    "line",
    [
        "Layer(CaskConvolution): d, Tactic: 0x01, y (Int8[1",
        "Name: d, LayerType: kgen, Inputs: [ { Name: y, Dim",
    ],
)
def test_a_build_that_ends_within_a_layer_is_incomplete(line):
    whole = "Layer(CaskConvolution): c, Tactic: 0x01, x (Int8[1]) -> y (Int8[1])"
    (build,) = PrecisionReport.from_lines(["Engine Layer Information:", whole, line]).builds
    assert build.status == "incomplete"
    assert [layer.name for layer in build.layers] == ["c"]


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


def test_warnings_are_kept_once_each_and_a_thousand_at_most():
    lines = [f"[W] [TRT] warning {index % 1500}" for index in range(3000)]
    (build,) = PrecisionReport.from_lines(lines).builds
    assert [(said.line, said.text) for said in build.warnings.other] == [
        (index + 1, f"warning {index}") for index in range(1000)
    ]


def test_a_second_section_replaces_the_first_only_if_it_is_no_shorter():
    def layer(name, tactic):
        return f"Layer(CaskConvolution): {name}, Tactic: {tactic}, x (Int8[1]) -> y (Int8[1])"

    header = "Engine Layer Information:"
    first, again = [header, layer("a", "0x01"), layer("b", "0x01")], [header, layer("a", "0x02")]
    (build,) = PrecisionReport.from_lines([*first, *again]).builds
    assert [each.tactic for each in build.layers] == ["0x01", "0x01"]
    (build,) = PrecisionReport.from_lines([*first, *again, layer("b", "0x02")]).builds
    assert [each.tactic for each in build.layers] == ["0x02", "0x02"]
