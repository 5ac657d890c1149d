import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trt_int8.calibration.compiled import _Loader, kernels
from trt_int8.calibration.counting import BINS, Counted, count_compiled, count_numpy
from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.machine_code import Loop
from trt_int8.calibration.tally import Tallies
from trt_int8.errors import CalibrationError

kernel = kernels()


def with_numba(flat, exponent):
    return count_compiled(kernel, flat, exponent)


def test_numba_is_there():
    # ``make test`` installs it; without it half of this file would test nothing.
    assert kernel is not None


def assert_same(a, b):
    assert (a is None) == (b is None)
    if a is not None:
        assert np.array_equal(a.counts, b.counts)
        assert a[1:] == b[1:]
        assert [math.copysign(1, x) for x in a[2:]] == [math.copysign(1, x) for x in b[2:]]


floats = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True)


@settings(max_examples=400, deadline=None)
@given(flat=hnp.arrays(np.float32, st.integers(1, 40), elements=floats), exponent=st.integers(-160, 117))
def test_numba_and_numpy_count_the_same(flat, exponent):
    assert_same(with_numba(flat, exponent), count_numpy(flat, exponent))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 4095, 4096, 4097, 8191, 100_003])
@pytest.mark.parametrize("exponent", [-12, -8, 3])
def test_sizes_around_the_block(rng, size, exponent):
    flat = (rng.normal(size=size) * 2.0 ** (exponent + 8)).astype(np.float32)
    flat[:: max(1, size // 5)] = 0
    counted = with_numba(flat, exponent)
    assert_same(counted, count_numpy(flat, exponent))
    assert counted.counts.sum() + counted.zeros == size


@pytest.mark.parametrize("function", [with_numba, count_numpy])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf, 2.0001, -2.0001])
@pytest.mark.parametrize("position", [0, 4096, 8999])
def test_what_does_not_fit_is_noticed_wherever_it_is(function, bad, position):
    flat = np.ones(9000, np.float32)
    assert function(flat, -10) is not None
    flat[position] = bad
    assert function(flat, -10) is None


@pytest.mark.parametrize("function", [with_numba, count_numpy])
def test_ends_of_the_grid_and_negative_zero(function):
    counted = function(np.array([2.0, -2.0, -0.0, 0.0, 1e-45, -1e-45], np.float32), -10)
    assert counted.counts[[0, BINS - 1, BINS, 2 * BINS - 1]].tolist() == [1, 1, 1, 1]
    assert counted[1:] == (2, -2.0, 2.0)
    negative_zero = function(np.array([-0.0], np.float32), 0)
    assert math.copysign(1, negative_zero.minimum) == 1


@pytest.mark.parametrize("size", [40, 9000])
def test_a_tally_counts_as_histograms_do(rng, size):
    # Grids that widen, infinities, other dtypes and layouts; also after an array that did not fit.
    arrays = [
        (rng.normal(size=(size // 4, 4)) * 2.0**power).astype(np.float32) for power in (-3, 0, -9, 4, 1)
    ]
    arrays[2][-1, -1] = np.inf
    arrays.insert(3, arrays[0].T)
    arrays.insert(4, arrays[1].astype(np.float64) / 3)
    arrays.insert(5, np.zeros((3, 0), np.float32))
    arrays.insert(0, np.zeros(5, np.float32))
    arrays.append(-np.zeros(5, np.float32))
    tallies, expected = Tallies(("a", "b")), Histogram.empty()
    for array in arrays * 2:
        # Both in one call of the loop, with the same scratch memory.
        tallies.add([("a", array), ("b", np.ones(9000, np.float32))], place="here")
        expected = expected.add(array)
        found = tallies.histograms()
        assert_same(tuple_of(found["a"]), tuple_of(expected))
    assert (found["a"].exponent, found["a"].infinities) == (expected.exponent, 2)
    assert found["b"].total == 9000 * 2 * len(arrays)


def tuple_of(histogram):
    return Counted(histogram.counts, histogram.zeros, histogram.minimum, histogram.maximum)


def test_looking_at_tallies_does_not_change_them():
    tallies = Tallies(("a",))
    for n in range(1, 4):
        tallies.add([("a", np.full(5000, 1.5, np.float32))], place="here")
        assert [tallies.histograms()["a"].total for _ in range(2)] == [5000 * n] * 2


def test_tensors_come_and_go(rng):
    """The loop is prepared for the tensors of the batch before; another set is no matter."""
    tallies, expected = Tallies("abc"), {name: Histogram.empty() for name in "abc"}
    for names in ("abc", "abc", "ab", "bc", "cb", "abc"):
        arrays = {n: rng.normal(size=rng.choice([50, 7000])).astype(np.float32) for n in names}
        tallies.add(arrays.items(), place="here")
        expected |= {n: expected[n].add(array) for n, array in arrays.items()}
    for name, histogram in tallies.histograms().items():
        assert_same(tuple_of(histogram), tuple_of(expected[name]))


@pytest.mark.parametrize("batch", [0, 2])
def test_nan_is_named_with_tensor_and_place(batch):
    tallies = Tallies("ab")
    values = np.ones(9000, np.float32)
    for _ in range(batch):
        tallies.add([("a", np.ones(5, np.float32)), ("b", values)], place="here")
    values[3] = np.nan
    with pytest.raises(CalibrationError, match="batch 7, tensor 'b': the value at flat index 3 is NaN"):
        tallies.add([("a", np.ones(5, np.float32)), ("b", values)], place="batch 7")


def test_numba_is_loaded_once_it_is_worth_it():
    loader = _Loader()
    assert [loader.after(0.001) for _ in range(9)] == [None] * 9  # stored: `kernel` was loaded before
    assert loader.after(0.009) is not None
    assert loader.after(0) is loader.now()
    assert _Loader().after(0.009) is None
    assert _Loader().after(0.021, again=True) is not None


def test_what_has_to_be_compiled_first_is_worth_more(monkeypatch):
    monkeypatch.setattr(Loop, "stored", False)
    loader = _Loader()
    assert [loader.after(0.009) for _ in range(44)] == [None] * 44
    assert loader.after(0.009) is not None
