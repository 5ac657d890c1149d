import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trt_int8.calibration.counting import BINS, _count_numba, _numba_kernel, count_numpy

kernel = _numba_kernel()


def with_numba(flat, exponent):
    return _count_numba(kernel, flat, exponent)


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


@pytest.mark.parametrize("size", [1, 7, 8, 9, 2047, 2048, 2049, 100_003])
@pytest.mark.parametrize("exponent", [-12, -8, 3])
def test_sizes_around_the_block(rng, size, exponent):
    flat = (rng.normal(size=size) * 2.0 ** (exponent + 8)).astype(np.float32)
    flat[:: max(1, size // 5)] = 0
    counted = with_numba(flat, exponent)
    assert_same(counted, count_numpy(flat, exponent))
    assert counted.counts.sum() + counted.zeros == size


@pytest.mark.parametrize("function", [with_numba, count_numpy])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf, 2.0001, -2.0001])
@pytest.mark.parametrize("position", [0, 2048, 4999])
def test_what_does_not_fit_is_noticed_wherever_it_is(function, bad, position):
    flat = np.ones(5000, np.float32)
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
