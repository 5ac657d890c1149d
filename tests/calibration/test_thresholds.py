import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from textbook import divergence
from textbook import entropy_amax as textbook_amax

from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.kernels import SEARCH
from trt_int8.calibration.thresholds import methods, thresholds
from trt_int8.calibration.thresholds.entropy import divergences, entropy_amax, searched
from trt_int8.calibration.thresholds.minmax import minmax_amax
from trt_int8.calibration.thresholds.mse import mse_amax
from trt_int8.calibration.thresholds.percentile import percentile_amax

ALGORITHMS = {name: method.function for name, method in methods(held_back=False).items()}


def histogram_of(values) -> Histogram:
    return Histogram.empty().add(np.asarray(values, np.float32))


def sqnr_db(values: np.ndarray, amax: float) -> float:
    step = amax / 127
    quantized = np.clip(np.rint(values / step), -128, 127) * step
    return 10 * np.log10((values**2).sum() / ((quantized - values) ** 2).sum())


SAMPLES = {
    "laplace": lambda rng: rng.laplace(size=40_000),
    "relu of normal": lambda rng: np.maximum(rng.normal(size=40_000), 0),
    "student t": lambda rng: rng.standard_t(3, size=40_000),
    "uniform": lambda rng: rng.uniform(-1, 1, size=40_000),
    "few values": lambda rng: rng.choice([0.0, 0.25, 0.5, 1.0], size=5_000),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_divergences_equal_the_textbook_loops(rng, name):
    counts = histogram_of(SAMPLES[name](rng)).magnitudes()
    used = int(np.flatnonzero(counts)[-1]) + 1
    candidates = np.array([used // 16, 100, 128, 129, 200, 500, used // 2, used - 1, used])
    ours = divergences(counts[:used], candidates)
    literal = [divergence(counts[:used], kept) for kept in candidates]
    assert ours == pytest.approx(literal, rel=1e-9, abs=1e-12)
    assert np.isfinite(ours[-1])


@pytest.mark.parametrize("name", SAMPLES)
def test_the_compiled_search_gives_up_only_what_is_not_the_least(rng, name):
    counts = histogram_of(SAMPLES[name](rng)).magnitudes()
    used = int(np.flatnonzero(counts)[-1]) + 1
    candidates = np.arange(used // 16, used + 1)
    plain, compiled = (divergences(counts[:used], candidates, loop=k) for k in (None, SEARCH.now()))
    computed = np.isfinite(compiled)
    assert compiled[computed] == pytest.approx(plain[computed], rel=1e-12, abs=1e-13)
    assert (plain[~computed] > plain.min() + 1e-9).all()
    assert computed[np.argmin(plain)]


def histograms_of_all_kinds() -> list[Histogram]:
    rng = np.random.default_rng(1)
    kinds = [
        *SAMPLES.values(),
        *AWAY_FROM_ZERO.values(),
        lambda r: np.zeros(9),
        lambda r: r.normal(size=1),
        lambda r: r.integers(-3, 4, size=50),
        lambda r: r.standard_cauchy(size=3000),
        lambda r: np.repeat(r.normal(size=40), 1000),
        lambda r: r.lognormal(sigma=3, size=5000),
    ]
    return [histogram_of(kind(rng) * scale) for kind in kinds for scale in (1, 0.3, 1e-20, 77, 1e9)]


def test_the_compiled_search_finds_the_same_thresholds():
    histograms = histograms_of_all_kinds()
    histograms += [a.merge(b) for a, b in zip(histograms, histograms[7:], strict=False)]
    assert len(histograms) > 100
    plain = [searched(histogram, None) for histogram in histograms]
    assert [searched(histogram, SEARCH.now()) for histogram in histograms] == plain
    found = thresholds(histograms, algorithm="entropy", threads=3)
    assert found == [(amax, "entropy") for amax in plain]


@settings(max_examples=200, deadline=None)
@given(
    counts=hnp.arrays(np.int64, st.integers(2, 300), elements=st.integers(0, 2**50) | st.integers(0, 3)),
    exponent=st.integers(-20, 20),
)
def test_the_compiled_search_finds_the_same_threshold_for_any_counts(counts, exponent):
    sides = np.zeros(4096, np.int64)
    sides[2048 : 2048 + counts.size] = counts
    histogram = Histogram(sides, exponent, 0, 0.0, 1.0)
    assert searched(histogram, SEARCH.now()) == searched(histogram, None)


@pytest.mark.parametrize("name", ["laplace", "relu of normal", "student t", "uniform"])
def test_entropy_is_as_good_as_the_two_pass_textbook_method(rng, name):
    values = SAMPLES[name](rng).astype(np.float32)
    ours, textbook = entropy_amax(histogram_of(values)), textbook_amax(values, step=4)
    # Different grids, so different candidates; the quality is the same to a fraction of a dB.
    assert sqnr_db(values, ours) == pytest.approx(sqnr_db(values, textbook), abs=1.5)


AWAY_FROM_ZERO = {
    "uniform": lambda rng: rng.uniform(0.3, 1, size=10_000),
    "normal": lambda rng: 0.5 + 0.05 * rng.normal(size=10_000),
    "two sides": lambda rng: rng.uniform(0.3, 1, size=10_000) * rng.choice([-1, 1], 10_000),
}


@pytest.mark.parametrize("name", AWAY_FROM_ZERO)
def test_data_that_stays_away_from_zero_is_not_clipped(rng, name):
    # The slides to the letter clip it at its smallest value: one spike equals one spike.
    values = AWAY_FROM_ZERO[name](rng)
    counts = histogram_of(values).magnitudes()
    smallest = int(np.flatnonzero(counts)[0]) + 1
    assert divergence(counts, smallest, normalize=True) == 0
    assert divergence(counts, smallest) > 5
    assert entropy_amax(histogram_of(values)) > 0.9 * np.abs(values).max()
    assert sqnr_db(values, entropy_amax(histogram_of(values))) > 40


def test_entropy_searches(rng):
    # Long tails are clipped: a method that only returns the maximum (as one peer does) fails here.
    values = rng.standard_t(3, size=40_000)
    assert entropy_amax(histogram_of(values)) < 0.7 * np.abs(values).max()
    assert entropy_amax(histogram_of(values)) >= np.abs(values).max() / 16


def test_entropy_does_not_depend_on_the_order_of_batches(rng):
    batches = [rng.normal(size=500) * scale for scale in (0.01, 1.0, 30.0, 0.3)]
    found = set()
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        histogram = Histogram.empty()
        for i in order:
            histogram = histogram.add(batches[i].astype(np.float32))
        found.add(entropy_amax(histogram))
    assert len(found) == 1


def test_entropy_is_not_drowned_by_zeros(rng):
    # Behind a ReLU most values are zero, which every scale represents exactly.
    values = np.maximum(rng.normal(size=20_000), 0)
    more_zeros = np.concatenate([values, np.zeros(200_000)])
    assert entropy_amax(histogram_of(more_zeros)) == entropy_amax(histogram_of(values))


def test_entropy_of_a_softmax_clips_nothing():
    # TensorRT's own table for LeNet on MNIST gives prob 1 + 1/4096: all bins kept, half a bin more.
    confident = np.zeros((1000, 10))
    confident[:, 3] = 1 - 9e-6
    confident += 1e-6
    confident[0, 3] = 1.0
    assert entropy_amax(histogram_of(confident)) == 1 + 1 / 4096


@pytest.mark.parametrize("algorithm", ALGORITHMS)
class TestEveryAlgorithm:
    def test_nothing_but_zeros_has_range_zero(self, algorithm):
        assert ALGORITHMS[algorithm](histogram_of(np.zeros(10))) == 0
        assert ALGORITHMS[algorithm](Histogram.empty()) == 0

    @pytest.mark.parametrize("power", [-139, -126, -30, 10, 127])
    def test_scales_with_the_data_from_subnormal_to_huge(self, rng, algorithm, power):
        base = rng.binomial(2048, 0.3, size=3000) / 2048  # exact in float32 at each power
        base[0] = 1
        expected = ALGORITHMS[algorithm](histogram_of(base)) * 2.0**power
        assert ALGORITHMS[algorithm](histogram_of(base * 2.0**power)) == pytest.approx(expected, rel=1e-12)

    def test_a_single_value_is_covered(self, algorithm):
        for value in (1.0, 3.0, 1e-30, 3e38, 2.0**-140):
            amax = ALGORITHMS[algorithm](histogram_of([value]))
            assert 0.999 * value <= amax <= (1 + 1.5 / 1024) * value  # half a bin more at most

    def test_sign_does_not_matter(self, rng, algorithm):
        values = rng.gamma(2, size=2000)
        assert ALGORITHMS[algorithm](histogram_of(values)) == ALGORITHMS[algorithm](histogram_of(-values))


def test_float64_below_the_smallest_float32():
    assert entropy_amax(Histogram.empty().add(np.full(5, 1e-60))) == 1.5 * 2.0**-160


def test_minmax_is_the_exact_maximum(rng):
    values = rng.normal(size=1000).astype(np.float32)
    assert minmax_amax(histogram_of(values)) == float(np.abs(values).max())


@pytest.mark.parametrize("percentile", [50, 90, 99, 99.99, 100])
def test_percentile_is_within_a_bin_of_numpy(rng, percentile):
    values = rng.normal(size=20_000).astype(np.float32)
    histogram = histogram_of(values)
    expected = np.percentile(np.abs(values), percentile)
    assert percentile_amax(histogram, percentile=percentile) == pytest.approx(expected, abs=histogram.width)


def test_percentile_is_9999_in_10000_unless_told(rng):
    values = rng.normal(size=200_000).astype(np.float32)
    histogram = histogram_of(values)
    assert percentile_amax(histogram) == pytest.approx(
        np.percentile(np.abs(values), 99.99), abs=histogram.width
    )
    assert percentile_amax(histogram) > percentile_amax(histogram, percentile=99.9) + 3 * histogram.width


def test_searched_thresholds_sit_at_half_bins_above_a_sixteenth(rng):
    # One huge value: a search without a floor would clip it away.
    values = np.concatenate([rng.normal(size=50_000) / 100, [100.0]])
    histogram = histogram_of(values)
    for amax in (entropy_amax(histogram), mse_amax(histogram)):
        bins = amax / histogram.width
        assert bins - 0.5 == int(bins)
        assert bins >= histogram.amax / histogram.width / 16


def test_percentile_counts_zeros():
    values = np.concatenate([np.zeros(900), np.linspace(0.01, 1, 100)])
    assert percentile_amax(histogram_of(values), percentile=95) == pytest.approx(0.5, abs=0.01)
    # All wanted values are zero: the smallest range that holds anything.
    assert 0 < percentile_amax(histogram_of(values), percentile=50) <= 0.011


def test_percentile_out_of_range():
    with pytest.raises(ValueError, match="percentile is 0"):
        percentile_amax(histogram_of([1.0]), percentile=0)


@pytest.mark.parametrize("name", ["laplace", "relu of normal", "student t", "uniform"])
def test_mse_is_the_best_of_all_methods(rng, name):
    values = SAMPLES[name](rng).astype(np.float32)
    histogram = histogram_of(values)
    best = sqnr_db(values, mse_amax(histogram))
    for other in ("entropy", "minmax", "percentile"):
        assert best >= sqnr_db(values, ALGORITHMS[other](histogram)) - 0.02
    # Exhaustive search over the real values agrees.
    scan = max(sqnr_db(values, t) for t in np.linspace(0.1, 1, 200) * np.abs(values).max())
    assert best == pytest.approx(scan, abs=0.05)
