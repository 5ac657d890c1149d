"""A precision plan on the implicit route: float nodes become constrained layers."""

import fake_tensorrt
import pytest
from test_build_implicit import FLAG, build, calibrator, model

from trt_int8.engine.implicit import ImplicitOptions
from trt_int8.errors import QuantizationError
from trt_int8.pipeline.build import _with_plan
from trt_int8.quantization import PrecisionPlan

PLAN = PrecisionPlan({"conv1": "int8", "head/conv2": "float"})


def precisions(**options):
    asked = _with_plan(ImplicitOptions(**options), PLAN, model())
    _, config, network, _ = build(
        calibrator=calibrator(), fp16=asked.fp16, keep_fp16=asked.keep_fp16, keep_fp32=asked.keep_fp32
    )
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    return config, {layer.name: getattr(layer, "precision", None) for layer in layers}


def test_float_nodes_are_constrained():
    config, found = precisions()
    assert found["head/conv2"] == fake_tensorrt.DataType.FLOAT
    assert found["conv1"] != fake_tensorrt.DataType.FLOAT
    assert FLAG.OBEY_PRECISION_CONSTRAINTS in config._flags
    assert precisions(fp16=True)[1]["head/conv2"] == fake_tensorrt.DataType.HALF


def test_no_plan_no_constraint():
    options = ImplicitOptions(fp16=True)
    assert _with_plan(options, None, model()) is options


def test_a_plan_of_another_model():
    with pytest.raises(QuantizationError, match="the model has no node 'conv7'"):
        _with_plan(ImplicitOptions(), PrecisionPlan({"conv7": "float"}), model())
