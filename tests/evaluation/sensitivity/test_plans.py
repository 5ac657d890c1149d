"""A plan within a budget, on networks whose bad node nobody names: unseen data, and the engine."""

import numpy as np
import onnx
import pytest
import trained

from trt_int8.calibration import calibrate
from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.evaluation import evaluate
from trt_int8.evaluation.sensitivity import Budget, Evaluator, Measurements, rank, search
from trt_int8.quantization import quantize
from trt_int8.report import PrecisionReport
from trt_int8.report.gate import deviations

BUDGET = 0.02
#: What TensorRT-RTX runs in one kernel of its own, which the report calls neither INT8 nor float.
FUSED = {"branches": [], "attention": ["scores_of", "mixed"]}


@pytest.fixture(scope="module", params=["branches", "attention"])
def planned(request, digits, lenet_path):
    with np.load(lenet_path.parent / "digits.npz") as data:
        labels = data["calibration_labels"]
    model = getattr(trained, request.param)((digits["calibration"], labels))
    onnx.checker.check_model(model, full_check=True)

    def of(first, last):
        images = trained.batches(digits["evaluation"][first:last])
        return [{"image": part} for part in images], digits["labels"][first:last]

    ranges = calibrate(model, [{"image": part} for part in trained.batches(digits["calibration"])]).ranges
    seen, labels = of(0, 400)
    measurements = Measurements(model, ranges, Evaluator(model, seen, labels=labels), placement="rtx")
    found = search(measurements, rank(measurements), Budget(max_drop=BUDGET))
    return request.param, model, ranges, measurements, found, of(400, 1400)


def test_the_network_needs_a_plan(planned):
    _, model, ranges, _, _, (unseen, labels) = planned
    whole = evaluate(model, quantize(model, ranges, placement="rtx").model, unseen, labels=labels)
    assert whole.top1.reference > 0.7
    assert whole.drop > 5 * BUDGET


def test_the_budget_holds_on_unseen_data(planned):
    _, model, _, measurements, found, (unseen, labels) = planned
    assert found.floats == ("fragile",)
    assert len(found.floats) <= 0.2 * len(measurements.nodes)
    assert evaluate(model, measurements.quantized(found.floats).model, unseen, labels=labels).drop <= BUDGET


def test_the_engine_has_the_planned_nodes_in_int8(planned, tmp_path):
    name, _, _, measurements, found, _ = planned
    plan = measurements.plan(found.floats)
    quantized = measurements.quantized(found.floats).model
    with BuildLog(tmp_path / "log") as log:
        build_explicit(quantized, tensorrt=load("tensorrt_rtx"), log=log, target="sm89")
    build = PrecisionReport.from_log(tmp_path / "log").last
    in_int8 = {node.node for node in build.nodes if node.precision == "int8"} & set(plan.nodes)
    wanted = {node for node, precision in plan.nodes.items() if precision == "int8"}
    assert in_int8 == wanted - set(FUSED[name])
    listed = deviations(plan.nodes, build)
    assert [line.split()[0] for line in listed] == FUSED[name]
    for line in listed:
        assert "is planned as int8 and runs in int8_io: TensorRT fused it with" in line
