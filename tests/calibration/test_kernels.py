"""The loops: the same results as numpy's, compiled or not; and numba, which is loaded, missing or unable."""

import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from places import ROOT, SAMPLE

from trt_int8 import progress
from trt_int8.calibration import kernels
from trt_int8.calibration.histogram import add_by_numpy, add_compiled, new_slots
from trt_int8.calibration.kernels import BINS, COUNT, Loop, count, divergences, new_scratch

SCRATCH = new_scratch()


def by_numba(slots, flat, exponent):
    loop = COUNT.now()
    assert loop is not None  # ``make test`` installs numba
    return add_compiled(loop, slots, flat, exponent, SCRATCH)


def counted(function, flat, exponent):
    """Slots and extremes; the slots are untouched where the values do not fit."""
    slots = new_slots()
    extremes = function(slots, flat, exponent)
    assert not SCRATCH[: 4 * (2 * BINS + 1)].any()
    return slots.tolist(), extremes


floats = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True)


@settings(max_examples=400, deadline=None)
@given(flat=hnp.arrays(np.float32, st.integers(1, 40), elements=floats), exponent=st.integers(-126, 117))
def test_numba_and_numpy_count_the_same(flat, exponent):
    assert counted(by_numba, flat, exponent) == counted(add_by_numpy, flat, exponent)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 4095, 4096, 4097, 8191, 100_003])
@pytest.mark.parametrize("exponent", [-12, -8, 3, 90])
def test_sizes_around_the_block(rng, size, exponent):
    flat = (rng.normal(size=size) * 2.0 ** (exponent + 8)).astype(np.float32)
    flat[:: max(1, size // 5)] = 0
    slots, extremes = counted(by_numba, flat, exponent)
    assert (slots, extremes) == counted(add_by_numpy, flat, exponent)
    assert extremes == (flat.min(), flat.max())
    assert sum(slots) == size


@pytest.mark.parametrize("exponent", [10, 117])
def test_what_is_tiny_beside_the_bins_is_not_zero(exponent):
    """float32 has no room for 1e-45 / 2**117: it comes out as 0."""
    tiny = np.tile(np.array([1e-45, -1e-45, 0, -0.0, 1e-38], np.float32), 2000)
    slots, _ = counted(by_numba, tiny, exponent)
    assert slots[BINS - 1 : BINS + 2] == [2000, 4000, 4000]


@pytest.mark.parametrize("function", [by_numba, add_by_numpy])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf, 2.0001, -2.0001])
@pytest.mark.parametrize("position", [0, 4096, 8999])
def test_what_does_not_fit_is_noticed_wherever_it_is(function, bad, position):
    flat = np.ones(9000, np.float32)
    assert counted(function, flat, -10)[1] == (1, 1)
    flat[position] = bad
    assert counted(function, flat, -10) == ([0] * (2 * BINS + 1), None)


@pytest.mark.parametrize("function", [by_numba, add_by_numpy])
def test_ends_of_the_grid_and_negative_zero(function):
    slots, extremes = counted(function, np.array([2.0, -2.0, -0.0, 0.0, 1e-45, -1e-45], np.float32), -10)
    assert [slots[i] for i in (0, BINS - 1, BINS, BINS + 1, 2 * BINS)] == [1, 1, 2, 1, 1]
    assert extremes == (-2, 2)


def test_the_loop_is_plain_python_too(rng):
    """The compiled loops compute what the Python code says."""
    flat = np.maximum(rng.normal(size=5000), -1).astype(np.float32)
    slots = new_slots()
    assert count(flat, np.float32(256), np.float32(8), slots, SCRATCH) == (flat.min(), flat.max())
    assert (slots.tolist(), (flat.min(), flat.max())) == counted(by_numba, flat, -8)


def test_quantizing_with_ranges_needs_no_numba():
    code = (
        "import sys, trt_int8; from trt_int8.ranges import Ranges, TensorRange\n"
        f"ranges = Ranges({{name: TensorRange(1.0, source='test') for name in ('data', 'pool1', 'pool2', 'ip1')}})\n"
        f"result = trt_int8.quantize({str(SAMPLE / 'lenet.onnx')!r}, ranges)\n"
        "print(sum(node.op_type == 'QuantizeLinear' for node in result.model.graph.node) > 3, 'numba' in sys.modules)"
    )
    assert run(code, {**os.environ, "PYTHONPATH": str(ROOT)}) == ["True False"]


class Recorder(Loop):
    """A loop that tells how often it was compiled."""

    def __init__(self, compiled="the loop"):
        super().__init__(divergences, "")
        self.compiled, self.times = compiled, 0

    def compile(self, *_):
        self.times += 1
        if isinstance(self.compiled, Exception):
            raise self.compiled
        return self.compiled


@pytest.fixture
def recorder(monkeypatch):
    def make(*arguments):
        loop = Recorder(*arguments)
        monkeypatch.setattr(kernels, "_compiled", loop.compile)
        return loop

    monkeypatch.setattr(kernels, "sys", type("NotImported", (), {"modules": {}}))
    return make


def test_it_is_compiled_once_that_pays(recorder, monkeypatch):
    loop = recorder()
    assert [loop.after(0.01) for _ in range(49)] == [None] * 49
    assert [loop.after(0.01), loop.after(0), loop.now()] == ["the loop"] * 3
    assert loop.times == 1
    # Work that is likely to come is as good a reason.
    assert [recorder().after(0.1, ahead=0.3), recorder().after(0.1, ahead=0.5)] == [None, "the loop"]
    # It pays sooner where numba is imported already.
    monkeypatch.setattr(kernels.sys, "modules", {"numba": None})
    assert [recorder().after(0.01), recorder().after(0.03)] == [None, "the loop"]


def test_others_wait_while_one_loads(recorder, monkeypatch):
    loading, go_on, found, times = threading.Event(), threading.Event(), [], []

    def compiled(*_):
        times.append(1)
        loading.set()
        assert go_on.wait(60)
        return "the loop"

    loop = recorder()
    monkeypatch.setattr(kernels, "_compiled", compiled)
    threads = [threading.Thread(target=lambda: found.append(loop.after(1))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert loading.wait(60)
    threads[1].join(0.1)
    assert not found
    go_on.set()
    for thread in threads:
        thread.join()
    assert (found, times) == (["the loop"] * 3, [1])


class Notes(progress.Display):
    def __init__(self):
        super().__init__()
        self.texts = []

    def note(self, text):
        self.texts.append(text)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (ImportError("no numba"), []),
        (None, []),  # NUMBA_DISABLE_JIT
        (
            ValueError("no such type"),
            [
                "numba cannot compile here (ValueError: no such type); numpy does its work, more slowly and with "
                "the same results"
            ],
        ),
    ],
)
def test_a_compiler_that_is_missing_or_fails_is_done_without(recorder, failure, told):
    loop = recorder(failure)
    with progress.show(Notes()) as display:
        assert [loop.after(1), loop.after(1), loop.now()] == [None] * 3
    assert (loop.times, display.texts) == (1, told)


def test_where_numba_is_told_not_to_compile_numpy_counts():
    code = "from trt_int8.calibration.kernels import COUNT, SEARCH; print(COUNT.now(), SEARCH.now())"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    assert run(code, environment) == ["None None"]


CALIBRATE = """
import sys
import numpy as np
from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.kernels import COUNT, SEARCH
from trt_int8.calibration.thresholds.entropy import searched
assert COUNT.now() is not None, "not compiled"
for factor in (1, 1e4):
    values = (np.random.default_rng(0).normal(size=50_000) * factor).astype(np.float32)
    histogram = Histogram.empty().add(values)
    print(searched(histogram, SEARCH.now()), histogram.counts.sum(), histogram.exponent)
print(sum(sum(loop.ready.stats.cache_hits.values()) for loop in (COUNT, SEARCH)))
"""


def run(code, environment):
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    # Not here, where Python would find this package first.
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def install(tmp_path):
    """A copy of the package, and an environment in which to run it."""
    shutil.copytree(
        ROOT / "trt_int8", tmp_path / "install" / "trt_int8", ignore=shutil.ignore_patterns("*.pyc", "*.nb?")
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_"))}
    return {**environment, "PYTHONPATH": str(tmp_path / "install"), "HOME": str(tmp_path / "home")}


def stored(folder):
    return sorted(path.name.split("-")[0] for path in folder.rglob("*.nbi"))


@pytest.mark.slow
def test_numba_keeps_what_it_compiled(install, tmp_path):
    first, second = run(CALIBRATE, install), run(CALIBRATE, install)
    assert (first[-1], second[-1]) == ("0", "2")
    assert first[:-1] == second[:-1]
    kept = tmp_path / "install" / "trt_int8" / "calibration" / "__pycache__"
    assert stored(tmp_path) == stored(kept) == ["kernels.count", "kernels.divergences"]
    # What is damaged there is no reason to fail.
    for path in kept.glob("*.nbc"):
        path.write_bytes(path.read_bytes()[:100])
    assert run(CALIBRATE, install)[:-1] == first[:-1]


@pytest.mark.slow
def test_an_install_that_cannot_be_written(install, tmp_path):
    """numba falls back to the user's cache; where there is none, to compiling in memory, without a word."""
    kept = tmp_path / "install" / "trt_int8" / "calibration" / "__pycache__"
    shutil.rmtree(kept, ignore_errors=True)
    kept.write_text("a file: no folder can be made here, not even by root")
    expected = run(CALIBRATE, install)[:-1]
    assert stored(tmp_path / "home") == ["kernels.count", "kernels.divergences"]
    assert run(CALIBRATE, {**install, "HOME": "/proc/no/home"})[:-1] == expected
    assert stored(tmp_path) == stored(tmp_path / "home")
