"""check-qdq: each fault in a hand-made model, found, repaired and built."""

import re
import subprocess
import sys

import numpy as np
import onnx
import pytest
from faults import CASES, PAIR, RNG, WEIGHT, X, build, conv, dq, int8_nodes, q
from graphs import op
from places import ROOT

from trt_int8.errors import QuantizationError
from trt_int8.evaluation import evaluate
from trt_int8.quantization import quantize
from trt_int8.quantization.check import CHECKS, check_qdq, fix_qdq
from trt_int8.quantization.validation import refuse_what_tensorrt_refuses
from trt_int8.ranges import Ranges, TensorRange


@pytest.mark.parametrize("name", CASES)
def test_found_named_repaired_and_built(name, tensorrt):
    make, place, floor = CASES[name]
    model = make()
    before = model.SerializeToString()
    found = [finding for finding in check_qdq(model) if finding.rule == name]
    assert found
    assert place in {finding.node for finding in found}
    assert all(finding.message and finding.repair and finding.fixable for finding in found)
    checked = fix_qdq(model)
    assert model.SerializeToString() == before
    assert {finding.rule for finding in checked.fixed} >= {name}
    assert checked.left == ()
    assert set(int8_nodes(checked.model, tensorrt).values()) == {"int8"}
    if floor is not None:
        batches = [{"x": RNG.uniform(-3, 3, X).astype(np.float32)} for _ in range(3)]
        assert evaluate(model, checked.model, batches).outputs["y"].sqnr_db > floor


def test_every_check_has_a_case():
    unfixable = {"operator", "computed-scale"}
    assert set(CASES) | unfixable == {check.name for check in CHECKS}


def dynamic_scale():
    nodes = [op("ReduceMax", "x", "s", keepdims=0), *PAIR, *WEIGHT, conv("xd", "wd", "y")]
    model = build(nodes)
    for tensor in [t for t in model.graph.initializer if t.name == "s"]:
        model.graph.initializer.remove(tensor)
    return model


def test_scales_that_are_computed():
    (first, *_) = check_qdq(dynamic_scale())
    assert (first.rule, first.severity, first.node, first.fixable) == (
        "computed-scale",
        "refused",
        "xq_node",
        False,
    )
    assert [f.rule for f in fix_qdq(dynamic_scale()).left][:1] == ["computed-scale"]


REFUSED = {check.name for check in CHECKS if check.severity == "refused"}


@pytest.mark.parametrize("name", sorted(REFUSED & set(CASES)))
def test_quantize_never_lets_out_what_tensorrt_refuses(name):
    with pytest.raises(
        QuantizationError,
        match="internal error: TensorRT would reject the quantized model; please report this: ",
    ):
        refuse_what_tensorrt_refuses(CASES[name][0]())


def test_tensorrt_itself_refuses_it(tmp_path):
    """In a process of its own: a refused build taints those after it. (It lets the opset pass.)"""
    names = sorted((REFUSED & set(CASES)) - {"opset"})
    for name in names:
        onnx.save(CASES[name][0](), tmp_path / f"{name}.onnx")
    code = f"""
import onnx
from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.errors import BuildError
for name in {names!r}:
    try:
        build_explicit(onnx.load(f"{tmp_path}/{{name}}.onnx"), tensorrt=load("tensorrt_rtx"), log=BuildLog())
    except BuildError:
        print(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == names


def test_of_two_convolutions_with_pairs_the_later_one_fuses():
    nodes = [
        *[*PAIR, *WEIGHT, conv("xd", "wd", "a"), q("a", "aq"), dq("aq", "ad")],
        *[conv("xd", "wd", "b"), q("b", "bq"), dq("bq", "bd"), op("Add", "ad bd", "y")],
    ]
    found = [finding for finding in check_qdq(build(nodes)) if finding.rule == "broken-fusion"]
    assert [finding.node for finding in found] == ["bd_node"]
    repaired = fix_qdq(build(nodes))
    assert repaired.left == ()
    assert list(next(n for n in repaired.model.graph.node if n.op_type == "Add").input) == ["ad", "b"]


def test_what_quantize_makes_has_no_findings(lenet_path):
    names = ["data", "pool1", "pool2_flat", "ip1"]
    model = quantize(
        lenet_path, Ranges({n: TensorRange(2.0, source="test") for n in names}), placement="tensorrt"
    ).model
    assert check_qdq(model) == []


def test_docs_list_the_checks_in_order():
    rows = re.findall(
        r"^\| `([\w-]+)` \| (refused|float|slow) \|",
        (ROOT / "docs" / "placement.md").read_text("utf-8"),
        re.M,
    )
    assert rows == [(check.name, check.severity) for check in CHECKS]
