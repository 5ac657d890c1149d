"""Calibrating what `quantize` reads gives the scales of calibrating everything."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import networks
from onnx import helper

from trt_int8.calibration import calibrate
from trt_int8.errors import QuantizationError
from trt_int8.quantization import PLACEMENTS, Selection, quantize, required_tensors


def test_lenet(lenet_path, digits):
    assert required_tensors(lenet_path, placement="tensorrt") == (
        "data",
        "conv1",
        "pool1",
        "conv2",
        "pool2",
        "pool2_flat",
        "ip1",
    )
    batches = [{"data": image[None]} for image in digits["calibration"][:40]]
    everything, some = (
        calibrate(lenet_path, batches, tensors=tensors).ranges
        for tensors in (None, required_tensors(lenet_path, placement="tensorrt"))
    )
    assert set(everything) - set(some) == {"ip1_pre", "ip2", "prob"}
    assert (
        quantize(lenet_path, some, placement="tensorrt").scales
        == quantize(lenet_path, everything, placement="tensorrt").scales
    )
    assert (
        quantize(lenet_path, some, placement="tensorrt").model
        == quantize(lenet_path, everything, placement="tensorrt").model
    )


def test_a_selection_needs_less(lenet_path):
    assert required_tensors(lenet_path, selection=Selection(nodes=("conv1",)), placement="tensorrt") == (
        "data",
    )


def test_nothing_to_quantize(make_model):
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], inputs={"x": [1]}, outputs=["y"])
    with pytest.raises(QuantizationError, match="nothing runs in INT8"):
        required_tensors(model, placement="tensorrt")


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(networks(), st.sampled_from(sorted(PLACEMENTS)), st.sampled_from([1.0, 0.0]))
def test_random_networks_get_the_same_scales(model, placement, gain):
    # gain 0: tensors that are always zero leave nodes in float, which changes what others share.
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    batches = [{"x": (rng.normal(size=shape) * gain).astype(np.float32)} for _ in range(2)]
    tensors = required_tensors(model, placement=placement)
    everything = calibrate(model, batches).ranges
    some = calibrate(model, batches, tensors=tensors).ranges
    assert len(some) < len(everything)
    found, expected = (outcome(model, ranges, placement) for ranges in (some, everything))
    assert found == expected


def outcome(model, ranges, placement):
    try:
        quantized = quantize(model, ranges, placement=placement)
    except QuantizationError as error:
        return str(error)
    return quantized.scales, quantized.model.SerializeToString(deterministic=True)
