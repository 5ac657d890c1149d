import signal

import fake_tensorrt
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from stand_ins import Calibrator

from trt_int8.engine.implicit.build import ImplicitOptions, build_implicit
from trt_int8.engine.log import BuildLog
from trt_int8.engine.tensorrt import TensorRT
from trt_int8.errors import BuildError, CacheError, MissingDependencyError, RangeError, ShapeError
from trt_int8.graph import parse_shapes
from trt_int8.graph.shapes import profile_text
from trt_int8.streamer.device import HostDevice

TENSORRT = TensorRT(fake_tensorrt, "tensorrt")
FLAG = fake_tensorrt.BuilderFlag


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    fake_tensorrt.built.clear()
    monkeypatch.setattr(fake_tensorrt.Builder, "_outcome", b"the engine")
    monkeypatch.setattr(fake_tensorrt.Builder, "_during", None)


def model(batch=2, nodes=("conv1", "head/conv2", "head/prob")):
    """x → conv1 → head/conv2 → head/prob, nodes and tensors of equal names, and a shape nobody reads."""
    chain = [
        helper.make_node("Identity", [a], [b], name=b) for a, b in zip(("x", *nodes), nodes, strict=False)
    ]
    chain.append(helper.make_node("Shape", ["x"], ["shape"], name="shape"))
    value = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, 3]) for n in ("x", nodes[-1])}
    return helper.make_model(helper.make_graph(chain, "chain", [value["x"]], [value[nodes[-1]]]))


def calibrator(*starts, size=2, **options):
    data = [{"x": np.full((size, 3), start, np.float32)} for start in starts or (0,)]
    return Calibrator(data, device=HostDevice(), **options)


def build(source=None, *, calibrator=None, **options):
    """The serialized engine, the config that was built with, the network, and what was told."""
    told = []
    with BuildLog() as log:
        built = build_implicit(
            source or model(), tensorrt=TENSORRT, log=log, calibrator=calibrator,
            options=ImplicitOptions(**options), tell=told.append,
        )  # fmt: skip
    network, config = fake_tensorrt.built[-1]
    return built, config, network, told


def test_a_calibrated_build(tmp_path):
    own = calibrator(0, 1, 2, cache=tmp_path / "x.cache")
    built, config, network, told = build(calibrator=own)
    assert built.data == b"the engine"
    assert built.target == "tensorrt"
    assert config.int8_calibrator is own
    assert config._flags == {FLAG.INT8, FLAG.TF32}
    assert network._flags == 1  # EXPLICIT_BATCH, not strongly typed
    assert config.profiling_verbosity == fake_tensorrt.ProfilingVerbosity.DETAILED
    assert told == [
        "calibration: 2 scales (EntropyCalibration2) from 3 batches of 2, written to "
        + str(tmp_path / "x.cache")
    ]
    assert (tmp_path / "x.cache").read_bytes() == fake_tensorrt.Builder._cache


def test_precisions_are_allowed_as_asked():
    assert build(calibrator=calibrator(), fp16=True)[1]._flags == {FLAG.INT8, FLAG.FP16, FLAG.TF32}
    assert build(calibrator=calibrator(), bf16=True)[1]._flags == {FLAG.INT8, FLAG.BF16, FLAG.TF32}
    assert build(calibrator=calibrator(), tf32=False)[1]._flags == {FLAG.INT8}


def test_a_precision_this_tensorrt_lacks_is_refused(monkeypatch):
    flags = type("BuilderFlag", (), {"INT8": FLAG.INT8, "TF32": FLAG.TF32})  # as in TensorRT 8.6
    monkeypatch.setattr(fake_tensorrt, "BuilderFlag", flags)
    with pytest.raises(BuildError, match="no builder flag BF16"):
        build(calibrator=calibrator(), bf16=True)


def test_workspace():
    config = build(calibrator=calibrator(), workspace=1 << 30)[1]
    assert config._pools == {fake_tensorrt.MemoryPoolType.WORKSPACE: 1 << 30}


@pytest.mark.parametrize(("constraints", "flag"), [("obey", "OBEY"), ("prefer", "PREFER")])
def test_layers_are_kept_out_of_int8_by_glob(constraints, flag):
    _, config, network, told = build(
        calibrator=calibrator(),
        fp16=True,
        keep_fp16=["head/*"],
        keep_fp32=["head/prob"],
        constraints=constraints,
    )
    types = fake_tensorrt.DataType
    assert {layer.name: layer.precision for layer in network._layers} == {
        "conv1": None, "head/conv2": types.HALF, "head/prob": types.FLOAT, "shape": None
    }  # fmt: skip
    assert FLAG[f"{flag}_PRECISION_CONSTRAINTS"] in config._flags
    assert told[:2] == [
        f"fp16 for head/*: 2 layers ({constraints})", f"fp32 for head/prob: 1 layer ({constraints})"
    ]  # fmt: skip


def test_layers_that_compute_no_floats_are_never_constrained():
    _, _, network, told = build(calibrator=calibrator(), keep_fp32=["*"])
    assert network._layers[-1].precision is None
    assert told[0] == "fp32 for *: 3 layers (obey)"


def test_without_constraints_no_flag_is_set():
    assert not build(calibrator=calibrator())[1]._flags & {
        FLAG.OBEY_PRECISION_CONSTRAINTS, FLAG.PREFER_PRECISION_CONSTRAINTS
    }  # fmt: skip


def test_a_glob_that_fits_no_layer_is_an_error_with_near_names():
    with pytest.raises(
        BuildError, match=r"keep_fp32='haed/conv2' matches no layer.*nearest names: head/conv2"
    ):
        build(calibrator=calibrator(), keep_fp32=["haed/conv2"])


def test_keeping_fp16_needs_fp16():
    with pytest.raises(BuildError, match="add fp16=True"):
        build(calibrator=calibrator(), keep_fp16=["head/*"])


def test_a_dynamic_batch_gets_an_optimization_and_a_calibration_profile():
    built, config, _, _ = build(model("n"), calibrator=calibrator(0, size=4), batch_size=8)
    assert profile_text(built.profile) == "x 1x3 … 8x3 … 8x3 (min, opt, max)"
    assert [p._shapes for p in config._profiles] == [{"x": ((1, 3), (8, 3), (8, 3))}]
    assert config._calibration_profile._shapes == {"x": ((4, 3), (4, 3), (4, 3))}


def test_shapes_as_asked():
    shapes = parse_shapes(["x:1x3,4x3,32x3"])
    _, config, _, _ = build(model("n"), calibrator=calibrator(), shapes=shapes)
    assert config._profiles[0]._shapes == {"x": ((1, 3), (4, 3), (32, 3))}
    with pytest.raises(ShapeError, match=r"shapes: the model has no input 'images'; its inputs are x"):
        build(model("n"), calibrator=calibrator(), shapes={"images": shapes["x"]})


def test_a_fixed_model_gets_no_profile():
    built, config, _, _ = build(calibrator=calibrator())
    assert config._profiles == []
    assert built.profile == {}
    assert config._calibration_profile is None


def test_ranges_win_over_calibration_and_say_what_they_hit():
    _, _, network, told = build(calibrator=calibrator(), ranges=[{"head/*": [0, 6], "head/prob": 1.0}])
    ranges = {layer.name: layer.get_output(0)._range for layer in network._layers}
    assert ranges == {"conv1": None, "head/conv2": (0, 6), "head/prob": (-1, 1), "shape": None}
    assert told[:2] == [
        "head/*: [0, 6], which TensorRT changes to [-6, 6]: 128 of the 256 INT8 values are not used "
        "(2 tensors, 1 of them overridden later)",
        "head/prob: 1 (1 tensor)",
    ]


def test_unset_says_that_calibration_decides():
    rules = [{"head/*": 6}, {"head/prob": "unset"}]
    _, _, network, told = build(calibrator=calibrator(), ranges=rules)
    assert [layer.get_output(0)._range for layer in network._layers[1:3]] == [(-6, 6), None]
    assert told[2].startswith("1 tensors that are 'unset' get calibrated ranges")
    assert not any("to calibration" in line for line in build(ranges=rules)[3])


def test_a_build_from_ranges_alone_lists_what_is_missing():
    _, config, _, told = build(ranges=[{"x": 1, "head/*": 6}])
    assert config.int8_calibrator is None
    assert FLAG.INT8 in config._flags
    assert told[2:] == [
        "1 tensors have no dynamic range; layers that read or write them cannot run in INT8:", "  conv1"
    ]  # fmt: skip


def test_neither_calibrator_nor_ranges_is_an_error():
    with pytest.raises(BuildError, match=r"calibration data or dynamic ranges"):
        build()


def test_tensors_missing_in_the_cache_are_listed_before_the_build(tmp_path, monkeypatch):
    cache = tmp_path / "x.cache"
    build(calibrator=calibrator(cache=cache))
    told = []

    def during():
        assert told[0].startswith("2 tensors have no scale in ")

    monkeypatch.setattr(fake_tensorrt.Builder, "_during", staticmethod(during))
    own = calibrator(cache=cache)
    with pytest.warns(UserWarning, match="used without a check.*model"):
        build_implicit(model(), tensorrt=TENSORRT, log=BuildLog(), calibrator=own, tell=told.append)
    assert told[1:3] == ["  head/conv2", "  head/prob"]
    assert told[3].startswith("calibration: 2 scales from ")


def test_a_range_fills_in_for_a_tensor_that_the_cache_lacks(tmp_path):
    cache = tmp_path / "x.cache"
    build(calibrator=calibrator(cache=cache, data="d"))
    with pytest.warns(UserWarning, match="used without a check"):
        told = build(calibrator=calibrator(cache=cache, data="d"), ranges=[{"head/conv2": 1}])[3]
    assert told[1:3] == [
        f"1 tensors have no scale in {cache}; layers that read or write them cannot run in INT8:",
        "  head/prob",
    ]


def test_the_cache_of_a_network_with_other_tensors_is_refused(tmp_path):
    cache = tmp_path / "x.cache"
    build(calibrator=calibrator(cache=cache))
    with pytest.raises(CacheError, match=r"tensor names: removed 1 \(conv1\), new 1 \(conv9\)"):
        build(model(nodes=("conv9", "head/conv2", "head/prob")), calibrator=calibrator(cache=cache))


def test_an_error_in_the_loader_ends_the_build_at_once_and_is_raised(tmp_path, monkeypatch):
    def loader():
        yield {"x": np.zeros((2, 3), np.float32)}
        raise OSError("image 7 is damaged")

    own = Calibrator(loader(), device=HostDevice(), cache=tmp_path / "x.cache")
    monkeypatch.setattr(fake_tensorrt.IBuilderConfig, "get_timing_cache", None)  # never reached
    with pytest.raises(OSError, match="image 7 is damaged"):
        build(calibrator=own)
    config = fake_tensorrt.built[-1][1]
    assert config.progress_monitor.step_complete("Tactic selection", 1) is False
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("calibrated", [True, False])
def test_ctrl_c_during_the_build_is_raised_from_it(calibrated, monkeypatch):
    monkeypatch.setattr(
        fake_tensorrt.Builder, "_during", staticmethod(lambda: signal.raise_signal(signal.SIGINT))
    )
    options = {"calibrator": calibrator()} if calibrated else {"ranges": [{"*": 1}]}
    with pytest.raises(KeyboardInterrupt):
        build(**options)
    assert fake_tensorrt.built[-1][1].progress_monitor.step_complete("x", 1) is False


def test_a_build_that_fails_carries_tensorrts_lines(monkeypatch):
    monkeypatch.setattr(fake_tensorrt.Builder, "_outcome", None)
    with BuildLog() as log:
        log.add("E", "4: [network.cpp] Could not find any implementation for node conv1")
        with pytest.raises(BuildError, match=r"could not build[\s\S]*Could not find any implementation"):
            build_implicit(model(), tensorrt=TENSORRT, log=log, calibrator=calibrator())


def test_a_model_with_qdq_nodes_is_refused():
    source = model()
    source.graph.node[0].op_type = "QuantizeLinear"
    with pytest.raises(BuildError, match="has Q/DQ nodes, so TensorRT ignores"):
        build(source, calibrator=calibrator())


def test_a_range_for_no_tensor_is_an_error():
    with pytest.raises(
        RangeError, match=r"'hed/prob' matches no tensor of the network; nearest names: head/prob"
    ):
        build(calibrator=calibrator(), ranges=[{"hed/prob": 1}])


def test_a_tensorrt_without_calibrators_says_what_to_install(monkeypatch):
    monkeypatch.delattr(fake_tensorrt, "IInt8EntropyCalibrator2")
    with pytest.raises(
        MissingDependencyError, match=r"no INT8 calibrators[\s\S]*pip install 'tensorrt-cu12>=10"
    ):
        build(calibrator=calibrator())


def test_the_timing_cache_is_kept(tmp_path):
    path = tmp_path / "timing.cache"
    path.write_bytes(b"measured-before")
    build(calibrator=calibrator(), timing_cache=path)
    assert path.read_bytes() == b"measured-before\nmeasured-here"


def test_the_model_is_not_changed():
    source = model()
    before = source.SerializeToString(deterministic=True)
    build(source, calibrator=calibrator(), keep_fp32=["head/*"], ranges=[{"*": 1}])
    assert onnx.ModelProto.FromString(before) == source


def test_an_engine_outlives_timings_that_cannot_be_written(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()

    def during():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()

    monkeypatch.setattr(fake_tensorrt.Builder, "_during", staticmethod(during))
    built, _, _, told = build(calibrator=calibrator(), timing_cache=folder / "timing.cache")
    assert built.data == b"the engine"
    assert any("folder does not exist" in line and "the engine is built" in line for line in told)


def test_int64_inputs_that_tensorrt_8_makes_int32_are_refused(monkeypatch):
    source = model()
    source.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64

    def parse(parser, content):
        parser._network._inputs = [fake_tensorrt.ITensor("x", narrowed)]
        return True

    monkeypatch.setattr(fake_tensorrt.OnnxParser, "parse", parse)
    data = [{"x": np.zeros((2, 3), np.int64)}]
    narrowed = fake_tensorrt.DataType.INT32
    with pytest.raises(BuildError, match=r"reads the int64 input x: int64 \[2, 3\] as int32.*Cast"):
        build(source, calibrator=Calibrator(data, device=HostDevice()))
    narrowed = fake_tensorrt.DataType.INT64
    assert build(source, calibrator=Calibrator(data, device=HostDevice()))[0].data == b"the engine"
