"""The real TensorRT-RTX builder, without a GPU."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trt_int8.build import build_engine
from trt_int8.calibration import calibrate
from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.engine.explicit import default_log
from trt_int8.errors import (
    BuildError,
    DataError,
    MissingDependencyError,
    ModelError,
    OutputError,
    ShapeError,
)
from trt_int8.model import parse_shapes
from trt_int8.quantization import quantize
from trt_int8.ranges import Ranges, TensorRange
from trt_int8.report import PrecisionReport


@pytest.fixture(scope="module")
def tensorrt():
    return load("tensorrt_rtx")


@pytest.fixture(scope="module")
def lenet_ranges(lenet_path, digits):
    return calibrate(lenet_path, [{"data": image[None]} for image in digits["calibration"][:20]]).ranges


@pytest.fixture(scope="module")
def built(lenet_path, lenet_ranges, tmp_path_factory):
    return build_engine(lenet_path, tmp_path_factory.mktemp("lenet") / "lenet.engine", ranges=lenet_ranges)


@pytest.fixture(scope="module")
def lenet_qdq_path(lenet_path, lenet_ranges, tmp_path_factory):
    path = tmp_path_factory.mktemp("qdq") / "lenet.qdq.onnx"
    onnx.save(quantize(lenet_path, lenet_ranges).model, path)
    return path


def build_into(path, model, tensorrt, target):
    with BuildLog(path) as log:
        build_explicit(model, tensorrt=tensorrt, log=log, target=target)


def precisions(report: PrecisionReport) -> dict[str, str]:
    return {node.node: node.precision for node in report.last.nodes}


def multiplying(report: PrecisionReport) -> dict[str, str]:
    found = precisions(report)
    return {name: found[name] for name in ("conv1", "conv2", "ip1", "ip2")}


def test_the_log_shows_what_multiplies_in_int8(built):
    assert multiplying(built.report) == dict.fromkeys(["conv1", "conv2", "ip1", "ip2"], "int8")
    assert len(built.report.last.int8_layers) == 4
    assert built.engine.stat().st_size == len(built.plan.data) > 100_000
    assert (built.plan.target, built.route) == ("sm89", "explicit")
    # the report is the log's: reading the file again gives the same
    assert PrecisionReport.from_log(built.log).to_dict() == built.report.to_dict()


def test_without_qdq_nothing_runs_in_int8(lenet_path, tensorrt, tmp_path):
    with BuildLog(tmp_path / "float.log") as log:
        build_explicit(onnx.load(lenet_path), tensorrt=tensorrt, log=log)
    report = PrecisionReport.from_log(tmp_path / "float.log")
    assert multiplying(report) == dict.fromkeys(["conv1", "conv2", "ip1", "ip2"], "fp32")
    assert report.last.int8_layers == ()


def test_a_gemm_with_weight_qdq_on_the_wrong_axis_is_not_int8(lenet_path, lenet_ranges, tensorrt):
    model = quantize(lenet_path, lenet_ranges).model
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


def fresh_process(code: str) -> str:
    """What ``code`` prints in a process in which no build has failed."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_targets(lenet_qdq_path, tensorrt):
    targets = [target for target in tensorrt.targets if target not in ("current", "sm75")]
    assert {"sm80", "sm86", "sm89", "sm120", "sm121"} <= set(targets)
    found = fresh_process(f"""
import onnx
from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.report import PrecisionReport
for target in {targets!r}:
    log = BuildLog()
    plan = build_explicit(onnx.load({str(lenet_qdq_path)!r}), tensorrt=load(target=target), log=log, target=target)
    print(plan.target, len(PrecisionReport.from_lines(log.lines).last.int8_layers))
""")
    assert found.splitlines() == [f"{target} 4" for target in targets]


def test_unknown_target_is_found_before_anything_runs(lenet_path, tmp_path):
    def never():
        raise AssertionError("calibration started")
        yield

    with pytest.raises(BuildError, match="cannot build for target 'sm42'; it can for current, sm75, "):
        build_engine(lenet_path, tmp_path / "e", batches=never(), target="sm42")
    assert not list(tmp_path.iterdir())


def test_qdq_model_is_built_as_it_is(lenet_path, lenet_ranges, tmp_path):
    model = quantize(lenet_path, lenet_ranges).model
    result = build_engine(model, tmp_path / "e")
    assert result.quantized is None
    assert result.reason == "the model holds Q/DQ nodes"
    assert len(result.report.last.int8_layers) == 4
    with pytest.raises(BuildError, match="leave out the data and the cache"):
        build_engine(model, tmp_path / "e", ranges=lenet_ranges)
    for name, value in (("placement", "rtx"), ("algorithm", "mse")):
        with pytest.raises(BuildError, match=f"is built as it is: leave out the {name}, or start from"):
            build_engine(model, tmp_path / "e", **{name: value})


def test_biases_are_corrected_with_data_unless_told(lenet_path, lenet_ranges, digits, tmp_path):
    batches = [{"data": image[None]} for image in digits["calibration"][:20]]
    told = []
    corrected = build_engine(lenet_path, tmp_path / "e", batches=batches, tell=told.append)
    assert (
        sum(line.startswith("biases corrected by 10 samples, judged on 10 others: ip2 ") for line in told)
        == 1
    )
    plain = build_engine(lenet_path, tmp_path / "p", batches=batches, bias_correction=False, tell=told.append)
    assert sum("biases" in line for line in told) == 1
    assert plain.quantized.scales == corrected.quantized.scales
    with pytest.raises(BuildError, match=r"bias_correction: means are measured on batches \(--data\)"):
        build_engine(lenet_path, tmp_path / "x", ranges=lenet_ranges, bias_correction=True)
    assert not (tmp_path / "x").exists()


def test_dynamic_batch(make_model, rng, tmp_path):
    model = make_model(
        [helper.make_node("Gemm", ["x", "w"], ["y"], name="fc")],
        inputs={"x": ["n", 64]},
        outputs=["y"],
        weights={"w": rng.normal(size=(64, 32)).astype(np.float32)},
    )
    some = Ranges({"x": TensorRange(1.0, source="test")})
    with pytest.raises(
        ShapeError, match=r"input x: float32 \[n, 64\] is dynamic in 'n' \(axis 0\)"
    ) as caught:
        build_engine(model, tmp_path / "e", ranges=some)
    # the message holds an option that works as it stands
    (option,) = re.findall("--shapes '(.*?)'", str(caught.value))
    assert option == "x:1x64,8x64,32x64"
    build_engine(model, tmp_path / "e", ranges=some, shapes=parse_shapes([option]))
    result = build_engine(model, tmp_path / "e", ranges=some, batch_size=8)
    assert precisions(result.report) == {"fc": "int8"}
    assert "MinShape: [1,64], OptShape: [8,64], MaxShape: [8,64]" in result.log.read_text()


@pytest.fixture
def same_names(make_model, rng):
    """A convolution whose batch, height and width are all called '?'."""
    return make_model(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="c")],
        inputs={"x": ["?", 3, "?", "?"]},
        outputs=["y"],
        weights={"w": rng.normal(size=(16, 3, 3, 3)).astype(np.float32)},
    )


class TestShapes:
    def test_a_profile_from_shapes(self, same_names, tmp_path, rng):
        shapes = parse_shapes(["x:1x3x48x192,2x3x48x192,4x3x48x384"])
        batches = [{"x": rng.normal(size=(2, 3, 48, 192)).astype(np.float32)}]
        with pytest.raises(
            ShapeError,
            match=r"dimension '\?' is 4 on axis 0 of 'x', 48 on axis 2 of 'x', .*add --rename-dims",
        ):
            build_engine(same_names, tmp_path / "e", batches=batches, shapes=shapes)
        assert not list(tmp_path.iterdir())
        result = build_engine(same_names, tmp_path / "e", batches=batches, shapes=shapes, rename_dims=True)
        assert precisions(result.report) == {"c": "int8"}
        log = result.log.read_text()
        assert "MinShape: [1,3,48,192]" in log
        assert "OptShape: [2,3,48,192]" in log
        assert "MaxShape: [4,3,48,384]" in log

    def test_the_builder_itself_refuses_what_was_found(self, same_names, tensorrt, monkeypatch):
        """What `require_equal_dims` says about TensorRT is true."""
        from trt_int8.engine import explicit

        monkeypatch.setattr(explicit, "require_equal_dims", lambda *_: None)
        log = BuildLog()
        with pytest.raises(BuildError):
            build_explicit(same_names, tensorrt=tensorrt, log=log, shapes=parse_shapes(["x:2x3x48x192"]))

    def test_the_option_to_add_is_taken_from_the_data(self, same_names, tmp_path):
        batches = [{"x": np.ones((2, 3, 48, 192), np.float32)}]
        with pytest.raises(
            ShapeError, match="is dynamic in '\\?' \\(axis 0\\), '\\?' \\(axis 2\\)"
        ) as caught:
            build_engine(same_names, tmp_path / "e", batches=batches)
        (option,) = re.findall("--shapes '(.*?)'", str(caught.value))
        assert option == "x:1x3x48x192,2x3x48x192,32x3x48x192"
        assert str(caught.value).endswith("--rename-dims")
        build_engine(same_names, tmp_path / "e", batches=batches, shapes=option, rename_dims=True)

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ((2, 3, 192, 48), r"shape is \[2, 3, 192, 48\] and the engine is to take 48 to 48 on axis 2"),
            ((2, 3, 48, 96), r"shape is \[2, 3, 48, 96\] and the engine is to take 192 to 384 on axis 3"),
            ((5, 3, 48, 192), r"shape is \[5, 3, 48, 192\] and the engine is to take 2 to 4 on axis 0"),
        ],
    )
    def test_data_of_other_shapes_than_the_engine_will_take(self, same_names, tmp_path, shape, message):
        batches = [{"x": np.ones((1, 3, 48, 192), np.float32)}, {"x": np.ones(shape, np.float32)}]
        with pytest.raises(DataError, match=message):  # the first batch is a short one, which may be
            build_engine(
                same_names,
                tmp_path / "e",
                batches=batches,
                rename_dims=True,
                shapes=parse_shapes(["x:2x3x48x192,2x3x48x192,4x3x48x384"]),
            )

    def test_a_network_input_that_computes_shapes(self, tensorrt):
        tensor = helper.make_tensor_value_info
        graph = helper.make_graph(
            [helper.make_node("Expand", ["x", "s"], ["y"])],
            "test",
            [tensor("x", TensorProto.FLOAT, ["n", 4]), tensor("s", TensorProto.INT64, [2])],
            [tensor("y", TensorProto.FLOAT, ["a", "b"])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        with pytest.raises(ShapeError, match="input 's' decides the shape of other tensors"):
            build_explicit(model, tensorrt=tensorrt, log=BuildLog(), shapes=parse_shapes(["x:1x4,2x4,4x4"]))


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
    result = build_engine(model, tmp_path / "e", batches=batches, shapes=shapes)
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


class TestFailedBuilds:
    @pytest.fixture
    def refused(self, lenet_path, lenet_ranges):
        """uint8 zero points: fine for onnxruntime, refused by TensorRT's parser."""
        model = quantize(lenet_path, lenet_ranges).model
        for tensor in model.graph.initializer:
            if tensor.name == "data_zero_point":
                tensor.CopyFrom(numpy_helper.from_array(np.uint8(128), tensor.name))
        return model

    def test_the_parsers_own_line_and_the_log_are_named(self, refused, tmp_path):
        engine = tmp_path / "e"
        engine.write_bytes(b"old engine")
        (tmp_path / "build.log").write_text("of the old engine")
        with pytest.raises(BuildError, match="cannot parse the model") as caught:
            build_engine(refused, engine, log=tmp_path / "build.log")
        failed = tmp_path / "build.log.failed"
        assert caught.value.log == failed
        assert any("shiftIsAllZeros" in line and "data_Q" in line for line in caught.value.lines)
        assert f"whole log: {failed}" in str(caught.value)
        assert "[E] " in failed.read_text()
        assert engine.read_bytes() == b"old engine"
        assert (tmp_path / "build.log").read_text() == "of the old engine"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["build.log", "build.log.failed", "e"]

    @pytest.mark.parametrize(
        ("target", "line"),
        [("current", "CUDA driver version is insufficient"), ("sm75", "FP32 GEMM is not supported")],
    )
    def test_the_builders_own_line_is_named(self, lenet_path, tensorrt, tmp_path, target, line):
        if target == "current" and Path("/proc/driver/nvidia").exists():
            pytest.skip("there is a GPU, so building for it does not fail")
        with pytest.raises(BuildError) as caught:
            build_into(tmp_path / "b.log", onnx.load(lenet_path), tensorrt, target)
        assert any(line in text for text in caught.value.lines)
        assert str(tmp_path / "b.log") in str(caught.value)
        # After a failure this process is suspect, and every later log says so.
        later = BuildLog()
        build_explicit(onnx.load(lenet_path), tensorrt=tensorrt, log=later)
        assert "a build failed earlier in this process" in later.warnings[0]

    def test_results_that_cannot_be_written_are_found_first(self, lenet_path, lenet_ranges, tmp_path):
        with pytest.raises(OutputError, match="the folder .*/no does not exist"):
            build_engine(lenet_path, tmp_path / "no" / "e", ranges=lenet_ranges)
        with pytest.raises(OutputError, match="it is a folder"):
            build_engine(lenet_path, tmp_path / "e", ranges=lenet_ranges, log=tmp_path)
        assert not list(tmp_path.iterdir())

    def test_a_bad_model_leaves_the_old_log(self, tmp_path):
        (tmp_path / "m.onnx").write_bytes(b"")
        (tmp_path / "e.log").write_text("old")
        with pytest.raises(ModelError):
            build_engine(tmp_path / "m.onnx", tmp_path / "e")
        assert (tmp_path / "e.log").read_text() == "old"

    def test_an_engine_that_cannot_be_written_leaves_the_old_log(
        self, lenet_path, lenet_ranges, tmp_path, monkeypatch
    ):
        def full(descriptor):
            raise OSError(28, "No space left on device")

        (tmp_path / "e.log").write_text("old")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            build_engine(lenet_path, tmp_path / "e", ranges=lenet_ranges)
        assert (tmp_path / "e.log").read_text() == "old"
        assert "Layers:" in (tmp_path / "e.log.failed").read_text()

    def test_nothing_needed_is_overwritten(self, lenet_path, lenet_ranges, tmp_path):
        model = tmp_path / "m.onnx"
        model.write_bytes(lenet_path.read_bytes())
        for engine, log in ((model, None), (tmp_path / "e", model)):
            with pytest.raises(OutputError, match="would overwrite the model"):
                build_engine(model, engine, log=log, ranges=lenet_ranges)
        with pytest.raises(OutputError, match="the log would overwrite the engine"):
            build_engine(model, tmp_path / "e", log=tmp_path / "e", ranges=lenet_ranges)
        assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(
    ("engine", "log"),
    [("a.engine", "a.log"), ("a.plan", "a.log"), ("yolo.fp16", "yolo.fp16.log"), ("x.log", "x.log.log")],
)
def test_the_log_goes_beside_the_engine(engine, log):
    assert default_log(Path(engine)) == Path(log)


def test_ctrl_c_stops_the_build(lenet_path, tmp_path):
    # SIGINT comes while the builder is in C++ code, as a terminal sends it.
    code = f"""
import os, signal, sys, threading
from trt_int8 import build_engine
from trt_int8.engine.log import BuildLog
from trt_int8.ranges import Ranges, TensorRange

add = BuildLog.add
def interrupting(self, severity, message):
    add(self, severity, message)
    if "Graph optimization time" in message:
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
BuildLog.add = interrupting
ranges = Ranges({{n: TensorRange(1.0, source="t") for n in ("data", "pool1", "conv1", "conv2", "pool2", "pool2_flat", "ip1")}})
try:
    build_engine({str(lenet_path)!r}, {str(tmp_path / "e")!r}, ranges=ranges)
except KeyboardInterrupt:
    print("interrupted")
"""
    assert fresh_process(code) == "interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["e.log.failed"]


def test_neither_data_nor_ranges_or_both(lenet_path, lenet_ranges, tmp_path):
    with pytest.raises(ValueError, match="needs calibration batches or ranges"):
        build_engine(lenet_path, tmp_path / "e")
    with pytest.raises(ValueError, match="batches and ranges were both given"):
        build_engine(lenet_path, tmp_path / "e", batches=[], ranges=lenet_ranges)


def test_capabilities(tensorrt):
    assert tensorrt.builds_ahead_of_time
    assert not tensorrt.has_implicit_int8
    assert tensorrt.targets[0] == "current"
    assert tensorrt.default_target == "sm89"
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
        build_engine(lenet_path, tmp_path / "e", batches=[], batch_size=size)
