import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trt_int8.analysis import analyze
from trt_int8.analysis.tensor import best_affine, used_codes
from trt_int8.calibration import Histogram, Histograms, calibrate
from trt_int8.calibration.density import density, noise, sqnr_db
from trt_int8.calibration.thresholds import methods
from trt_int8.graph.runtime import Session

ALGORITHMS = tuple(methods(held_back=False))

N = 40_000


def one(values) -> Histograms:
    return Histograms({"x": Histogram.empty().add(np.asarray(values, np.float32))}, samples=1)


def measured(values, scale, zero_point=0) -> float:
    """SQNR of Q/DQ on one tensor, run by onnxruntime."""
    x = np.asarray(values, np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(x.shape))],
        [
            numpy_helper.from_array(np.float32(scale), "s"),
            numpy_helper.from_array(np.int8(zero_point), "z"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (y,) = Session(model, optimize=False).run({"x": x}, ["y"], place="test")
    error = y.astype(np.float64) - x
    with np.errstate(divide="ignore"):  # pixels / 256 fit an affine grid exactly
        return 10 * np.log10((x.astype(np.float64) ** 2).sum() / (error**2).sum())


DATA = {
    "normal": lambda r: r.normal(size=N),
    "offset": lambda r: r.uniform(4, 6, N),
    "relu": lambda r: np.maximum(r.normal(size=N), 0),
    "heavy": lambda r: r.standard_t(2, N),
    "lognormal": lambda r: r.lognormal(0, 1.5, N),
    "two outliers": lambda r: np.append(r.normal(size=N), [300, -400]),
    "pixels": lambda r: r.integers(0, 256, N) / 256,
    "gelu": lambda r: (x := r.normal(size=N) * 2) / (1 + np.exp(-1.702 * x)),
    "negative": lambda r: -np.abs(r.laplace(size=N)),
    "near constant": lambda r: 3 + r.normal(size=N) * 1e-3,
}


#: Few bins hold most of the values; the prediction is right all the same.
DOUBTED = {"near constant": {*ALGORITHMS, "affine"}, "lognormal": {"minmax", "mse", "affine"}}


@pytest.mark.parametrize("name", DATA)
def test_predicted_sqnr_is_the_measured_one(name, rng):
    values = DATA[name](rng)
    histograms = one(values)
    (tensor,) = analyze(histograms).tensors
    for method in ALGORITHMS:
        scale = histograms.ranges(algorithm=method)["x"].scale
        assert tensor.sqnr_db[method] == pytest.approx(measured(values, scale), abs=0.3), method
    assert set(tensor.uncertain) <= DOUBTED.get(name, set())
    best = max(float(tensor.sqnr_db[m]) for m in ALGORITHMS)
    scale = max(
        (float(histograms.ranges(algorithm=m)["x"].scale) for m in ALGORITHMS),
        key=lambda s: sqnr_db(density(histograms.tensors["x"]), s),
    )
    h = histograms.tensors["x"]
    affine = best_affine(density(h, parts=1), minimum=h.minimum, maximum=h.maximum, symmetric=scale)
    assert measured(values, *affine) == pytest.approx(tensor.sqnr_db["affine"], abs=0.3)
    assert tensor.symmetry_cost_db == pytest.approx(tensor.sqnr_db["affine"] - best)


def test_the_integral_against_brute_force(rng):
    """Every cell sampled finely, for scales that clip on both sides and for ones far too large."""
    cells = density(one(rng.normal(size=2000)).tensors["x"])
    for scale, zero_point in ((0.001, 0), (0.02, -30), (0.02, 127), (0.3, 0), (50.0, 5)):
        share = (np.arange(400) + 0.5) / 400
        x = cells.low[:, None] + (cells.high - cells.low)[:, None] * share
        q = np.clip(np.rint(x / scale) + zero_point, -128, 127) - zero_point
        brute = float(((x - q * scale) ** 2).mean(axis=1) @ cells.weight)
        assert noise(cells, scale, zero_point) == pytest.approx(brute, rel=1e-3)


def test_int8_has_a_code_128_on_the_negative_side_only():
    positive, negative = (density(one([0, 0, side]).tensors["x"]) for side in (128.0, -128.0))
    assert noise(negative, 1.0) == 0
    assert noise(positive, 1.0) == pytest.approx(1)


def test_the_affine_range_is_clipped_where_that_helps(rng):
    """One 1.5 above 400,000 values in [0, 1]: the best affine INT8 lets go of it."""
    cells = density(one(np.append(rng.uniform(0, 1, 10 * N), 1.5)).tensors["x"], parts=1)
    scale, zero_point = best_affine(cells, minimum=0.0, maximum=1.5, symmetric=1.5 / 127)
    assert (scale, zero_point) == (pytest.approx(1 / 255, rel=0.15), -128)
    assert noise(cells, scale, zero_point) < 0.75 * noise(cells, 1.5 / 255, -128)


def test_a_zero_point_is_worth_6_db_to_one_sided_data(rng):
    (tensor,) = analyze(one(rng.uniform(0, 1, N))).tensors
    assert tensor.symmetry_cost_db == pytest.approx(20 * np.log10(2), abs=0.1)
    (tensor,) = analyze(one(rng.uniform(-1, 1, N))).tensors
    assert tensor.symmetry_cost_db == pytest.approx(0, abs=0.1)


BULKS = {
    "normal": lambda r: r.normal(size=N),
    "relu": lambda r: np.maximum(r.normal(size=N), 0),
    "uniform": lambda r: r.uniform(4, 6, N),
    "exponential": lambda r: r.exponential(size=N),
    "laplace": lambda r: r.laplace(size=N),
    "two values": lambda r: np.where(r.random(N) < 0.5, -1, 1) + r.normal(size=N) * 0.01,
}


@pytest.mark.parametrize("bulk", BULKS)
@pytest.mark.parametrize("outlier", [10, 1e2, 1e3, 1e4, 1e5, 1e6])
def test_a_wrong_prediction_says_so(bulk, outlier, rng):
    """One outlier stretches the bins until one of them holds all the rest: then nobody can know."""
    values = np.append(BULKS[bulk](rng), outlier)
    histograms = one(values)
    (tensor,) = analyze(histograms).tensors
    for method in ALGORITHMS:
        scale = histograms.ranges(algorithm=method)["x"].scale
        close = tensor.sqnr_db[method] == pytest.approx(measured(values, scale), abs=0.5)
        assert close or method in tensor.uncertain, method
        if outlier <= 10 and bulk != "two values":
            assert not tensor.uncertain
        if outlier >= 1e4:
            assert "minmax" in tensor.uncertain


def test_a_bin_next_to_zero_is_not_taken_for_its_edge(rng):
    """A ReLU's values in one bin, far from one outlier: once all of them were taken for zeros, 160 dB."""
    values = np.append(np.maximum(rng.normal(size=N), 0), 1e4)
    (tensor,) = analyze(one(values), algorithm="minmax").tensors
    assert tensor.sqnr_db["minmax"] < 60
    assert tensor.mean < 10


def test_one_value_a_bin_is_certain(rng):
    """Constants, lone outliers and grids leave nothing open."""
    for values in (np.full(50, 3.3), [1.0, -0.5, 40.0], rng.integers(0, 256, N) / 256, np.zeros(4)):
        assert analyze(one(values)).tensors[0].uncertain == ()


FLAGGED = {
    "offset": ("offset",),
    "relu": ("one_sided",),
    "heavy": ("outliers",),
    "lognormal": ("one_sided", "outliers"),
    "two outliers": ("outliers",),
    "normal": (),
    "gelu": ("one_sided",),
    "negative": ("one_sided",),
    "near constant": ("offset",),
}


@pytest.mark.parametrize("name", FLAGGED)
def test_flags(name, rng):
    (tensor,) = analyze(one(DATA[name](rng))).tensors
    assert tensor.flags == FLAGGED[name]


def test_a_constant_has_no_flag():
    """It loses nothing, and cannot be recentred."""
    assert analyze(one(np.full(50, 3.3)), algorithm="minmax").tensors[0].flags == ()
    assert analyze(one(np.full(50, -3.3)), algorithm="minmax").tensors[0].flags == ()


def test_dead_tiny_and_saturating(rng):
    (dead,) = analyze(one(np.zeros(9))).tensors
    assert dead.flags == ("dead",)
    assert dead.to_dict()["sqnr_db"] == dict.fromkeys([*ALGORITHMS, "affine"])
    assert dead.to_dict()["symmetry_cost_db"] is None
    assert analyze(one(rng.normal(size=N) * 1e-9)).tensors[0].flags == ("tiny",)
    # 3 % of the values far out: percentile keeps them, so the flag is about the chosen range alone
    far = np.append(rng.normal(size=N), np.full(N // 30, 40.0))
    tensors = {m: analyze(one(far), algorithm=m).tensors[0] for m in ALGORITHMS}
    for tensor in tensors.values():
        assert ("saturating" in tensor.flags) == (tensor.clipped > 0.01)
    assert tensors["minmax"].clipped == 0


def test_clipped_zeros_and_codes(rng):
    values = np.concatenate([np.zeros(50), rng.uniform(0, 1, 50)])
    (tensor,) = analyze(one(values), algorithm="minmax").tensors
    assert (tensor.clipped, tensor.zeros) == (0, 0.5)
    h = one(rng.normal(size=N)).tensors["x"]
    scale = 1.0 / 127
    share = density(h)
    beyond = share.total - share.below(1.0) + share.below(-1.0)
    assert beyond / share.total == pytest.approx(0.3173, abs=0.01)
    assert used_codes(h, scale).all()
    assert used_codes(one(rng.uniform(0, 2, N)).tensors["x"], scale).sum() == 128  # 0 … 127
    assert np.flatnonzero(used_codes(one([1.0, -0.5]).tensors["x"], 1 / 64)).tolist() == [96, 192]
    # bins wider than a step: everything they cover
    assert used_codes(one(np.append(rng.uniform(-1, 1, N), 1e4)).tensors["x"], 0.01).mean() > 0.7


def flawed_network(make_model, rng):
    """Inputs that reach four tensors: off centre, one-sided, heavy-tailed and dead; ``x`` itself is none."""
    model = make_model(
        [
            helper.make_node("Add", ["x", "five"], ["off"]),
            helper.make_node("Relu", ["x"], ["one"]),
            helper.make_node("Pow", ["x", "seven"], ["heavy"]),
            helper.make_node("Mul", ["x", "nought"], ["dead"]),
        ],
        inputs={"x": ["n", 64]},
        outputs=["off", "one", "heavy", "dead"],
        weights={"five": np.float32(9), "seven": np.float32(7), "nought": np.float32(0)},
    )
    return model, [{"x": rng.normal(size=(100, 64)).astype(np.float32)} for _ in range(4)]


def test_a_network_with_known_flaws_is_flagged_exactly_so(make_model, rng):
    model, batches = flawed_network(make_model, rng)
    histograms = calibrate(model, batches).histograms
    found = {tensor.name: tensor.flags for tensor in analyze(histograms).tensors}
    assert found == {
        "x": (),
        "off": ("offset",),
        "one": ("one_sided",),
        "heavy": ("outliers",),
        "dead": ("dead",),
    }


def test_predicted_and_measured_on_lenet(lenet_path, digits):
    """Each tensor of the sample quantized alone, against onnxruntime."""
    model = onnx.load(lenet_path)
    images = digits["calibration"][:100]
    batches = [{"data": image[None]} for image in images]
    result = calibrate(model, batches)
    outputs = [n for n in result.ranges if n != "data"]
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    known = {o.name for o in model.graph.output}
    extended.graph.output.extend(onnx.ValueInfoProto(name=n) for n in outputs if n not in known)
    session = Session(extended, optimize=False)
    runs = [session.run(batch, outputs, place="test") for batch in batches]
    values = {n: np.concatenate([run[i].ravel() for run in runs]) for i, n in enumerate(outputs)}
    values["data"] = images.ravel()
    analysis = analyze(result.histograms)
    for tensor in analysis.tensors:
        for method in ALGORITHMS:
            scale = result.histograms.ranges(algorithm=method)[tensor.name].scale
            got = measured(values[tensor.name], scale)
            assert tensor.sqnr_db[method] == pytest.approx(got, abs=0.5), (tensor.name, method)
        assert not tensor.uncertain or tensor.name == "prob"  # 9 of 10 are next to 0, in one bin


def test_order_and_json(make_model, rng):
    model, batches = flawed_network(make_model, rng)
    analysis = analyze(calibrate(model, batches).histograms, algorithm="mse")
    document = json.loads(analysis.to_json())
    assert document["schema"] == 2
    costs = [t["symmetry_cost_db"] for t in document["tensors"]]
    assert costs[:-1] == sorted(costs[:-1], reverse=True)
    assert (costs[-1], document["tensors"][-1]["name"]) == (None, "dead")
    assert document["tensors"][0]["name"] in ("off", "one")
    for tensor in document["tensors"]:
        assert set(tensor) == {
            "name",
            "min",
            "max",
            "mean",
            "zeros",
            "amax",
            "algorithm",
            "clipped",
            "codes_used",
            "sqnr_db",
            "uncertain",
            "symmetry_cost_db",
            "flags",
        }
        assert list(tensor["sqnr_db"]) == ["entropy", "minmax", "percentile", "mse", "affine"]
        assert tensor["algorithm"] == "mse"
    off = next(t for t in document["tensors"] if t["name"] == "off")
    assert off["mean"] == pytest.approx(9, abs=0.05)


def test_extremes_are_placed_exactly():
    """A lone outlier is known to the last digit; so is a tensor of one value."""
    cells = density(one([0.1, 0.2, 0.3, 100.0, -70.0]).tensors["x"])
    assert cells.low[-1] == cells.high[-1] == 100
    assert cells.low[0] == cells.high[0] == -70
    (tensor,) = analyze(one(np.full(100, 3.3)), algorithm="minmax").tensors
    assert tensor.sqnr_db["minmax"] > 100
    both = density(one([0.999, 1.0]).tensors["x"], parts=1)
    assert both.low[0] < both.high[-1]
