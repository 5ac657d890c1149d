import numpy as np
import onnx
import pytest
from onnx import helper

from trt_int8.calibration import calibrate
from trt_int8.evaluation import evaluate
from trt_int8.quantization import quantize
from trt_int8.ranges import Ranges, TensorRange
from trt_int8.remedies import correct_bias, quantize_with_remedies
from trt_int8.remedies.addends import Addends
from trt_int8.runtime import Session


def run(model, batch, names=None):
    session = Session(model, optimize=False)
    names = names or session.outputs
    return dict(zip(names, session.run(batch, names, place="test"), strict=True))


def clipping(make_model, rng):
    """Ranges far too small for one-sided data: everything shifts down."""
    model = make_model(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv"),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("Reshape", ["r", "shape"], ["f"]),
            helper.make_node("Gemm", ["f", "g"], ["y"], "gemm"),
            helper.make_node("MatMul", ["y", "m"], ["z"], "matmul"),
        ],
        inputs={"x": [4, 3, 5, 5]},
        outputs=["z"],
        weights={
            "w": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
            "b": rng.normal(size=4).astype(np.float32),
            "shape": np.array([4, 36]),
            "g": rng.normal(size=(36, 5)).astype(np.float32),
            "m": rng.normal(size=(5, 6)).astype(np.float32),
        },
    )
    batches = [{"x": rng.exponential(size=(4, 3, 5, 5)).astype(np.float32)} for _ in range(40)]
    ranges = calibrate(model, batches).ranges
    small = Ranges({n: TensorRange(r.amax * 0.4, source="too small") for n, r in ranges.items()})
    return model, batches, small


def test_means_are_those_of_the_float_model(make_model, rng):
    model, batches, ranges = clipping(make_model, rng)
    plain = quantize(model, ranges).model
    corrected = correct_bias(model, plain, batches)
    onnx.checker.check_model(corrected, full_check=True)
    means = {}
    for name, variant in {"float": model, "plain": plain, "corrected": corrected}.items():
        means[name] = np.mean([run(variant, batch)["z"].mean(axis=0) for batch in batches], axis=0)
    assert np.abs(means["plain"] - means["float"]).max() > 1
    assert np.abs(means["corrected"] - means["float"]).max() < 1e-3


def test_int8_gains_on_unseen_data(make_model, rng):
    model, batches, ranges = clipping(make_model, rng)
    plain = quantize(model, ranges).model
    corrected = correct_bias(model, plain, batches[:30])
    gain = evaluate(model, corrected, batches[30:]).sqnr_db - evaluate(model, plain, batches[30:]).sqnr_db
    assert gain > 1


def test_it_is_kept_only_where_it_helps(make_model, rng):
    model, batches, ranges = clipping(make_model, rng)
    histograms = calibrate(model, batches).histograms
    result = quantize_with_remedies(model, ranges, histograms, batches, bias_correction=True)
    assert result.sqnr_db[1] > result.sqnr_db[0]
    assert result.lines[-1].startswith("bias correction: +")


@pytest.mark.parametrize("bias", ["none", "vector", "row", "scalar", "computed"])
def test_addends_of_gemm(make_model, rng, bias):
    """Whatever form C has, the output grows by exactly the addend."""
    c = {"vector": (5,), "row": (1, 5), "scalar": (1,)}.get(bias)
    inputs = {"x": [3, 4]} | ({"c": [5]} if bias == "computed" else {})
    model = make_model(
        [helper.make_node("Gemm", ["x", "w"] + ([] if bias == "none" else ["c"]), ["y"], alpha=0.5, beta=3.0)],
        inputs=inputs,
        outputs=["y"],
        weights={"w": rng.normal(size=(4, 5)).astype(np.float32)} | ({} if c is None else {"c": rng.normal(size=c).astype(np.float32)}),
    )  # fmt: skip
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    Addends(changed).add_per_channel("y", np.arange(5.0))
    onnx.checker.check_model(changed, full_check=True)
    batch = {name: rng.normal(size=shape).astype(np.float32) for name, shape in inputs.items()}
    np.testing.assert_allclose(
        run(changed, batch)["y"] - run(model, batch)["y"], np.tile(np.arange(5), (3, 1)), atol=1e-5
    )


def test_no_shift_no_change(make_model, rng):
    model, batches, _ = clipping(make_model, rng)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for name, channels in {"c": 4, "y": 5, "z": 6}.items():
        Addends(changed).add_per_channel(name, np.zeros(channels))
    np.testing.assert_allclose(run(changed, batches[0])["z"], run(model, batches[0])["z"], rtol=1e-5)
