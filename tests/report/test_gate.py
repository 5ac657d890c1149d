from pathlib import Path

import pytest
from places import corpus_files

from trt_int8.report import PrecisionReport
from trt_int8.report.gate import deviations, int8_share, offences
from trt_int8.report.records import Build, Layer, Node

LOGS = Path(__file__).parent / "logs"


@pytest.fixture(scope="module")
def axis():
    return PrecisionReport.from_log(LOGS / "rtx_lenet_wrong_axis.log").last


def test_share_counts_nodes_that_multiply(axis):
    assert int8_share(axis) == 0.75


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"require": ["conv*"]}, None),
        ({"require": ["pool*"]}, None),
        ({"require": ["ip*"]}, "node ip1 is weight_dequantized (mixed"),
        ({"require": ["nothing*"]}, "no node or layer matches 'nothing*'; the first of "),
        ({"min_int8": 0.75}, None),
        ({"min_int8": 0.76}, "75.0% run in INT8, 76.0% are required; not in INT8: ip1 weight_dequantized"),
        ({"max_reformats": 0}, None),
    ],
)
def test_gate(axis, conditions, words):
    found = offences(axis, **conditions)
    if words is None:
        assert found == ()
    else:
        assert len(found) == 1
        assert found[0].startswith(words)


def test_reformats_are_counted_and_named():
    build = PrecisionReport.from_log(LOGS / "rtx_concat.log").last
    assert offences(build, max_reformats=1) == ()
    (offence,) = offences(build, max_reformats=0)
    assert offence == "1 reformat layers, 0 are allowed: __myl_Move_myl0_1"


def test_a_build_in_which_nothing_computes_fails_the_share():
    line = "Layer(Constant): c, Tactic: 0x01, -> w (Float[4])"
    build = PrecisionReport.from_lines([line]).last
    assert int8_share(build) is None
    assert offences(build, min_int8=0.1) == ("no layer computes, 10.0% are required",)


@pytest.mark.parametrize("path", [*sorted(LOGS.glob("*.log")), *corpus_files("logs", "*.log")])
def test_every_node_and_layer_can_be_required_by_its_own_name(path):
    """TensorRT's names hold brackets and stars: ``(Unnamed Layer* 4) [Fully Connected]``."""
    for build in PrecisionReport.from_log(path).builds:
        entries = [(node.node, node.precision) for node in build.nodes]
        entries += [(layer.name, layer.precision) for layer in build.compute_layers]
        for name in dict(entries):
            own = [precision for other, precision in entries if other == name]
            wrong = [precision for precision in own if precision not in ("int8", "int8_io")]
            found = offences(build, require=[name])
            assert len(found) == len(wrong), (name, found)
            assert all(
                f" {name} is {precision}" in offence for offence, precision in zip(found, wrong, strict=True)
            )


def layer(name, *nodes):
    return Layer(name, "kgen", onnx_nodes=nodes)


def test_each_deviation_has_its_reason():
    build = Build(
        layers=(
            layer("first_kernel", "a", "x_Q", "relu"),
            layer("big", "b", "n1", "n2", "n3", "n4", "n5", "w_DQ"),
            layer("alone", "c"),
        ),
        nodes=(
            Node("good", "Conv", "int8", ("first_kernel",)),
            Node("a", "Conv", "fp32", ("first_kernel",)),
            Node("b", "MatMul", "int8_io", ("big",)),
            Node("c", "Conv", "int8", ("alone",)),
            Node("d", "Conv", "fp16", ("gone",)),
            *(Node(name, "Add", "fp32", ("big",)) for name in ("n1", "n2", "n3", "n4", "n5", "relu")),
        ),
    )
    planned = {"good": "int8", "a": "int8", "b": "int8", "c": "float", "d": "float", "e": "int8"}
    assert deviations(planned, build) == [
        "a is planned as int8 and runs in fp32: TensorRT fused it with relu into first_kernel",
        "b is planned as int8 and runs in int8_io: TensorRT fused it with n1, n2, n3, n4 and 1 more into big",
        "c is planned as float and runs in int8: TensorRT chose the kernel alone",
        "e is planned as int8, but the report does not list it",
    ]
