"""The core of benchmarks/explicit_quality.py on the sample's LeNet, so that it cannot rot."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


class ThisInterpreter:
    """In place of the environment of the peers: only quantizers that run in this one are compared."""

    def python(self, tool):
        return sys.executable


@pytest.fixture(scope="module")
def benchmark_modules():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import explicit_quality
        from quality import data, models, quantizers, table
    finally:
        sys.path.remove(str(BENCHMARKS))
    return explicit_quality, data, models, quantizers, table


@pytest.fixture(scope="module")
def rows(benchmark_modules, lenet_path, tmp_path_factory):
    explicit_quality, data, models, quantizers, _ = benchmark_modules
    case = models.Case(
        "LeNet",
        ("trained", lenet_path.name),
        (1, 1, 28, 28),
        lambda renderer, part, count: data.digits(models.DIGITS, part, count),
        (64, 400),
        "top1",
    )
    work = tmp_path_factory.mktemp("work")
    (work / "trained").mkdir()
    (work / "trained" / lenet_path.name).write_bytes(lenet_path.read_bytes())
    wanted = ("ours", "onnxruntime, QInt8 symmetric", "onnxruntime, inputs only")
    chosen = [entry for entry in quantizers.QUANTIZERS if entry.name in wanted]
    data.Renderer.__init__, original = (lambda self, part, wheels: None), data.Renderer.__init__
    try:
        found = list(explicit_quality.compare(case, chosen, ThisInterpreter(), {}, work, quick=True))
    finally:
        data.Renderer.__init__ = original
    return {row["quantizer"]: row for row in found}


def test_ours_multiplies_all_of_lenet_in_int8(rows):
    ours = rows["ours"]
    assert (ours["int8"], ours["multiplying"], ours["target"]) == (4, 4, "rtx:sm89")
    assert ours["sqnr_db"] > 20
    assert ours["metric"] >= 94
    assert 20 < ours["peak_mib"] < 4000


def test_the_float_model_has_no_int8(rows):
    float_row = rows["float model"]
    assert float_row["int8"] == 0
    assert float_row["kernels"] < rows["ours"]["kernels"]
    assert float_row["metric"] >= 94


def test_a_peer_that_builds_is_measured_the_same_way(rows):
    peer = rows["onnxruntime, inputs only"]
    assert (peer["int8"], peer["multiplying"]) == (4, 4)
    assert 10 < peer["sqnr_db"] < 60


def test_a_peer_that_does_not_build_says_why(rows):
    refused = rows["onnxruntime, QInt8 symmetric"]
    assert "int8" not in refused
    assert "Int32" in refused["error"]


def test_the_table_says_who_is_ahead(benchmark_modules):
    table = benchmark_modules[-1]
    launched = {"int8": 8, "kernels": 90, "layers": 140, "sqnr_db": 10.0}
    assert table.ahead({"int8": 10, "kernels": 100, "layers": 120, "sqnr_db": 20.0}, launched) == [
        "10 fewer compute kernels and 20 more kernels in total"
    ]
    ours = {"int8": 10, "kernels": 100, "sqnr_db": 20.0}
    assert table.ahead(ours, {"int8": 10, "kernels": 99, "sqnr_db": 20.2}) == []
    assert table.ahead(ours, {"int8": 8, "kernels": 99, "sqnr_db": 20.3}) == [
        "0.3 dB more SQNR with 2 fewer nodes in INT8"
    ]
    assert table.ahead(ours, {"int8": 11, "kernels": 90, "sqnr_db": 10.0}) == [
        "1 more nodes in INT8",
        "10 fewer compute kernels",
    ]


def test_the_table_says_by_what_nobody_is_ahead(benchmark_modules):
    *_, quantizers, table = benchmark_modules
    ours = {"quantizer": "ours", "int8": 10, "kernels": 100, "sqnr_db": 20.0}
    rows = [ours, {**ours, "quantizer": "peer", "kernels": 99, "sqnr_db": 20.2}]
    said = (
        "No other quantizer has more nodes in INT8, fewer compute kernels (by more than 2 %) or a higher SQNR (by "
        "more than 0.2 dB) than our default."
    )
    assert table._ahead(rows) == [said]
    # Variants of ours are no peers, however good.
    variants = [
        entry.name for entry in quantizers.QUANTIZERS if entry.tool == "ours" and entry.name != "ours"
    ]
    better = [{**ours, "quantizer": name, "int8": 11} for name in variants]
    assert len(better) == 2
    assert table._ahead([*rows, *better]) == [said]
    rows[1]["kernels"] = 97
    assert table._ahead(rows) == ["Ahead of our default:", "", "- peer has 3 fewer compute kernels."]


def test_the_variant_has_a_scale_a_channel(benchmark_modules, tmp_path, rng):
    quantizers = benchmark_modules[3]
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 13]> m (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] z) {'
        " a = Conv<pads = [1, 1, 1, 1]>(x, v) b = Relu(a) z = Conv<pads = [1, 1, 1, 1]>(b, w) }"
    )
    for name in "vw":
        weight = rng.uniform(-1, 1, (4, 4, 3, 3)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    onnx.save(model, tmp_path / "float.onnx")
    images = rng.normal(size=(4, 4, 8, 8)).astype(np.float32)
    scales = {}
    for name in ("ours", "ours, --without one-scale-convolution"):
        (chosen,) = [entry for entry in quantizers.QUANTIZERS if entry.name == name]
        quantizers.ours(tmp_path / "float.onnx", images, tmp_path / "q.onnx", **chosen.options)()
        graph = onnx.load(tmp_path / "q.onnx").graph
        sizes = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
        pairs = {node.output[0]: sizes[node.input[1]] for node in graph.node if "Dequantize" in node.op_type}
        scales[name] = [pairs[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    assert list(scales.values()) == [[0, 0], [1, 1]]


def test_a_row_without_an_engine_is_printed_with_its_reason(benchmark_modules, rows):
    table = benchmark_modules[-1]
    result = {"rows": list(rows.values()), "versions": {"onnx": "1"}, "minutes": 0.1}
    text = table.markdown(result)
    assert "| ours (" in text
    assert "Does not build:\n\n- onnxruntime, QInt8 symmetric: `" in text
    assert text.count("4 of 4") == 2
