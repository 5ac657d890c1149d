"""Every real log and layer information: all layers, held against counts that are not the parser's."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from places import CORPUS, corpus_files, requires_corpus

from trt_int8.report import PrecisionReport

LOGS = Path(__file__).parent / "logs"

# Counted with `grep -c '^Layer('` (one-line form) or in the Layers: section by eye, engine by engine.
LAYERS = {
    "trt101401_cookbook_mnist_trtexec": [16],
    "trt101600_cookbook_NetworkSerialization": [8],
    "trt101600_cookbook_mnist_trtexec": [17],
    "trt101601_cookbook_trtexec_result04": [9],
    "trt1016_cookbook_DynamicQuantize_fp4": [2],
    "trt1016_cookbook_EngineInspector": [26],
    "trt1016_cookbook_Sparsity_pyapi": [5],
    "trt1016_cookbook_TacticTimingCache_plugin": [2, 2],
    "trt1016_cookbook_rtxdir_trt-verbose": [1],
    "trt8003_cookbook_mnist_fp16_trtexec": [10],
    "trt8003_cookbook_mnist_fp32_trtexec": [10],
    "trt82_cookbook_TimingCache_create": [11],
    "trt8401_cookbook_AlignSize_8runs_trtexec": [24, 24, 24, 24],
    "trt8401_cookbook_mnist_fp16_trtexec": [12],
    "trt8401_cookbook_mnist_fp32_trtexec": [12],
    "trt84_cookbook_Logger_pyapi": [1],
    "trt84_cookbook_ProfilingVerbosity_pyapi": [11],
    "trt84_cookbook_Sparsity_pyapi": [20, 20],
    "trt8502_trex_yolo_qat_int8_trtexec": [86],
    "trtrtx_cookbook_trtrtx-verbose": [1],
}


def sections(path):
    """Layer names by section, found line by line with none of the parser's code."""
    found, current = [], None
    for line in path.read_bytes().decode("utf-8", "replace").split("\n"):
        text = re.sub(r"^.*?(?=Engine Layer Information:|Layers:|Layer\(\w)", "", line.rstrip("\r"))
        if text in ("Engine Layer Information:", "Layers:"):
            current = []
            found.append(current)
        elif re.match(r"Layer\(\w+\): ", text):
            if current is None:
                current = []
                found.append(current)
            current.append(text.split("): ", 1)[1].split(", Tactic: ", 1)[0])
        elif line.startswith("Name: ") and ", LayerType: " in line:
            current.append(line[6:].split(", LayerType: ", 1)[0])
    return [section for section in found if section]


@pytest.mark.parametrize("path", corpus_files("logs", "*.log"))
def test_layers_are_those_of_the_engine_information(path):
    report = PrecisionReport.from_log(path)
    got = [[layer.name for layer in build.layers] for build in report.builds if build.status == "complete"]
    expected = sections(path)
    if path.stem == "trt8502_bevfusion_resnet50_fp16int8_FRAG":
        expected = expected[:1]  # the excerpt holds one line of the second dump of the same engine
    assert got == expected
    if path.stem in LAYERS:
        assert [len(layers) for layers in got] == LAYERS[path.stem]


@pytest.mark.parametrize("path", corpus_files("logs", "*.log"))
def test_builds_cover_lines_in_order_and_every_view_renders(path):
    report = PrecisionReport.from_log(path)
    lines = path.read_bytes().count(b"\n") + 1
    assert report.builds[0].first_line == 1
    ends = [(build.first_line, build.last_line) for build in report.builds]
    assert all(first <= last for first, last in ends)
    assert all(before[1] + 1 == after[0] for before, after in pairwise(ends))
    assert ends[-1][1] <= lines
    assert all(0 <= build.unrecognized_lines <= lines for build in report.builds)
    assert json.loads(report.to_json())["schema"] == 1
    for view in (report.to_text(), report.to_csv(), report.to_markdown()):
        assert view


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.log")), ids=lambda path: path.stem)
def test_own_logs_have_the_layers_of_their_section(path):
    (build,) = PrecisionReport.from_log(path).builds
    assert [[layer.name for layer in build.layers]] == sections(path)


# {"Layers": [...]}: counted by json alone.
@pytest.mark.parametrize(
    "path", corpus_files("layer_info", "*.graph.json") + corpus_files("layer_info", "*layerinfo.json")
)
def test_layer_information_in_json(path):
    names = [
        entry if isinstance(entry, str) else entry["Name"]
        for entry in json.loads(path.read_bytes())["Layers"]
    ]
    assert [layer.name for layer in PrecisionReport.read(path).last.layers] == names


@requires_corpus
def test_int8_layers_of_a_real_qat_engine():
    """All 43 convolutions read Int8 in the log; `grep -c 'Layer(CaskConvolution)'` gives 43."""
    build = PrecisionReport.from_log(CORPUS / "logs/trt8502_trex_yolo_qat_int8_trtexec.log").last
    assert build.tensorrt == "8.5.2"
    assert len(build.int8_layers) == 43
    assert {layer.type for layer in build.int8_layers} == {"CaskConvolution"}
    convolutions = [node for node in build.nodes if node.op == "Conv"]
    assert len(convolutions) == 43
    assert {node.precision for node in convolutions} == {"int8"}
    kinds = [layer.kind for layer in build.layers]
    names = [layer.name for layer in build.layers if layer.type == "Reformat"]
    copies = [name for name in names if name.startswith("Reformatting CopyNode") or name.endswith(" copy")]
    assert [layer.name for layer in build.layers if layer.kind == "reformat"] == copies
    assert kinds.count("quantize") == len(names) - len(copies) == 12


@requires_corpus
def test_kept_backend_strategy_is_the_one_reported():
    """10.16 tunes with strategies 4, 3 and 2, and says it keeps 4 (lines 555 to 2806)."""
    build = PrecisionReport.from_log(CORPUS / "logs/trt101600_cookbook_mnist_trtexec.log").last
    lines = [candidate.line for layer in build.layers for candidate in layer.candidates]
    assert lines
    assert min(lines) >= 555
    assert max(lines) <= 2806
    convolution = next(layer for layer in build.layers if layer.name == "node_conv2d + node_relu")
    best = {
        candidate.formats: candidate.best_time_ms
        for candidate in convolution.candidates
        if candidate.outcome == "timed"
    }
    assert best["Float(784,784,28,1) -> Float(25088,784,28,1)"] == 0.00403289
    assert best["Half(784,1:2,28,1) -> Half(12544,1:2,448,16)"] == 0.0032534
    assert convolution.tactic == "0x98e92db98836b738"
    gemm = next(layer for layer in build.layers if layer.name == "{ForeignNode[node_linear]}")
    tables = {c.inputs[0]: c.best_time_ms for c in gemm.candidates if c.runner.startswith("Myelin sm80_xmma")}
    assert tables == {"fp32": 0.0132096, "fp16": 0.0065536}
    assert gemm.onnx_nodes == ("node_linear",)


@requires_corpus
def test_candidates_of_a_calibrated_build_cut_off_by_a_crash():
    """8.0.1: read from lines 2849 to 3214 of the log by hand."""
    build = PrecisionReport.from_log(CORPUS / "logs/trt8001_lannyyip_ocr_int8_calibcache_trtexec.log").builds[
        0
    ]
    assert build.status == "incomplete"
    assert build.tensorrt == "8.0.1"
    layer = next(layer for layer in build.layers if layer.name == "Conv_44")
    timed = {
        (c.inputs, c.outputs, c.formats): c.best_time_ms for c in layer.candidates if c.outcome == "timed"
    }
    assert (
        timed[("int8",), ("int8",), "Int8(245760,122880:32,240,1) -> Int8(245760,122880:32,240,1)"]
        == 0.076952
    )
    assert (
        timed[("fp32",), ("fp32",), "Float(7864320,122880,240,1) -> Float(7864320,122880,240,1)"] == 0.693368
    )
    assert build.calibration.cache == "read"
    reasons = {layer.name: layer.reason.code for layer in build.layers if layer.reason}
    assert reasons["Conv_32"] == "no_scale"
    assert "Conv_44" not in reasons  # INT8 was the fastest when the log ended


@requires_corpus
def test_missing_scales_by_name():
    report = PrecisionReport.from_log(
        CORPUS / "logs/trt10_cookbook_polygraphy_convert_int8_missing-scale.log"
    )
    missing = report.builds[0].warnings.missing_scale
    assert len(missing) == 19
    assert missing[0] == "conv2d"
    assert missing[-2:] == ("node_argmax_output (1)", "ONNXTRT_castHelper_8_output")


@requires_corpus
def test_calibration_run():
    (build,) = PrecisionReport.from_log(CORPUS / "logs/trt7x_README_sampleINT8_calibration.log").builds
    assert (build.calibration.batches, build.calibration.seconds, build.calibration.cache) == (
        10,
        0.317902,
        "written",
    )


@requires_corpus
def test_a_build_failure_keeps_what_was_tried():
    (build,) = PrecisionReport.from_log(
        CORPUS / "logs/trt86_issue3579_qdq_int8_build-failure_FRAG.log"
    ).builds
    (layer,) = build.layers
    assert layer.reason.code == "no_int8_kernel"
    assert layer.reason.evidence[0].line == 5
    (candidate,) = [c for c in layer.candidates if c.inputs == ("int8", "fp32")]
    assert (candidate.outputs, candidate.outcome) == (("fp32",), "no_tactic")
