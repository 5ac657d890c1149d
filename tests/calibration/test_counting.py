import math
import sys
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trt_int8.calibration import code_store, counting, tally
from trt_int8.calibration.compiled import COUNT, COUNT_WIDE, Compiled
from trt_int8.calibration.counting import BINS, Counted, count_compiled, count_numpy, grid
from trt_int8.calibration.counting_kernel import ARGUMENTS, count_all
from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.machine_code import Loop
from trt_int8.calibration.tally import Tallies
from trt_int8.errors import CalibrationError


def with_numba(flat, exponent):
    loop = (COUNT if grid(exponent).exact else COUNT_WIDE).now()
    assert loop is not None  # ``make test`` installs numba
    return count_compiled(loop, flat, exponent)


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


class Recorder:
    """A loop that tells what was asked of it."""

    def __init__(self, *, stored=False, error=None):
        self.asked, self.stored, self.error = [], stored, error

    def load(self):
        self.asked.append("load")
        return self.stored

    def compile(self):
        self.asked.append("compile")
        if self.error is not None:
            raise self.error


def test_the_disk_is_looked_at_once_and_early():
    loop = Recorder(stored=True)
    compiled = Compiled(loop)
    assert [compiled.after(0.001) for _ in range(9)] == [None] * 9
    assert not loop.asked
    assert compiled.after(0.002) is loop
    assert [compiled.after(0) is loop, compiled.now() is loop] == [True, True]
    assert loop.asked == ["load"]


def test_compiling_is_worth_more():
    loop = Recorder()
    compiled = Compiled(loop)
    assert [compiled.after(0.009) for _ in range(44)] == [None] * 44
    assert loop.asked == ["load"]
    assert compiled.after(0.009) is loop
    assert loop.asked == ["load", "compile"]


def test_what_comes_again_is_worth_compiling_at_once():
    assert Compiled(Recorder()).after(0.021) is None
    loop = Recorder()
    assert Compiled(loop).after(0.021, again=True) is loop


def test_others_go_on_while_one_compiles():
    compiling, go_on = threading.Event(), threading.Event()
    loop = Recorder()

    def compile():
        compiling.set()
        assert go_on.wait(60)

    loop.compile = compile
    compiled = Compiled(loop)
    first = threading.Thread(target=compiled.after, args=(1,))
    first.start()
    assert compiling.wait(60)
    assert compiled.after(1) is None
    go_on.set()
    first.join()
    assert compiled.after(0) is loop


def test_others_wait_while_one_loads():
    loading, go_on, found = threading.Event(), threading.Event(), []
    loop = Recorder(stored=True)

    def load():
        loading.set()
        return go_on.wait(60)

    loop.load = load
    compiled = Compiled(loop)
    threads = [threading.Thread(target=lambda: found.append(compiled.after(1))) for _ in range(2)]
    threads[0].start()
    assert loading.wait(60)
    threads[1].start()
    threads[1].join(0.2)
    assert not found
    go_on.set()
    for thread in threads:
        thread.join()
    assert found == [loop, loop]


@pytest.mark.parametrize("missing", ["llvmlite", "numba"])
def test_without_numba_numpy_counts(missing, rng, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)  # importing it fails
    monkeypatch.setattr(code_store, "folders", tuple)
    compiled = Compiled(Loop(count_all, ARGUMENTS.format("float32")))
    monkeypatch.setattr(counting, "COUNT", compiled)
    monkeypatch.setattr(tally, "COUNT", compiled)
    values = rng.normal(size=1 << 20).astype(np.float32)
    tallies = Tallies("a")
    for _ in range(2):
        tallies.add([("a", values)], place="here")
    assert compiled.now() is None
    expected = Histogram.empty().add(values).add(values)
    assert_same(tuple_of(tallies.histograms()["a"]), tuple_of(expected))


def test_a_loop_that_cannot_be_loaded_is_told_once():
    loop = Recorder()

    def load():
        raise OSError("libLLVM.so: wrong ELF class")

    loop.load = load
    compiled = Compiled(loop)
    with pytest.warns(RuntimeWarning, match="wrong ELF class"):
        assert compiled.after(1) is None
    assert [compiled.after(1), compiled.now(), loop.asked] == [None, None, []]


def test_what_is_not_there_is_not_asked_for_again():
    loop = Recorder(error=ImportError("no numba"))
    compiled = Compiled(loop)
    assert [compiled.after(1), compiled.after(1), compiled.now()] == [None] * 3
    assert loop.asked == ["load", "compile"]


def test_a_compiler_that_fails_is_told_once_and_done_without(rng, monkeypatch):
    compiled_loop = Compiled(Recorder(error=ValueError("no such type")))
    monkeypatch.setattr(counting, "COUNT", compiled_loop)
    monkeypatch.setattr(tally, "COUNT", compiled_loop)
    values = rng.normal(size=1 << 20).astype(np.float32)
    tallies = Tallies("a")
    with pytest.warns(RuntimeWarning, match=r"numba is of no use here \(ValueError: no such type\)"):
        compiled_loop.now()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            tallies.add([("a", values)], place="here")
        assert compiled_loop.now() is None
    expected = Histogram.empty().add(values).add(values)
    assert_same(tuple_of(tallies.histograms()["a"]), tuple_of(expected))
