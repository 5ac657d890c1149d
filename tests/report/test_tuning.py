"""Candidates of a layer: the grammars in which tactics and their times are told."""

import pytest
from sample_builds import BUILD_85, candidates, read

from trt_int8.report import PrecisionReport
from trt_int8.report.read.datatypes import kernel_type


def test_time_is_the_least_of_the_tactics_where_no_line_says_the_fastest():
    text = "\n".join(line for line in BUILD_85.splitlines() if not line.startswith("Fastest"))
    (layer,) = read(text).last.layers
    assert candidates(layer)[("int8",), "timed"][:2] == ("CaskConvolution", 0.02)


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


def test_rows_of_a_table_without_its_beginning_are_dropped():
    """Found by fuzzing: the candidate had line 0."""
    row = " (foreignNode)  1, 0.5, 1.0, 1.0, sm80_xmma_gemm_f16f16_f16, 0x1,"
    engine = ["Engine Layer Information:", "Layer(Myelin): a, Tactic: 0x00, x (Half[1]) -> y (Half[1])"]
    (layer,) = PrecisionReport.from_lines(
        ["--------------- Timing Runner: a (Myelin)", row, *engine]
    ).last.layers
    assert layer.candidates == ()
