import numpy as np
import pytest
from onnx import helper

from trt_int8.calibration import Histogram, Histograms, calibrate, collect
from trt_int8.calibration.density import density, sqnr_db
from trt_int8.calibration.thresholds import methods
from trt_int8.errors import CalibrationError


def histograms(ties=None, **values):
    return Histograms({n: Histogram.empty().add(v) for n, v in values.items()}, ties=ties or {}, samples=1)


def auto_ranges(fit, held_back):
    return fit.ranges(algorithm="auto", held_back=held_back)


def test_each_tensor_gets_its_best_method_on_unseen_data(rng):
    draws = {"heavy": rng.standard_t(2, (2, 20_000)), "flat": rng.uniform(-1, 1, (2, 20_000)), "sparse": rng.laplace(size=(2, 20_000))}  # fmt: skip
    fit = histograms(**{n: v[0] for n, v in draws.items()})
    unseen = histograms(**{n: v[1] for n, v in draws.items()})
    found = auto_ranges(fit, unseen)
    for name in draws:
        scores = {
            m: sqnr_db(density(unseen.tensors[name]), float(fit.ranges(algorithm=m)[name].scale))
            for m in methods(held_back=False)
        }
        best = max(scores, key=scores.get)
        assert found[name].source == f"{best} (auto)"
        assert found[name].amax == fit.ranges(algorithm=best)[name].amax
    assert len({r.source for r in found.values()}) > 1


def test_the_held_back_part_decides(rng):
    """The fit holds one wild value that the rest of the data never shows again."""
    normal = rng.normal(size=(2, 20_000))
    wild = np.append(normal[0], 30.0)
    with_it = auto_ranges(histograms(x=wild), histograms(x=wild))["x"]
    without = auto_ranges(histograms(x=wild), histograms(x=normal[1]))["x"]
    assert with_it.amax > 10
    assert without.amax < 6


def test_ties_share_and_dead_tensors_stay(rng):
    values = rng.normal(size=1000)
    both = histograms({"pool": "conv"}, conv=values, pool=values[values > 0], dead=np.zeros(3))
    found = auto_ranges(both, both)
    assert found["pool"].amax == found["conv"].amax
    assert found["pool"].source.endswith("(auto) of conv")
    assert found["dead"].amax == 0


@pytest.fixture
def model(make_model):
    return make_model([helper.make_node("Relu", ["x"], ["y"])], inputs={"x": ["n", 50]}, outputs=["y"])


def test_calibrate_holds_every_fourth_batch_out(model, rng):
    batches = [{"x": rng.standard_t(2, (20, 50)).astype(np.float32)} for _ in range(9)]
    result = calibrate(model, batches, algorithm="auto")
    held = [batches[1], batches[5]]
    rest = [b for i, b in enumerate(batches) if i not in (1, 5)]
    expected = auto_ranges(collect(model, rest), collect(model, held))
    assert {n: (r.amax, r.source) for n, r in result.ranges.items()} == {
        n: (r.amax, r.source) for n, r in expected.items()
    }
    assert (result.samples, result.held_back.samples) == (180, 40)
    # shards merge into what one run over both would have evaluated on
    again = result.merge(calibrate(model, batches, algorithm="auto"))
    assert (again.samples, again.held_back.samples, again.algorithm) == (360, 80, "auto")
    assert again.cache().header == "TRT-8601-EntropyCalibration2"


def test_mistakes(model, rng):
    batch = {"x": rng.normal(size=(2, 50)).astype(np.float32)}
    with pytest.raises(
        CalibrationError, match="needs at least two batches .one is held back.; make batches smaller"
    ):
        calibrate(model, [batch], algorithm="auto")
    with pytest.raises(ValueError, match="'best'; it must be one of entropy, minmax, percentile, mse, auto"):
        calibrate(model, [batch], algorithm="best")
    with pytest.raises(ValueError, match="'auto', which judges by batches that calibrate.. holds back"):
        histograms(x=np.ones(3)).ranges(algorithm="auto")
    with pytest.raises(CalibrationError, match="cannot be merged with one with 'mse'"):
        calibrate(model, [batch] * 2, algorithm="auto").merge(calibrate(model, [batch], algorithm="mse"))
