"""Migration of float16 models, and to float16: the scales stay the cache's unless the user says otherwise."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from graphs import conv, initializer, op, scale, weight
from onnx import TensorProto

from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.errors import QuantizationError
from trt_int8.evaluation import evaluate
from trt_int8.quantization.migration import cache_from_qdq, migrate
from trt_int8.ranges import CalibrationCache
from trt_int8.report import PrecisionReport

TEXT = """TRT-8601-EntropyCalibration2
x: 3c008912
r: 3c88edfc
elsewhere: 3ddc858b
"""


@pytest.fixture
def cache():
    return CalibrationCache.parse(TEXT)


def model_of(make_model, rng, dtype, opset):
    w = weight(rng, 8, 8, 3, 3).astype(dtype)
    element = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}[np.dtype(dtype).name]
    return make_model(
        [conv("x", "w", "a", "conv1"), op("Relu", "a", "r"), conv("r", "w", "y", "conv2")],
        inputs={"x": [1, 8, 8, 8]},
        outputs=["y"],
        weights={"w": w},
        opset=opset,
        dtype=element,
    )


@pytest.mark.parametrize(
    ("dtype", "opset"),
    [(np.float16, 13), (np.float16, 17), (np.float16, 22), (np.float16, 23), (ml_dtypes.bfloat16, 22)],
)
def test_scales_of_a_half_model_are_the_caches_bit_for_bit(make_model, rng, cache, dtype, opset):
    result = migrate(model_of(make_model, rng, dtype, opset), cache, placement="tensorrt")
    assert result.model.opset_import[0].version == 23
    for name, exact in (("conv1", cache.scales["x"]), ("conv2", cache.scales["r"])):
        found = scale(result.model, name)
        assert found.dtype == np.float32
        assert found.tobytes() == exact.tobytes()
    assert result.notes == ()
    assert cache_from_qdq(result.model).text == TEXT
    del result.model.metadata_props[:]
    assert cache_from_qdq(result.model).scales == {"x": cache.scales["x"], "r": cache.scales["r"]}


def test_scales_are_rounded_only_if_asked_for_and_a_note_says_how_far(make_model, rng, cache):
    result = migrate(
        model_of(make_model, rng, np.float16, 17), cache, scale_dtype="fp16", placement="tensorrt"
    )
    assert result.model.opset_import[0].version == 19
    assert scale(result.model, "conv1") == np.float16(cache.scales["x"])
    assert scale(result.model, "conv1").dtype == np.float16
    off = max(abs(float(np.float16(s)) / float(s) - 1) for s in (cache.scales["x"], cache.scales["r"]))
    (note,) = result.notes
    assert note.startswith(f"2 of 2 scales are rounded to float16, by up to {off:.2g} of their value (")
    # The cache is known all the same.
    assert cache_from_qdq(result.model).text == TEXT


def test_a_changed_half_scale_goes_before_the_kept_cache(make_model, rng, cache):
    model = migrate(
        model_of(make_model, rng, np.float16, 17), cache, scale_dtype="fp16", placement="tensorrt"
    ).model
    for tensor in model.graph.initializer:
        if tensor.name == "x_scale":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.float16(0.5), tensor.name))
    assert cache_from_qdq(model).text == TEXT.replace("x: 3c008912", "x: 3f000000")


def test_rounded_scales_that_underflow_are_refused(make_model, rng):
    small = CalibrationCache.parse("TRT-8601-EntropyCalibration2\nx: 35863bd0\nr: 3c88edfc\n")
    model = model_of(make_model, rng, np.float16, 17)
    with pytest.raises(QuantizationError, match=r"1 scales underflow float16.*\(x 1e-06\); use fp32 scales"):
        migrate(model, small, scale_dtype="fp16", placement="tensorrt")
    assert scale(migrate(model, small, placement="tensorrt").model, "conv1") == small.scales["x"]


def test_an_opset_that_cannot_be_raised_is_an_error_with_a_way_out(make_model, rng, cache, monkeypatch):
    from trt_int8.graph.passes import opset_conversion

    def failing(model, version):
        raise RuntimeError("No Adapter")

    monkeypatch.setattr(opset_conversion.version_converter, "convert_version", failing)
    model = model_of(make_model, rng, np.float16, 19)
    with pytest.raises(QuantizationError, match=r"need opset 23.*No Adapter.*rounded.*scale_dtype='fp16'"):
        migrate(model, cache, placement="tensorrt")
    assert migrate(model, cache, scale_dtype="fp16", placement="tensorrt").quantized.nodes == (
        "conv1",
        "conv2",
    )


def test_fp16_scales_without_anything_fp16_are_an_error(lenet_path, cache):
    with pytest.raises(
        QuantizationError, match=r"give high_precision='fp16' as well, or leave scale_dtype='fp16'"
    ):
        migrate(lenet_path, cache, scale_dtype="fp16", placement="tensorrt")
    with pytest.raises(ValueError, match="high_precision is 'bf16'"):
        migrate(lenet_path, cache, high_precision="bf16", placement="tensorrt")


LENET = CalibrationCache.parse(
    "TRT-8601-EntropyCalibration2\ndata: 3c008912\npool1: 3c88edfc\npool2: 3ddc858b\nip1: 3db6bd6e\nold: 0\n"
)


@pytest.mark.parametrize(("scales", "notes"), [("fp32", 0), ("fp16", 1)])
def test_the_rest_in_half(lenet_path, digits, scales, notes):
    result = migrate(lenet_path, LENET, high_precision="fp16", scale_dtype=scales, placement="tensorrt")
    assert len(result.notes) == notes
    assert [row.explicit for row in result.rows] == ["int8"] * 4
    # What is cast to Half before it is quantized is still the cache's tensor.
    assert cache_from_qdq(result.model).text == LENET.text
    assert initializer(result.model, "conv1_bias").dtype == np.float16
    log = BuildLog()
    build_explicit(result.model, tensorrt=load("tensorrt_rtx"), log=log)
    built = PrecisionReport.from_lines(log.lines).last
    assert {n.node for n in built.nodes if n.precision == "int8"} >= {"conv1", "conv2", "ip1", "ip2"}
    batches = [{"data": image[None]} for image in digits["evaluation"][:50]]
    full = migrate(lenet_path, LENET, placement="tensorrt").model
    assert evaluate(full, result.model, batches).outputs["prob"].sqnr_db > 30
