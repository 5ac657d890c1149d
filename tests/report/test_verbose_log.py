"""Builds in a log: where they begin and end, their layers and warnings."""

import pytest
from sample_builds import BUILD_85, NAME, candidates, read

from trt_int8.errors import ReportError
from trt_int8.report import PrecisionReport


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


def test_without_a_complete_build_last_says_what_to_do():
    with pytest.raises(ReportError, match="verbose"):
        _ = read("nothing\n").last


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
