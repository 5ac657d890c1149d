"""`build_engine` by the implicit route: its files are looked at before anything is read or built."""

import sys

import fake_tensorrt
import pytest

from trt_int8 import QuantizationOptions, build_engine
from trt_int8.engine.implicit import ImplicitOptions
from trt_int8.errors import BuildError, OutputError
from trt_int8.quantization import Selection
from trt_int8.streamer.device import HostDevice


@pytest.fixture
def build(lenet_path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt)

    def unread():
        raise AssertionError("a batch was read")
        yield

    def run(*, batches=(), log=None, options=None, **implicit):
        implicit = ImplicitOptions(device=HostDevice(), **implicit)
        engine = tmp_path / "x.engine"
        return build_engine(
            lenet_path,
            engine,
            batches=unread() if batches == () else batches,
            mode="implicit",
            log=log,
            options=options,
            implicit=implicit,
        )

    return run


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": "x.engine"}, "the calibration cache would overwrite the engine"),
        ({"cache": "x.engine.log"}, "the calibration cache would overwrite the log"),
        ({"cache": "x", "log": "x.json"}, "the fingerprint of the cache would overwrite the log"),
        ({"timing_cache": "x.engine"}, "the timing cache would overwrite the engine"),
        ({"timing_cache": "x.cache", "cache": "x.cache"}, "the calibration cache would overwrite the timing"),
        ({"cache": "no/x.cache"}, "the folder .*no does not exist"),
        ({"timing_cache": "no/timing"}, "the folder .*no does not exist"),
    ],
)
def test_results_share_no_file_and_have_a_folder(build, tmp_path, options, message):
    options = {name: tmp_path / path for name, path in options.items()}
    with pytest.raises(OutputError, match=message):
        build(**options)
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_is_not_overwritten(build, tmp_path):
    engine = tmp_path / "x.engine"
    engine.write_text('{"conv1": 1}')
    with pytest.raises(OutputError, match="the engine would overwrite the dynamic ranges 1"):
        build(ranges=[engine])
    with pytest.raises(OutputError, match="the engine would overwrite the calibration cache"):
        build(cache=engine)
    assert engine.read_text() == '{"conv1": 1}'


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bias_correction", True),
        ("recentred", ["conv1"]),
        ("placement", "tensorrt"),
        ("selection", Selection(exclude=("conv1",))),
        ("high_precision", "fp16"),
    ],
)
def test_what_needs_qdq_nodes_is_refused(build, tmp_path, name, value):
    with pytest.raises(BuildError, match=f"{name}: only for the explicit route"):
        build(options=QuantizationOptions(**{name: value}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"cache": "x.cache"}, {"reuse_cache": True}])
def test_a_calibration_cache_without_a_calibration_is_refused(build, tmp_path, options):
    options = {name: tmp_path / value if name == "cache" else value for name, value in options.items()}
    with pytest.raises(BuildError, match=r"needs calibration data .*; .* give it as dynamic ranges"):
        build(batches=None, ranges=[{"*": 1}], **options)
    assert list(tmp_path.iterdir()) == []
