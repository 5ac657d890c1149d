"""Run by test_implicit_build.py beside the real bindings: whole builds of LeNet.

Builder and parser are the fakes; calibrator, flags and data types are the real TensorRT's, and the
calibrator is called through C++.
"""

import json
import re
import shutil
import sys
import types
from pathlib import Path

import fake_tensorrt
import numpy as np
import pytest
import tensorrt as trt
from libnvinfer import Calibration, floats

import trt_int8
from trt_int8 import QuantizationOptions
from trt_int8.engine.implicit import EntropyCalibrator, ImplicitOptions, MinMaxCalibrator
from trt_int8.errors import BuildError
from trt_int8.ranges import Ranges, TensorRange
from trt_int8.streamer.device import HostDevice

ROOT = Path(__file__).parents[2]
LENET = ROOT / "samples" / "mnist" / "lenet.onnx"
LOG = ROOT / "tests" / "report" / "logs" / "rtx_lenet_float.log"


@pytest.fixture(autouse=True)
def builder(monkeypatch):
    """TensorRT's builder and parser replaced; returns the first pixels of each batch it saw."""
    for name in ("DataType", "LayerType", "BuilderFlag"):
        monkeypatch.setattr(fake_tensorrt, name, getattr(trt, name))
    monkeypatch.setattr(trt, "Builder", fake_tensorrt.Builder)
    monkeypatch.setattr(trt, "OnnxParser", fake_tensorrt.OnnxParser)
    lines = [re.sub(r"^\[\w\] ", "", line) for line in LOG.read_text().splitlines()]
    monkeypatch.setattr(fake_tensorrt.Builder, "_log", lines)
    seen = []

    def calibrate(network, calibrator):
        cpp = Calibration(trt, calibrator)
        names = [network.get_input(index).name for index in range(network.num_inputs)]
        cpp.batch_size()
        if cpp.read() is None:
            while (pointers := cpp.batch(names)) is not None:
                seen.append(floats(pointers[0], 2))
            header = f"TRT-101600-{calibrator.algorithm}\n"
            cpp.write((header + "".join(f"{name}: 3c008912\n" for name in calibrator.tensors)).encode())

    monkeypatch.setattr(fake_tensorrt.Builder, "_calibrate", staticmethod(calibrate))
    return seen


def batches():
    return [{"data": np.full((1, 1, 28, 28), value, np.float32)} for value in (0.25, 0.5)]


def build(tmp_path, told, *, batches=None, algorithm=None, **implicit):
    return trt_int8.build_engine(
        LENET,
        tmp_path / "lenet.engine",
        batches=batches,
        target="tensorrt",
        options=QuantizationOptions(algorithm=algorithm),
        implicit=ImplicitOptions(device=HostDevice(), **implicit),
        tell=told.append,
    )


def build_explicitly(tmp_path, **options):
    return trt_int8.build_engine(
        LENET, tmp_path / "lenet.engine", target="tensorrt", mode="explicit", **options
    )


def test_from_model_and_data_to_engine_report_and_cache(tmp_path, builder):
    told, cache = [], tmp_path / "lenet.cache"
    result = build(tmp_path, told, batches=batches(), cache=cache)
    assert builder == [[0.25, 0.25], [0.5, 0.5]]
    assert result.engine.read_bytes() == b"the engine"
    assert (result.route, result.reason) == (
        "implicit",
        f"TensorRT {trt.__version__} has calibrators of its own",
    )
    assert told[:2] == ["target: tensorrt", f"route: implicit ({result.reason})"]
    assert told[2] == f"calibration: 10 scales (EntropyCalibration2) from 2 batches of 1, written to {cache}"
    assert told[3] == result.record.text
    assert "the engine cannot be simulated" in told[3]  # by the log no layer runs in INT8
    assert (result.summary.source, result.summary.batches) == ("data", 2)
    assert result.report.last.nodes
    assert isinstance(fake_tensorrt.built[-1][1].int8_calibrator, EntropyCalibrator)
    sidecar = json.loads((tmp_path / "lenet.cache.json").read_text())
    assert sidecar["tensorrt"] == trt.__version__
    assert sidecar["tensors"] == [
        "data", "conv1", "pool1", "conv2", "pool2", "pool2_flat", "ip1_pre", "ip1", "ip2", "prob"
    ]  # fmt: skip
    assert result.fingerprint.model == sidecar["model"]


def test_the_next_build_takes_the_cache(tmp_path, builder):
    cache = tmp_path / "lenet.cache"
    build(tmp_path, [], batches=batches(), cache=cache)
    told = []
    result = build(tmp_path, told, batches=batches(), cache=cache)
    assert result.summary.source == "cache"
    assert len(builder) == 2
    assert told[2].startswith(f"calibration: 10 scales from {cache}")
    assert not result.record.unseen


def test_minmax(tmp_path):
    build(tmp_path, [], batches=batches(), algorithm="minmax")
    assert isinstance(fake_tensorrt.built[-1][1].int8_calibrator, MinMaxCalibrator)


def test_ctrl_c_in_the_loader_leaves_nothing_but_the_log(tmp_path):
    def loader():
        yield batches()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, [], batches=loader(), cache=tmp_path / "lenet.cache")
    assert [path.name for path in tmp_path.iterdir()] == ["lenet.engine.log.failed"]


def test_from_ranges_alone(tmp_path):
    told = []
    result = build(tmp_path, told, ranges=[{"*": 6, "prob": [0, 1]}])
    assert result.summary is None
    assert (
        "prob: [0, 1], which TensorRT changes to [-1, 1]: 128 of the 256 INT8 values are not used (1 tensor)"
        in told
    )
    assert fake_tensorrt.built[-1][1].int8_calibrator is None


def test_the_explicit_route_is_strongly_typed_where_it_can_be(tmp_path):
    some = Ranges({name: TensorRange(1.0, source="test") for name in ("data", "pool1", "pool2_flat", "ip1")})
    assert build_explicitly(tmp_path, ranges=some).route == "explicit"
    network, config = fake_tensorrt.built[-1]
    flag = trt.NetworkDefinitionCreationFlag
    if trt.__version__.startswith("8."):
        expected = {flag.EXPLICIT_BATCH}, {trt.BuilderFlag.INT8, trt.BuilderFlag.TF32}
    else:
        expected = {flag.STRONGLY_TYPED}, {trt.BuilderFlag.TF32}
    assert network._flags == sum(1 << int(one) for one in expected[0])
    assert config._flags == expected[1]
    kinds = [layer.type for layer in network._layers]
    assert kinds.count(trt.LayerType.QUANTIZE) == 4


def test_options_of_the_other_route_are_refused(tmp_path):
    with pytest.raises(BuildError, match=r"fp16, cache: only for the implicit route.*\(asked for\)"):
        build_explicitly(tmp_path, batches=batches(), implicit=ImplicitOptions(fp16=True, cache="x"))


def test_the_script_in_the_docs(tmp_path, monkeypatch, capsys, builder):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "implicit.md").read_text(), re.DOTALL)[1]
    # The default device is the GPU; there is none.
    gpu = types.ModuleType("trt_int8.streamer.cuda")
    gpu.CudaDevice = HostDevice
    monkeypatch.setitem(sys.modules, gpu.__name__, gpu)
    monkeypatch.chdir(tmp_path)
    shutil.copy(LENET, "model.onnx")
    own = fake_tensorrt.Builder(trt.Logger())
    network = own.create_network(1)
    fake_tensorrt.OnnxParser(network, None).parse(LENET.read_bytes())
    monkeypatch.setattr(fake_tensorrt.Builder, "_log", [])

    def calibrate(network, calibrator):
        cpp = Calibration(trt, calibrator)
        cpp.calibrate(["data"], b"TRT-101600-EntropyCalibration2\ndata: 3c008912\n")

    monkeypatch.setattr(fake_tensorrt.Builder, "_calibrate", staticmethod(calibrate))
    names = {"batches": batches(), "trt": trt, "builder": own, "network": network}
    exec(code, names | {"config": own.create_builder_config()})
    assert capsys.readouterr().out == (
        "calibration: 1 scales (EntropyCalibration2) from 2 batches of 1, written to model.cache\n"
    )
    assert Path("model.cache.json").exists()
