"""A threshold method is one file: dropped into the package, it is there for Python, the command line and caches."""

import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import helper, save
from places import ROOT

from trt_int8 import CalibrationCache, calibrate
from trt_int8.calibration import Histogram, Histograms, thresholds
from trt_int8.calibration.thresholds import method, methods, names, threshold_method

METHOD = """
from trt_int8.calibration.thresholds import threshold_method

@threshold_method("half", "half the largest value", calibrator="MinMaxCalibration")
def half_amax(histogram):
    return histogram.amax / 2
"""
#: ``trt-int8`` with a folder more to look for methods in.
COMMAND = """
import sys
from trt_int8.calibration import thresholds
thresholds.__path__.append(sys.argv.pop(1))
from trt_int8.cli import main
main(prog_name="trt-int8")
"""


@pytest.fixture
def model(make_model, tmp_path):
    """Values up to 8, and a file of them."""
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], inputs={"x": ["n", 4]}, outputs=["y"])
    save(model, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.array([[1, 2, 3, 8], [-4, 0, 1, 2]], np.float32))
    return tmp_path / "m.onnx"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "half.py").write_text(METHOD)
    return tmp_path / "methods"


@pytest.fixture
def registry(monkeypatch):
    """Remove the methods that a test registers."""
    for name in names():
        method(name)
    monkeypatch.setattr(thresholds, "_REGISTERED", dict(thresholds._REGISTERED))
    yield
    sys.modules.pop(f"{thresholds.__name__}.half", None)


def test_one_file_is_a_method(model, folder, registry, monkeypatch):
    monkeypatch.setattr(thresholds, "__path__", [*thresholds.__path__, str(folder)])
    assert names() == ("entropy", "minmax", "percentile", "mse", "auto", "half")
    result = calibrate(model, [np.load(model.with_name("x.npy"))], algorithm="half")
    assert {name: (r.amax, r.source) for name, r in result.ranges.items()} == {
        "x": (4, "half"),
        "y": (4, "half"),
    }
    assert result.cache().header == "TRT-8601-MinMaxCalibration"
    # It takes part where all methods are tried.
    assert list(methods(held_back=False))[-1] == "half"
    with pytest.raises(
        ValueError, match="'third'; it must be one of entropy, minmax, percentile, mse, auto, half"
    ):
        calibrate(model, [], algorithm="third")


def test_one_file_is_a_choice_of_the_command_line(model, folder):
    def run(*arguments):
        command = [sys.executable, "-c", COMMAND, str(folder), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=model.parent)

    done = run(
        "calibrate", model, "--data", "x.npy", "-o", "c", "--algorithm", "half", "--histograms", "h.npz"
    )
    assert done.returncode == 0, done.stderr
    cache = CalibrationCache.read(model.with_name("c"))
    assert cache.header == "TRT-8601-MinMaxCalibration"
    assert {name: r.amax for name, r in cache.ranges().items()} == pytest.approx({"x": 4, "y": 4})
    assert "entropy|minmax|percentile|mse|auto|half" in run("calibrate", "--help").stdout.replace(
        "\n", ""
    ).replace(" ", "")
    analysis = run("ranges", "analyze", "h.npz", "--format", "json").stdout
    assert '"algorithm": "half"' in analysis
    assert '"half": ' in analysis


def test_a_function_registered_elsewhere_is_a_method(registry):
    @threshold_method("best", "the better of both", held_back=True)
    def best(fitted, held_back):
        return thresholds.Threshold(max(fitted.amax, held_back.amax), "maximum")

    one, two = (Histograms({"x": Histogram.empty().add(np.array([v]))}) for v in (1.0, 3.0))
    found = one.ranges(algorithm="best", held_back=two)["x"]
    assert (found.amax, found.source) == (3, "maximum (best)")
    assert list(methods(held_back=True)) == ["auto", "best"]
    assert best(Histogram.empty(), Histogram.empty()) == (0, "maximum")


def test_the_modules_register_what_they_are_called():
    for name in names():
        found = method(name)
        assert found.name == name
        assert found.summary
        assert found.function.__module__ == f"trt_int8.calibration.thresholds.{name}"
    assert {name: m.calibrator for name, m in methods(held_back=False).items()} == {
        "entropy": "EntropyCalibration2",
        "minmax": "MinMaxCalibration",
        "percentile": "EntropyCalibration2",
        "mse": "EntropyCalibration2",
    }


def test_names_need_neither_numpy_nor_onnx():
    code = (
        "import sys; from trt_int8.calibration.thresholds import names; print(*names());"
        "sys.exit(any(m in sys.modules for m in ('numpy', 'onnx', 'click')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "entropy minmax percentile mse auto\n"


def test_the_documentation_lists_every_method():
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    file = SimpleNamespace(src_uri="calibration.md")
    text = (ROOT / "docs" / "calibration.md").read_text()
    page = hooks.on_page_markdown(text, SimpleNamespace(file=file))
    for name in names():
        assert f"| `{name}` | {method(name).summary} | {method(name).source} |" in page.splitlines()


def test_ranges_cannot_be_evaluated_on_what_a_file_does_not_hold(tmp_path):
    from trt_int8.calibration.histograms import save_histograms
    from trt_int8.cli import main

    save_histograms(Histograms({"x": Histogram.empty().add(np.ones(3))}), tmp_path / "h.npz")
    result = CliRunner().invoke(main, ["ranges", "analyze", str(tmp_path / "h.npz"), "--algorithm", "auto"])
    assert result.exit_code == 2
    assert "--algorithm auto needs held-back batches" in result.output
    assert "give one of entropy, minmax, percentile, mse" in result.output
