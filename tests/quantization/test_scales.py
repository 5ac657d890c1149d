import numpy as np
import pytest

from trt_int8.quantization.scales import quantize_int8, weight_scales


def test_per_channel_along_the_axis(rng):
    weights = rng.normal(size=(3, 4, 5)).astype(np.float32)
    for axis in range(3):
        scales = weight_scales(weights, axis)
        assert scales.dtype == np.float32
        for channel, scale in enumerate(scales):
            amax = np.abs(np.take(weights, channel, axis)).max()
            assert scale == np.float32(np.float64(amax) / 127)


def test_per_tensor_is_rank_zero(rng):
    weights = rng.normal(size=(3, 4)).astype(np.float32)
    scale = weight_scales(weights, None)
    assert scale.shape == ()
    assert scale == np.float32(np.float64(np.abs(weights).max()) / 127)


def test_zero_and_vanishing_channels_get_scale_one():
    weights = np.array([[0, 0], [1e-45, 0], [127, 1]], np.float32)
    assert weight_scales(weights, 0).tolist() == [1, 1, 1]
    assert weight_scales(np.array([[254, 0], [0, 0]], np.float32), 0).tolist() == [2, 1]


def test_halves_go_to_even_and_ends_are_clipped():
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 126.6, 200, -127.4, -127.6, -300], np.float32)
    assert quantize_int8(values, np.float32(1)).tolist() == [0, 2, 2, 0, -2, 127, 127, -127, -128, -128]


@pytest.mark.parametrize("axis", [0, 1])
def test_equals_onnxruntimes_quantize_linear(rng, axis):
    import onnxruntime
    from onnx import TensorProto, helper

    weights = rng.normal(size=(6, 7)).astype(np.float32)
    scales = weight_scales(weights, axis)
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"], axis=axis)],
        "g",
        [
            helper.make_tensor_value_info("w", TensorProto.FLOAT, weights.shape),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, scales.shape),
            helper.make_tensor_value_info("z", TensorProto.INT8, scales.shape),
        ],
        [helper.make_tensor_value_info("q", TensorProto.INT8, weights.shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run(None, {"w": weights, "s": scales, "z": np.zeros(scales.shape, np.int8)})
    assert np.array_equal(quantize_int8(weights, scales, axis), expected)
