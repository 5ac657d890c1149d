"""The loops of calibration: nanoseconds to count a value, milliseconds to search a threshold.

    python benchmarks/kernels.py

Values are normal numbers behind a ReLU, 4 MB of them (which a cache may hold) and 64 MB (which it does not);
numpy's ``min`` and ``max`` of the same array are the limit that memory sets. Medians of 5 rounds, on one
core. What compiling costs, once a machine, is measured in a process and a folder of its own.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from results import save

from trt_int8.calibration.compiled import COUNT, SEARCH
from trt_int8.calibration.counting import count_compiled, count_numpy
from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.thresholds import entropy_amax, thresholds

TENSORS = 200
MAKE_READY = "import time; from trt_int8.calibration.tally import load_loops; t = time.perf_counter(); \
load_loops(); print(time.perf_counter() - t)"


def seconds(function, *arguments, **options):
    """Median of 5 calls, after one."""
    function(*arguments, **options)
    found = []
    for _ in range(5):
        start = time.perf_counter()
        function(*arguments, **options)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def make_ready(folder):
    """Seconds until all loops are ready in a new process, with stored code in ``folder``."""
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "NUMBA_CACHE_DIR": folder, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", MAKE_READY], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main():
    rows = []
    scale = {"ns": 1e9, "ms": 1e3, "s": 1}

    def show(step, took, unit):
        rows.append({"step": step, "seconds": took})
        print(f"| {step} | {took * scale[unit]:.2f} {unit} |", flush=True)

    loop, search = COUNT.now(), SEARCH.now()
    if loop is None or search is None:
        sys.exit("numba is not installed: pip install 'trt_int8[fast]'")
    print("| step | measured |")
    print("| --- | --- |")
    values = np.maximum(np.random.default_rng(0).normal(size=1 << 24), 0).astype(np.float32)
    for array in (values[: 1 << 20], values):
        for name, function in (
            ("min and max of", lambda a: (a.min(), a.max())),
            ("counting, compiled,", lambda a: count_compiled(loop, a, -8)),
            ("counting, numpy,", lambda a: count_numpy(a, -8)),
        ):
            size = f"{array.nbytes >> 20} MB"
            show(f"{name} a float32 of {size}", seconds(function, array) / array.size, "ns")
    some = values[: 1 << 20]
    histograms = [Histogram.empty().add(some[i * 4096 :][:100_000] * (1 + i)) for i in range(TENSORS)]
    for name, chosen in (("compiled", search), ("numpy", None)):
        took = seconds(lambda used=chosen: [entropy_amax(h, loop=used) for h in histograms[:20]]) / 20
        show(f"entropy search of a tensor, {name}", took, "ms")
    took = seconds(thresholds, histograms, algorithm="entropy") / TENSORS
    show(f"entropy search of a tensor, among {TENSORS}", took, "ms")
    with tempfile.TemporaryDirectory() as folder:
        show("compiling and storing the three loops, once a machine", make_ready(folder), "s")
        show("loading them", statistics.median(make_ready(folder) for _ in range(5)), "ms")
    save("kernels", rows)


if __name__ == "__main__":
    main()
