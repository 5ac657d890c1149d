"""Adding a placement rule is adding one file: a copy of the package with one more file has the rule."""

import os
import shutil
import subprocess
import sys

import pytest
from graphs import ranges
from places import ROOT

from trt_int8.ranges import CalibrationCache

RULE = '''
"""A rule of this test."""
from trt_int8.quantization.placement.rule import RTX, rule

@rule("float-products", 140, "a test.", only=RTX)
def float_products(draft):
    """Leave Gemm in float."""
    draft.untouched.update(node.output[0] for node in draft.nodes if node.op_type == "Gemm")
'''

PYTHON = """
import sys
from trt_int8.quantization import PLACEMENTS, RULES, quantize
from trt_int8.ranges import Ranges, TensorRange

rule = RULES[4]
assert (rule.name, rule.what, rule.source, rule.placements) == ("float-products", "Leave Gemm in float.", "a test.", ("rtx",))
assert [entry.name for entry in RULES[3:6]] == ["fused-activations", "float-products", "concat-scales"]
ranges = Ranges({name: TensorRange(1.0, source="test") for name in ("data", "pool1", "pool2_flat", "ip1")})
assert quantize(sys.argv[1], ranges, placement="rtx").nodes == ("conv1", "conv2")
assert quantize(sys.argv[1], ranges, placement="tensorrt").nodes == ("conv1", "conv2", "ip1", "ip2")
without = PLACEMENTS["rtx"].without("float-products")
assert quantize(sys.argv[1], ranges, placement=without).nodes == ("conv1", "conv2", "ip1", "ip2")
assert without.text == "rtx without float-products"
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run Python with a copy of the package that holds the rule."""
    home = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "trt_int8", home / "trt_int8", ignore=shutil.ignore_patterns("__pycache__"))
    rules = home / "trt_int8" / "quantization" / "placement" / "rules"
    (rules / "float_products.py").write_text(RULE, encoding="utf-8")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=home,
            env={**os.environ, "PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
            text=True,
            capture_output=True,
            check=False,
        )

    return run


def test_python(run, lenet_path):
    done = run("-c", PYTHON, lenet_path)
    assert done.returncode == 0, done.stderr


def test_the_command_line_switches_it_off(run, lenet_path, tmp_path):
    cache, out = tmp_path / "lenet.cache", tmp_path / "out.onnx"
    amax = ranges(data=1.0, pool1=1.0, pool2_flat=1.0, ip1=1.0)
    CalibrationCache.from_ranges(amax).write(cache)
    base = ["-m", "trt_int8", "quantize", lenet_path, "--cache", cache, "--target", "rtx", "-o", out]
    assert f"{out}: 2 nodes quantized, 0 left in float" in run(*base).stdout
    assert f"{out}: 4 nodes quantized, 0 left in float" in run(*base, "--without", "float-products").stdout
    failed = run(*base, "--without", "float-product")
    assert "no placement rule 'float-product'" in failed.stderr
    assert "float-products" in failed.stderr


def test_two_rules_of_one_name_are_refused():
    from trt_int8.quantization.placement.rule import rule

    with pytest.raises(ValueError, match="there are two placement rules 'gemm'"):
        rule("gemm", 1, "a test.")(lambda draft: None)
