"""Random networks: every one quantizes by both placements, stays close to the float model, and builds."""

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from networks import networks

from trt_int8.calibration import calibrate
from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.evaluation import evaluate
from trt_int8.quantization import PLACEMENTS, Selection, quantize
from trt_int8.quantization.check import check_qdq
from trt_int8.quantization.migration import cache_from_qdq, migrate
from trt_int8.ranges import CalibrationCache
from trt_int8.report import PrecisionReport

#: In dB. The lowest of 800 networks was 24 without attention, and of 460 with attention 19.
FLOOR = 15


QUICK = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
#: A build takes a few tenths of a second; shrinking would build hundreds of times.
BUILDS = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


def batches(model, seed=0, count=3):
    rng = np.random.default_rng(seed)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return [{"x": rng.normal(size=shape).astype(np.float32)} for _ in range(count)]


def ranges(model):
    return calibrate(model, batches(model), algorithm="minmax").ranges


@QUICK
@given(networks(), st.sampled_from(sorted(PLACEMENTS)))
def test_quantized_it_computes_nearly_the_same(model, placement):
    result = quantize(model, ranges(model), placement=placement)
    onnx.checker.check_model(result.model, full_check=True)
    assert check_findings(result.model, placement) == []
    assert not [entry for entry in result.skipped if "zero" not in entry.reason]
    (difference,) = evaluate(model, result.model, batches(model)).outputs.values()
    assert difference.sqnr_db > FLOOR


def check_findings(model, placement):
    """All findings; `rtx` leaves residual inputs in float on purpose."""
    return [f for f in check_qdq(model) if placement == "tensorrt" or f.rule != "residual-pair"]


@QUICK
@given(networks(), st.sampled_from(sorted(PLACEMENTS)))
def test_migrated_scales_are_the_caches(model, placement):
    cache = CalibrationCache.from_ranges(ranges(model))
    result = migrate(model, cache, placement=placement)
    for tensor, scale in result.quantized.scales.items():
        assert scale.tobytes() == cache.scales[tensor].tobytes()
    assert cache_from_qdq(result.model).text == cache.text
    del result.model.metadata_props[:]
    again = cache_from_qdq(result.model).scales
    assert {t: s.tobytes() for t, s in again.items()} == {
        t: s.tobytes() for t, s in result.quantized.scales.items()
    }


@QUICK
@given(networks(), st.data())
def test_any_choice_of_nodes_quantizes(model, data):
    quantizable = [
        n.name for n in model.graph.node if n.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")
    ]
    excluded = data.draw(st.lists(st.sampled_from(quantizable), max_size=len(quantizable) - 1, unique=True))
    result = quantize(
        model, ranges(model), selection=Selection(exclude=tuple(excluded)), placement="tensorrt"
    )
    assert not set(result.nodes) & set(excluded)
    (difference,) = evaluate(model, result.model, batches(model)).outputs.values()
    assert difference.sqnr_db > FLOOR


@pytest.mark.parametrize("placement", sorted(PLACEMENTS))
def test_tensorrt_rtx_builds_it(placement):
    tensorrt = load("tensorrt_rtx")

    @BUILDS
    @given(networks())
    def builds(model):
        quantized = quantize(model, ranges(model), placement=placement)
        log = BuildLog()
        build_explicit(quantized.model, tensorrt=tensorrt, log=log)
        assert PrecisionReport.from_lines(log.lines).last.int8_layers

    builds()
