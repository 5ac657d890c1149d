import fake_tensorrt
import pytest

from trt_int8.engine import implicit, route
from trt_int8.engine.route import choose_route
from trt_int8.engine.tensorrt import TensorRT
from trt_int8.errors import BuildError, MissingDependencyError

WITH_CALIBRATORS = TensorRT(fake_tensorrt, "tensorrt")


@pytest.fixture
def installed(monkeypatch):
    """Have `load` find this TensorRT."""

    def install(tensorrt):
        monkeypatch.setattr(route, "load", lambda **_: tensorrt)
        monkeypatch.setattr(route, "load_implicit", lambda: tensorrt)

    install(WITH_CALIBRATORS)
    monkeypatch.setattr("trt_int8.target._tensorrt_is_installed", lambda: True)
    monkeypatch.setattr("trt_int8.target._has_gpu", lambda: True)
    return install


@pytest.fixture
def without_calibrators(monkeypatch, installed):
    monkeypatch.delattr(fake_tensorrt, "IInt8EntropyCalibrator2")


def test_auto_takes_calibrators_where_there_are_some(installed):
    found = choose_route("auto", has_qdq=False)
    assert (found.name, found.reason) == ("implicit", "TensorRT 10.16.1.11 has calibrators of its own")
    assert found.target.name == "tensorrt"


def test_auto_without_calibrators_is_explicit(without_calibrators):
    found = choose_route("auto", has_qdq=False)
    assert found.name == "explicit"
    assert found.reason.startswith("TensorRT 10.16.1.11 has no calibrators")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"has_qdq": True}, "the model holds Q/DQ nodes"),
        ({"has_qdq": False, "algorithm": "percentile"}, "no percentile calibrator, only entropy and minmax"),
        ({"has_qdq": False, "target": "sm89"}, "target rtx:sm89 is built ahead of time"),
    ],
)
def test_what_rules_the_implicit_route_out(installed, options, reason):
    found = choose_route("auto", **options)
    assert found.name == "explicit"
    assert reason in found.reason
    with pytest.raises(BuildError, match=f"the implicit route is not available: .*{reason}.*mode='explicit'"):
        choose_route("implicit", **options)


def test_asked_for(installed):
    assert choose_route("explicit", has_qdq=False).name == "explicit"
    assert choose_route("implicit", has_qdq=False).reason == "asked for"
    assert choose_route("implicit", has_qdq=False, target="current").name == "implicit"


def test_without_a_gpu_auto_builds_ahead_of_time(installed, monkeypatch):
    monkeypatch.setattr("trt_int8.target._has_gpu", lambda: False)
    found = choose_route("auto", has_qdq=False)
    assert (found.name, found.target.name) == ("explicit", "rtx:sm89")
    assert "target rtx:sm89 is built ahead of time" in found.reason
    assert choose_route("auto", has_qdq=False, target="tensorrt").name == "implicit"
    assert choose_route("implicit", has_qdq=False).target.name == "tensorrt"  # for this TensorRT's own GPU


def test_an_unknown_mode():
    with pytest.raises(ValueError, match="mode is 'int8'; it must be one of auto, implicit, explicit"):
        choose_route("int8", has_qdq=False)


@pytest.mark.parametrize("target", [None, "current", "tensorrt"])
def test_without_tensorrt_one_line_says_what_is_missing_and_how_to_install_it(target, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr("trt_int8.target._tensorrt_is_installed", lambda: False)
    with pytest.raises(MissingDependencyError) as caught:
        choose_route("implicit", has_qdq=False, target=target)
    (line,) = str(caught.value).splitlines()
    assert "the implicit route needs TensorRT 8.6 to 10" in line
    assert "pip install 'tensorrt-cu12>=10,<11' pycuda" in line


def test_the_classes_say_so_too(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.delitem(sys.modules, "trt_int8.engine.implicit.calibrators", raising=False)
    with pytest.raises(MissingDependencyError, match="pip install"):
        assert implicit.EntropyCalibrator
