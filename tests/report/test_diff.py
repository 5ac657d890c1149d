from pathlib import Path

from places import CORPUS, requires_corpus

from trt_int8.report import Build, Layer, PrecisionReport
from trt_int8.report.diff import diff

LOGS = Path(__file__).parent / "logs"


def last(name):
    return PrecisionReport.from_log(LOGS / f"{name}.log").last


def test_a_wrong_axis_loses_int8_and_fuses_nodes():
    found = diff(last("rtx_lenet_qdq"), last("rtx_lenet_wrong_axis"))
    assert [(change.name, change.old, change.new) for change in found.lost] == [
        ("ip1", "int8", "weight_dequantized")
    ]
    assert found.gained == ()
    # flatten, ip1 and relu1 are one kernel in the new engine
    assert found.fused == (("flatten", ("ip1", "relu1")),)
    assert found.split == ()
    text = found.to_text()
    assert "lost INT8: ip1: int8 → weight_dequantized (mixed" in text


def test_the_other_way_round():
    found = diff(last("rtx_lenet_wrong_axis"), last("rtx_lenet_qdq"))
    assert [change.name for change in found.gained] == ["ip1"]
    assert found.split == (("flatten", ("ip1", "relu1")),)
    assert found.to_dict()["gained"][0]["name"] == "ip1"


def test_a_build_against_itself():
    build = last("rtx_lenet_qdq")
    assert diff(build, build).to_text().endswith("no differences\n")


@requires_corpus
def test_times():
    folder = CORPUS / "layer_info"

    def read(name):
        return PrecisionReport.read(
            folder / f"{name}.graph.json", profile=folder / f"{name}.profile.json"
        ).last

    found = diff(read("trt8_A100_resnet-qat"), read("trt8_A100_resnet-qat-residual"))
    times = {change.name: (change.old_ms, change.new_ms) for change in found.timed}
    # averageMs of "conv1.weight + QuantizeLinear_7 + Conv_9 (+ …)" in the two profiles
    assert times["Conv_9"] == (0.201728, 0.072704)


def test_times_are_compared_in_proportion():
    def build(*times):
        layers = tuple(
            Layer(f"l{index}", "X", precision="int8", time_ms=time) for index, time in enumerate(times)
        )
        return Build(layers=layers, status="complete")

    # Half as slow again, though by a thousandth of a millisecond; and 4 % of ten milliseconds.
    (change,) = diff(build(0.002, 10.0), build(0.003, 10.4)).timed
    assert (change.name, change.old_ms, change.new_ms) == ("l0", 0.002, 0.003)
    assert {each.name for each in diff(build(0.002, 10.0), build(0.003, 10.4), slower_by=0.01).timed} == {
        "l0",
        "l1",
    }
