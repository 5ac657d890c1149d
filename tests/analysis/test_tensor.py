import numpy as np
import pytest

from trt_int8.analysis.tensor import _spread, uncertainty_db
from trt_int8.calibration import Histogram
from trt_int8.calibration.density import known_bins


def histogram(values):
    return Histogram.empty().add(np.asarray(values, np.float32))


@pytest.mark.parametrize(("scale", "zero_point"), [(0.001, 0), (0.02, -30), (0.02, 127), (0.3, 0), (50.0, 5)])
def test_the_spread_of_the_error_against_brute_force(rng, scale, zero_point):
    """Every bin sampled finely; scales that clip on both sides, steps finer and coarser than bins."""
    bins = known_bins(histogram(np.append(rng.normal(size=2000), [30.0, -20.0])))
    x = bins.low[:, None] + (bins.high - bins.low)[:, None] * np.linspace(0, 1, 2001)
    q = np.clip(np.rint(x / scale) + zero_point, -128, 127) - zero_point
    error = (x - q * scale) ** 2
    brute = error.max(axis=1) - error.min(axis=1)
    np.testing.assert_allclose(_spread(bins, scale, zero_point), brute, rtol=0.01, atol=1e-5 * scale**2)


def test_more_bins_are_more_certain(rng):
    """The same values beside ever larger outliers lie in ever fewer bins."""
    values = rng.normal(size=5000)
    doubts = [uncertainty_db(histogram(np.append(values, big)), big / 127) for big in (10, 100, 1000, 10_000)]
    assert doubts == sorted(doubts)
    assert doubts[0] < 0.1
    assert doubts[-1] > 5


def test_a_tensor_of_known_values_is_certain():
    assert uncertainty_db(histogram([1.0, -0.5, 40.0]), 0.3) == 0
    assert uncertainty_db(histogram(np.zeros(3)), 1.0) == 0
