import math

import numpy as np
import pytest

from trt_int8.calibration import counting, histogram, kernels
from trt_int8.calibration.counting import HistogramCounts
from trt_int8.calibration.histogram import Histogram
from trt_int8.errors import CalibrationError


def assert_same(a: Histogram, b: Histogram):
    assert np.array_equal(a.counts, b.counts)
    fields = ("exponent", "zeros", "minimum", "maximum", "infinities")
    assert [getattr(a, f) for f in fields] == [getattr(b, f) for f in fields]
    assert [math.copysign(1, x.minimum) for x in (a, b)] == [math.copysign(1, b.minimum)] * 2


@pytest.fixture(params=["numba", "numpy"])
def counter(request, monkeypatch):
    """Counting by the one and by the other."""
    loop = kernels.Loop(kernels.count, "")
    loop.ready = kernels.COUNT.now() if request.param == "numba" else None
    loop._failed = loop.ready is None
    for module in (counting, histogram):
        monkeypatch.setattr(module, "COUNT", loop)
    assert (loop.after(9) is None) == (request.param == "numpy")  # ``make test`` installs numba
    return request.param


@pytest.mark.parametrize("size", [40, 9000])
def test_counts_in_place_are_those_of_histograms(counter, rng, size):
    # Grids that widen, infinities, other dtypes and layouts; also after an array that did not fit.
    arrays = [
        (rng.normal(size=(size // 4, 4)) * 2.0**power).astype(np.float32) for power in (-3, 0, -9, 14, 1)
    ]
    arrays[2][-1, -1] = np.inf
    arrays.insert(3, arrays[0].T)
    arrays.insert(4, arrays[1].astype(np.float64) / 3)
    arrays.insert(5, np.zeros((3, 0), np.float32))
    arrays.insert(0, np.zeros(5, np.float32))
    arrays.append(-np.zeros(5, np.float32))
    arrays.append(arrays[1].copy())
    arrays[-1].flags.writeable = False
    arrays.append(np.frombuffer(b"x" + arrays[1].tobytes(), np.float32, offset=1))  # not aligned
    arrays.append(arrays[1].astype(">f4"))
    counts, expected = HistogramCounts(("a", "b")), Histogram.empty()
    for array in arrays * 2:
        counts.add([("a", array), ("b", np.ones(9000, np.float32))], place="here")
        expected = expected.add(array)
        found = counts.histograms()
        assert_same(found["a"], expected)
    assert (found["a"].exponent, found["a"].infinities) == (expected.exponent, 2)
    assert found["b"].total == 9000 * 2 * len(arrays)


def test_looking_at_counts_does_not_change_them(counter):
    counts = HistogramCounts(("a",))
    for n in range(1, 4):
        counts.add([("a", np.full(5000, 1.5, np.float32))], place="here")
        assert [counts.histograms()["a"].total for _ in range(2)] == [5000 * n] * 2


def test_tensors_come_and_go(counter, rng):
    counts, expected = HistogramCounts("abc"), {name: Histogram.empty() for name in "abc"}
    for names in ("abc", "abc", "ab", "bc", "cb", "abc"):
        arrays = {n: rng.normal(size=rng.choice([50, 7000])).astype(np.float32) for n in names}
        counts.add(arrays.items(), place="here")
        expected |= {n: expected[n].add(array) for n, array in arrays.items()}
    for name, found in counts.histograms().items():
        assert_same(found, expected[name])


@pytest.mark.parametrize("batch", [0, 2])
def test_nan_is_named_with_tensor_and_place(counter, batch):
    counts = HistogramCounts("ab")
    values = np.ones(9000, np.float32)
    for _ in range(batch):
        counts.add([("a", np.ones(5, np.float32)), ("b", values)], place="here")
    values[3] = np.nan
    with pytest.raises(CalibrationError, match="batch 7, tensor 'b': the value at flat index 3 is NaN"):
        counts.add([("a", np.ones(5, np.float32)), ("b", values)], place="batch 7")


@pytest.mark.parametrize(("values", "batches"), [(50_000, 2210), (5_000_000, 1)])
def test_numba_is_loaded_once_that_pays(monkeypatch, rng, values, batches):
    """After half a second of numpy's work, or at once where a batch is so large that it will come to that."""
    monkeypatch.setattr(kernels, "sys", type("NotImported", (), {"modules": {}}))
    asked = []
    loop = kernels.Loop(kernels.count, "")
    monkeypatch.setattr(loop, "now", lambda: asked.append(added))
    for module in (counting, histogram):
        monkeypatch.setattr(module, "COUNT", loop)
    counts, array = HistogramCounts("a"), np.zeros(values, np.float32)
    # What numpy takes is estimated, not measured.
    monkeypatch.setattr(histogram, "add_by_numpy", lambda *_: (0.0, 0.0))
    counts.add([("a", np.ones(1, np.float32))], place="")
    added = 0
    while not asked and added < 10_000:
        added += 1
        counts.add([("a", array)], place="")
    assert asked[0] == pytest.approx(batches, abs=2 if batches > 1 else 0)
