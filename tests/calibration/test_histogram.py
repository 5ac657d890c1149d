import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.kernels import BINS
from trt_int8.errors import CalibrationError


def same(a: Histogram, b: Histogram) -> bool:
    return np.array_equal(a.counts, b.counts) and (
        a.exponent,
        a.zeros,
        a.minimum,
        a.maximum,
        a.infinities,
    ) == (b.exponent, b.zeros, b.minimum, b.maximum, b.infinities)


def literal_counts(values: np.ndarray, width: float) -> np.ndarray:
    """One value at a time, in exact rational arithmetic: (i·w, (i+1)·w] and its mirror image."""
    counts = np.zeros(2 * BINS, np.int64)
    for value in values.astype(np.float64).ravel():
        if value > 0:
            counts[BINS + math.ceil(value / width) - 1] += 1
        elif value < 0:
            counts[BINS - math.ceil(-value / width)] += 1
    return counts


@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-30, 1e-3, 1.0, 3e4, 1e30, 1e37])
def test_counts_equal_the_literal_definition(rng, scale):
    values = (rng.normal(size=3000) * scale).astype(np.float32)
    values[::7] = 0
    histogram = Histogram.empty().add(values)
    assert np.array_equal(histogram.counts, literal_counts(values, histogram.width))
    assert histogram.zeros == (values == 0).sum()
    assert histogram.total == 3000
    assert (histogram.minimum, histogram.maximum) == (values.min(), values.max())
    # The grid is the finest power of two that holds the maximum.
    assert BINS / 2 * histogram.width < histogram.amax <= BINS * histogram.width


@pytest.mark.parametrize("power", [-149, -126, -20, 0, 1, 10, 127])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_maximum_of_exactly_a_power_of_two_fills_the_last_bin(power, sign):
    histogram = Histogram.empty().add(np.array([sign * 2.0**power], np.float32))
    assert histogram.width == 2.0**power / BINS
    assert histogram.counts[-1 if sign > 0 else 0] == 1
    assert histogram.counts.sum() == 1


def test_just_above_a_power_of_two_doubles_the_width():
    above = np.nextafter(np.float32(1), np.float32(2))
    assert Histogram.empty().add(np.array([above])).width == 2.0 / BINS


floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(hnp.arrays(np.float32, st.integers(1, 40), elements=floats), min_size=1, max_size=4),
    data=st.data(),
)
def test_any_order_split_and_merge_gives_identical_counts(parts, data):
    whole = Histogram.empty().add(np.concatenate(parts))
    order = data.draw(st.permutations(parts))
    streamed = Histogram.empty()
    for part in order:
        streamed = streamed.add(part)
    assert same(streamed, whole)
    shards = [Histogram.empty().add(part) for part in order]
    while len(shards) > 1:  # a tree of merges
        shards = [a.merge(b) if b else a for a, b in itertools.zip_longest(shards[::2], shards[1::2])]
    assert same(shards[0], whole)


def test_tiny_values_are_not_taken_for_zeros_next_to_huge_ones():
    tiny, huge = np.float32(1e-45), np.float32(3e38)
    together = Histogram.empty().add(np.array([tiny, -tiny, huge]))
    apart = Histogram.empty().add(np.array([tiny, -tiny])).add(np.array([huge]))
    assert same(together, apart)
    assert together.zeros == 0
    assert together.counts[BINS] == together.counts[BINS - 1] == 1


def test_zeros_alone_have_no_width():
    histogram = Histogram.empty().add(np.zeros((2, 3), np.float32))
    assert (histogram.zeros, histogram.exponent, histogram.width, histogram.amax) == (6, None, 0.0, 0.0)


def test_minimum_of_one_sided_data_is_not_zero():
    # An empty histogram's extremes must not leak into the first real ones.
    histogram = Histogram.empty().add(np.array([4.0, 6.0], np.float32))
    assert (histogram.minimum, histogram.maximum) == (4.0, 6.0)


def test_nan_is_an_error_with_its_index():
    with pytest.raises(CalibrationError, match="flat index 5 is NaN"):
        Histogram.empty().add(np.array([[0, 1, 2], [3, 4, np.nan]], np.float32))


def test_infinities_are_counted_apart():
    histogram = Histogram.empty().add(np.array([1, np.inf, -np.inf, -2], np.float32))
    assert (histogram.infinities, histogram.total, histogram.amax) == (2, 2, 2.0)
    only = Histogram.empty().add(np.array([-np.inf], np.float32))
    assert (only.infinities, only.total) == (1, 0)
    assert same(histogram.merge(only), only.merge(histogram))
    assert histogram.merge(only).infinities == 3


def test_float16_and_float64_are_counted_exactly():
    values = np.array([0.1, -0.25, 3.0])
    for dtype in (np.float16, np.float64):
        histogram = Histogram.empty().add(values.astype(dtype))
        assert np.array_equal(
            histogram.counts, literal_counts(values.astype(dtype).astype(np.float64), histogram.width)
        )


def test_counts_pass_the_chunk_size(rng):
    values = rng.normal(size=100_001).astype(np.float32)
    histogram = Histogram.empty().add(values)
    assert histogram.total == values.size
    pieces = Histogram.empty()
    for piece in np.array_split(values, 13):
        pieces = pieces.add(piece)
    assert same(pieces, histogram)
