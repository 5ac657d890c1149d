"""The real TensorRT-RTX builder, without a GPU."""

import numpy as np
import onnx
import pytest
from builds import fresh_process, multiplying, precisions
from onnx import TensorProto, helper, numpy_helper

from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.errors import BuildError, MissingDependencyError, QuantizationError
from trt_int8.graph import parse_shapes
from trt_int8.pipeline import Profile, QuantizationOptions
from trt_int8.pipeline.build import build_engine
from trt_int8.quantization import quantize
from trt_int8.report import PrecisionReport
from trt_int8.target import Target


def test_the_log_shows_what_multiplies_in_int8(built):
    assert multiplying(built.report) == dict.fromkeys(["conv1", "conv2", "ip1", "ip2"], "int8")
    assert len(built.report.last.int8_layers) == 4
    assert built.engine.stat().st_size == len(built.serialized_engine.data) > 100_000
    assert (built.serialized_engine.target, built.route) == ("rtx:sm89", "explicit")
    # the report is the log's: reading the file again gives the same
    assert PrecisionReport.from_log(built.log).to_dict() == built.report.to_dict()


def test_without_qdq_nothing_runs_in_int8(lenet_path, tensorrt, tmp_path):
    with BuildLog(tmp_path / "float.log") as log:
        build_explicit(onnx.load(lenet_path), tensorrt=tensorrt, log=log)
    report = PrecisionReport.from_log(tmp_path / "float.log")
    assert multiplying(report) == dict.fromkeys(["conv1", "conv2", "ip1", "ip2"], "fp32")
    assert report.last.int8_layers == ()


def test_a_gemm_with_weight_qdq_on_the_wrong_axis_is_not_int8(lenet_path, lenet_ranges, tensorrt):
    model = quantize(lenet_path, lenet_ranges, placement="tensorrt").model
    dequantize = next(n for n in model.graph.node if n.name == "ip1_weight_DQ")
    dequantize.attribute[0].i = 1
    for tensor in model.graph.initializer:
        if tensor.name in dequantize.input[1:]:
            values = np.resize(numpy_helper.to_array(tensor), 800)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.checker.check_model(model, full_check=True)
    log = BuildLog()
    build_explicit(model, tensorrt=tensorrt, log=log)
    report = PrecisionReport.from_lines(log.lines)
    assert multiplying(report) == {
        "conv1": "int8",
        "conv2": "int8",
        "ip1": "weight_dequantized",
        "ip2": "int8",
    }


def test_targets(lenet_qdq_path, tensorrt):
    gpus = [gpu for gpu in tensorrt.gpus if gpu not in ("current", "sm75")]
    assert {"sm80", "sm86", "sm89", "sm120", "sm121"} <= set(gpus)
    targets = [f"rtx:{gpu}" for gpu in gpus]
    found = fresh_process(f"""
import onnx
from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.report import PrecisionReport
for target in {targets!r}:
    log = BuildLog()
    built = build_explicit(onnx.load({str(lenet_qdq_path)!r}), tensorrt=load(target=target), log=log, target=target)
    print(built.target, len(PrecisionReport.from_lines(log.lines).last.int8_layers))
""")
    assert found.splitlines() == [f"{target} 4" for target in targets]


def test_unknown_target_is_found_before_anything_runs(lenet_path, tmp_path):
    def never():
        raise AssertionError("calibration started")
        yield

    with pytest.raises(
        BuildError, match="support target 'rtx:sm42'; supported targets: rtx:current, rtx:sm75, "
    ):
        build_engine(lenet_path, tmp_path / "e", batches=never(), target="sm42")
    assert not list(tmp_path.iterdir())


def test_qdq_model_is_built_as_it_is(lenet_path, lenet_ranges, tmp_path):
    model = quantize(lenet_path, lenet_ranges, placement="tensorrt").model
    result = build_engine(model, tmp_path / "e")
    assert result.quantized is None
    assert result.reason == "the model holds Q/DQ nodes"
    assert len(result.report.last.int8_layers) == 4
    with pytest.raises(BuildError, match="leave batches= and ranges= out"):
        build_engine(model, tmp_path / "e", ranges=lenet_ranges)
    for name, value in (("placement", "rtx"), ("algorithm", "mse")):
        with pytest.raises(BuildError, match=f"is built unchanged; leave {name}= out, or give the"):
            build_engine(model, tmp_path / "e", options=QuantizationOptions(**{name: value}))


def test_biases_are_corrected_with_data_unless_told(lenet_path, lenet_ranges, digits, tmp_path):
    batches = [{"data": image[None]} for image in digits["calibration"][:20]]
    told = []
    corrected = build_engine(lenet_path, tmp_path / "e", batches=batches, tell=told.append)
    beginning = "biases corrected with 15 samples, evaluated on 5 others: ip2 "
    assert sum(line.startswith(beginning) for line in told) == 1
    without = QuantizationOptions(bias_correction=False)
    plain = build_engine(lenet_path, tmp_path / "p", batches=batches, options=without, tell=told.append)
    assert sum("biases" in line for line in told) == 1
    assert plain.quantized.scales == corrected.quantized.scales
    assert plain.record.sqnr_db == pytest.approx(corrected.record.before_db)
    asked = QuantizationOptions(bias_correction=True)
    with pytest.raises(QuantizationError, match=r"bias_correction: .* needs samples; give batches="):
        build_engine(lenet_path, tmp_path / "x", ranges=lenet_ranges, options=asked)
    assert not (tmp_path / "x").exists()


def test_token_ids_feed_an_embedding_and_are_not_quantized(make_model, tmp_path, rng):
    model = make_model(
        [
            helper.make_node("Gather", ["table", "ids"], ["e"]),
            helper.make_node("Mul", ["e", "mask"], ["m"]),
            helper.make_node("MatMul", ["m", "w"], ["y"], name="fc"),
        ],
        inputs={"ids": ["n", "tokens"], "mask": ["n", "tokens", 1]},
        outputs=["y"],
        weights={
            "table": rng.normal(size=(50, 64)).astype(np.float32),
            "w": rng.normal(size=(64, 32)).astype(np.float32),
        },
    )
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    batches = [{"ids": rng.integers(0, 50, (2, 16)), "mask": np.ones((2, 16, 1), np.float32)}]
    shapes = parse_shapes(["ids:1x16,2x16,4x32,mask:1x16x1,2x16x1,4x32x1"])
    result = build_engine(model, tmp_path / "e", batches=batches, profile=Profile(shapes=shapes))
    assert "ids" not in result.calibration.ranges
    assert precisions(result.report)["fc"] == "int8"
    assert [
        node.input[0] for node in result.quantized.model.graph.node if node.op_type == "QuantizeLinear"
    ] == ["m"]


def test_constant_nodes_and_external_data_hold_weights(lenet_path, lenet_ranges, tmp_path):
    """Both forms give the Q/DQ kernels that initializers in the file give."""
    model = onnx.load(lenet_path)
    nodes = [
        helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer
    ]
    kept = [*nodes, *model.graph.node]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(kept)
    result = build_engine(model, tmp_path / "constant.engine", ranges=lenet_ranges)
    assert multiplying(result.report) == dict.fromkeys(["conv1", "conv2", "ip1", "ip2"], "int8")

    onnx.save(
        onnx.load(lenet_path),
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="m.data",
        size_threshold=0,
    )
    assert (tmp_path / "m.onnx").stat().st_size < 10_000
    external = build_engine(tmp_path / "m.onnx", tmp_path / "external.engine", ranges=lenet_ranges)
    assert multiplying(external.report) == multiplying(result.report)


def test_neither_data_nor_ranges_or_both(lenet_path, lenet_ranges, digits, tmp_path):
    with pytest.raises(ValueError, match="needs samples or ranges: give batches= or ranges="):
        build_engine(lenet_path, tmp_path / "e")
    batches = [{"data": image[None]} for image in digits["calibration"][20:40]]
    both = build_engine(lenet_path, tmp_path / "e", batches=batches, ranges=lenet_ranges)
    placed = quantize(lenet_path, lenet_ranges, placement="rtx")
    assert both.quantized.scales == placed.scales  # the samples correct and judge only
    assert both.calibration is None
    assert (both.record.ranges, both.record.samples, both.record.evaluated) == ("given", 0, 5)
    assert both.record.worst_db > 20


def test_capabilities(tensorrt):
    assert tensorrt.builds_ahead_of_time
    assert not tensorrt.has_implicit_int8
    assert tensorrt.gpus[0] == "current"
    assert tensorrt.target() == Target("tensorrt_rtx", "sm89")
    assert tensorrt.target("current") == Target("tensorrt_rtx", "current")
    with pytest.raises(
        BuildError, match="does not support target 'tensorrt'; supported targets: rtx:current, "
    ):
        tensorrt.target("tensorrt")
    assert tensorrt.name.startswith("TensorRT-RTX 1.")


def test_a_missing_tensorrt_names_the_command(monkeypatch):
    import importlib

    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(
        MissingDependencyError, match="pip install tensorrt-rtx-cu13 .*pip install 'tensorrt-cu12>=10,<11'"
    ):
        load()


@pytest.mark.parametrize("size", ["8", 8.0])
def test_a_batch_size_that_is_no_whole_number(lenet_path, tmp_path, size):
    with pytest.raises(TypeError, match=rf"batch_size is {size!r} \((str|float)\); give a whole number"):
        build_engine(lenet_path, tmp_path / "e", batches=[], profile=Profile(batch_size=size))
