import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trt_int8.calibration.compiled import _Loader, kernels
from trt_int8.calibration.counting import BINS, Counted, count_compiled, count_numpy, new_tables
from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.tally import Tally, new_tallies

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
    tallies, expected = new_tallies(("a", "b")), Histogram.empty()
    for array in arrays:
        tallies["a"].add(array)
        tallies["b"].add(np.ones(9000, np.float32))  # shares the scratch memory
        expected = expected.add(array)
    found = tallies["a"].histogram()
    assert_same(tuple_of(found), tuple_of(expected))
    assert (found.exponent, found.infinities) == (expected.exponent, 1)
    assert tallies["b"].histogram().total == 9000 * len(arrays)


def tuple_of(histogram):
    return Counted(histogram.counts, histogram.zeros, histogram.minimum, histogram.maximum)


def test_looking_at_a_tally_does_not_change_it():
    tally = Tally(new_tables())
    for n in range(1, 4):
        tally.add(np.full(5000, 1.5, np.float32))
        assert [tally.histogram().total for _ in range(2)] == [5000 * n] * 2


def test_numba_is_loaded_once_it_is_worth_it():
    loader = _Loader()
    assert loader.after(1000) is None
    assert loader.after(1 << 25) is not None
    assert loader.after(1) is loader.now()
