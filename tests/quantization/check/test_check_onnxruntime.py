"""check-qdq on what onnxruntime's quantizer makes."""

import numpy as np
import onnx
import pytest
from faults import int8_nodes
from graphs import op, weight
from onnx import TensorProto, helper, numpy_helper

from trt_int8.evaluation import evaluate
from trt_int8.quantization.check import check_qdq, fix_qdq


def float_network(rng):
    c = 8
    nodes = [
        op("Conv", "x w1 b1", "a", "conv1", pads=[1] * 4),
        op("Relu", "a", "r"),
        op("Conv", "r w2 b2", "b", "conv2", pads=[1] * 4),
        op("Add", "b r", "s", "add"),
        op("Relu", "s", "t"),
        op("MaxPool", "t", "p", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        op("Conv", "p w1 b1", "c", "conv3", pads=[1] * 4),
        op("Concat", "c p", "cat", "concat", axis=1),
        op("Mul", "cat half", "m"),
        op("GlobalAveragePool", "m", "g"),
        op("Flatten", "g", "f"),
        op("Gemm", "f fc fb", "l", "fc_node"),
        op("Add", "l one", "y", "last"),
    ]
    values = {
        "w1": weight(rng, c, c, 3, 3),
        "w2": weight(rng, c, c, 3, 3),
        "b1": rng.normal(size=c),
        "b2": rng.normal(size=c),
        "fc": weight(rng, 2 * c, 10),
        "fb": rng.normal(size=10),
        "half": 0.5,
        "one": 1.0,
    }
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, c, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


ORT = {
    "defaults": {},
    "uint8, int8 weights": {"activation_type": "QUInt8", "weight_type": "QInt8"},
    "uint8 both, per channel": {"activation_type": "QUInt8", "weight_type": "QUInt8", "per_channel": True},
    "int8 asymmetric": {"activation_type": "QInt8", "weight_type": "QInt8", "per_channel": True},
    "int8 symmetric": {
        "activation_type": "QInt8",
        "weight_type": "QInt8",
        "per_channel": True,
        "extra_options": {"ActivationSymmetric": True, "WeightSymmetric": True},
    },
    "int16": {"activation_type": "QInt16", "weight_type": "QInt8", "per_channel": True},
}


@pytest.mark.filterwarnings("ignore")
class TestOnnxruntime:
    """Return the model that ``onnxruntime.quantization.quantize_static`` writes."""

    @pytest.fixture
    def static(self, tmp_path, rng):
        from onnxruntime import quantization as ort

        model = float_network(rng)
        onnx.save(model, tmp_path / "float.onnx")
        batches = [{"x": rng.normal(size=(1, 8, 16, 16)).astype(np.float32)} for _ in range(8)]

        class Reader(ort.CalibrationDataReader):
            def __init__(self):
                self.rest = iter(batches)

            def get_next(self):
                return next(self.rest, None)

        def run(quant_format="QDQ", **options):
            for key in ("activation_type", "weight_type"):
                if key in options:
                    options[key] = getattr(ort.QuantType, options[key])
            ort.quantize_static(
                tmp_path / "float.onnx",
                tmp_path / "q.onnx",
                Reader(),
                quant_format=getattr(ort.QuantFormat, quant_format),
                **options,
            )
            return onnx.load(tmp_path / "q.onnx")

        return model, run, batches

    @pytest.mark.parametrize("case", ORT)
    def test_repaired_it_builds_and_computes_the_same(self, static, case, tensorrt):
        model, run, batches = static
        found = run(**ORT[case])
        rules = {finding.rule for finding in check_qdq(found)}
        assert {"int32-bias", "scalar-constant", "broken-fusion"} <= rules
        assert ("symmetric-int8" in rules) == ("symmetric" not in case or "asymmetric" in case)
        checked = fix_qdq(found)
        assert checked.left == ()
        assert set(int8_nodes(checked.model, tensorrt).values()) == {"int8"}
        assert len(int8_nodes(checked.model, tensorrt)) == 4
        assert evaluate(model, checked.model, batches).outputs["y"].sqnr_db > 36

    def test_the_operator_format_cannot_be_repaired(self, static):
        _, run, _ = static
        checked = fix_qdq(run("QOperator"))
        assert {"QLinearConv", "QLinearAdd"} <= {
            f.message.split()[-1] for f in checked.left if f.rule == "operator"
        }
        assert not any(f.fixable for f in checked.left if f.rule == "operator")
