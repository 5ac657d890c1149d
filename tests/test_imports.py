"""What is imported when: the light paths work on a laptop with nothing but the required packages."""

import subprocess
import sys
from pathlib import Path

import pytest

import trt_int8

HEAVY = (
    "numba llvmlite distributed onnxruntime tensorrt tensorrt_rtx tensorrt_bindings pycuda torch PIL jinja2 "
    "rich_click"
)

CHECK = """
import sys
{statement}
loaded = [name for name in {heavy!r}.split() if name in sys.modules]
sys.exit("imported: " + ", ".join(loaded) if loaded else 0)
"""


def run(statement: str) -> subprocess.CompletedProcess:
    code = CHECK.format(statement=statement, heavy=HEAVY)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def call(*arguments: str) -> str:
    return f"from trt_int8.cli import main\ntry:\n    main({list(arguments)!r}, prog_name='trt-int8')\nexcept SystemExit as end:\n    assert end.code == 0, end.code"


LOG = next((Path(__file__).parent / "report" / "logs").glob("*lenet*.log"))


@pytest.mark.parametrize(
    "statement",
    [
        "import trt_int8",
        call("--help"),
        call("build", "--help"),
        call("report", str(LOG)),
        f"import trt_int8; trt_int8.PrecisionReport.from_log({str(LOG)!r}).last",
        "import trt_int8; [getattr(trt_int8, name) for name in trt_int8.__all__]",
    ],
    ids=["import", "help", "build help", "report", "from_log", "names"],
)
def test_light_paths_import_nothing_heavy(statement):
    result = run(statement)
    assert result.returncode == 0, result.stderr


def test_the_check_can_fail():
    result = run("import trt_int8, onnxruntime")
    assert result.returncode == 1
    assert "imported: onnxruntime" in result.stderr


def test_import_alone_does_not_load_numpy_or_onnx():
    code = "import sys, trt_int8; sys.exit(any(m in sys.modules for m in ('numpy', 'onnx', 'click', 'rich')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_loads_neither_numpy_nor_what_commands_use():
    code = f"""
import sys
{call("--help")}
sys.exit(" ".join(m for m in sys.modules if m in ("numpy", "onnx", "rich", "distributed", "numba") or m.startswith(("trt_int8.report", "trt_int8.calibration.histogram"))))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr == "\n" or result.stderr == ""


def test_public_names():
    assert sorted(trt_int8.__all__) == [
        "BuildResult",
        "Calibration",
        "CalibrationCache",
        "CalibrationOptions",
        "Checked",
        "Evaluation",
        "Finding",
        "Histograms",
        "Migration",
        "PrecisionReport",
        "Profile",
        "QuantizationOptions",
        "QuantizationRecord",
        "Quantized",
        "QuantizedModel",
        "Ranges",
        "ShapeRange",
        "TensorRange",
        "TrtInt8Error",
        "build_engine",
        "cache_from_qdq",
        "calibrate",
        "check_qdq",
        "evaluate",
        "fix_qdq",
        "migrate",
        "parse_shapes",
        "quantize",
        "quantize_from_data",
    ]
    for name in trt_int8.__all__:
        assert getattr(trt_int8, name).__name__ == name
    assert set(trt_int8.__all__) <= set(dir(trt_int8))
    with pytest.raises(AttributeError, match="has no attribute 'calibrat'"):
        trt_int8.calibrat  # noqa: B018


def test_each_public_name_is_in_the_reference():
    reference = (Path(__file__).parents[1] / "docs" / "reference" / "api.md").read_text()
    listed = {line.rpartition(".")[2] for line in reference.splitlines() if line.startswith("::: ")}
    # Errors are one entry, their module.
    assert set(trt_int8.__all__) - {"TrtInt8Error"} <= listed
